"""The example manifest is what Kubernetes takes, and its command does what it says: several pods, one study."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import start_module
from tests.conftest import CONF
from tests.sweeps.postgres import PASSWORD, postgres_url, quoted
from tests.sweeps.sweeping import TINY, finish, members, trials, until

MANIFEST = CONF.parent / "kubernetes" / "sweep.yaml"
VERSIONS = ("1.29", "1.33", "newest")


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = documents()[1]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    version = kubernetes_validate.latest_version() if version == "newest" else version
    found = documents()
    assert [document["kind"] for document in found] == ["PersistentVolumeClaim", "Job"]
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)
    found[1]["spec"]["parallelisms"] = 4
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found[1], version, strict=True)


def test_what_it_mounts_is_there_and_it_leaves_time_for_checkpoints() -> None:
    spec, (container,) = pod(), pod()["containers"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    (claim,) = [volume["persistentVolumeClaim"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    assert claim["claimName"] == documents()[0]["metadata"]["name"]
    from project.sweeps.local_launcher import SECONDS_TO_STOP

    assert spec["terminationGracePeriodSeconds"] >= 1.5 * SECONDS_TO_STOP
    assert "completions" not in documents()[1]["spec"]  # the pods work on one list
    threads = next(word for word in container["args"] if word.startswith("sweep.threads_per_worker="))
    assert threads.partition("=")[2] == container["resources"]["limits"]["cpu"]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_url() as address:
        yield address


@pytest.mark.slow
def test_two_of_its_pods_do_one_sweep(tmp_path: Path, url: str) -> None:
    (container,) = pod()["containers"]
    secrets = {entry["name"]: url for entry in container["env"] if "valueFrom" in entry}
    assert list(secrets) == ["PROJECT_SWEEP_STORAGE"]
    small = [word for word in TINY if not word.startswith(("sweep=", "model", "callbacks", "data.batch_size"))]
    words = [word.replace("/outputs", str(tmp_path)) for word in container["args"]]
    words += [*small, "data.batch_size=choice(16,32)", "sweep.n_trials=5", "sweep/sampler=random", "sweep/pruner=none"]
    words += ["trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    python, flag, module = container["command"]
    assert (python, flag) == ("python", "-m")
    environment = {**secrets, "OMP_NUM_THREADS": "1"}
    pods = [start_module(module, *words, cwd=tmp_path, environment=environment, together=True) for _ in range(2)]
    ended = [finish(one) for one in pods]
    assert [code for code, _ in ended] == [0, 0], ended
    folder = tmp_path / "sweeps" / "convnet-1"
    found = trials(folder, url)
    assert [(trial.number, trial.state.name) for trial in found] == [(number, "COMPLETE") for number in range(5)]
    assert {path.name for path in folder.iterdir() if path.name.isdigit()} == {str(number) for number in range(5)}
    assert len({trial.system_attrs["sweep:attempts"][-1]["worker"] for trial in found}) == 2  # each pod's
    with (folder / "trials.csv").open(newline="") as file:
        assert [row["number"] for row in csv.DictReader(file)] == [str(number) for number in range(5)]
    best = max(found, key=lambda trial: (trial.value or 0, -trial.number))
    assert f"# Trial {best.number} of 5" in (folder / "best.yaml").read_text()
    for command, (_, said) in zip(pods, ended, strict=True):
        until(lambda command=command: not members(command.pid))  # type: ignore[misc]
        assert quoted(PASSWORD) not in said
    for text in (PASSWORD, quoted(PASSWORD)):
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
