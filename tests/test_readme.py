"""Every command of the README is run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CONF, choices, run_module

ROOT = CONF.parent
README = (ROOT / "README.md").read_text()
FLAGS = re.MULTILINE | re.DOTALL
BASH = r"^```bash\n(.*?)^```$"
BLOCKS = re.findall(BASH, README, FLAGS)
# each section's commands, which are run one after the other in a folder of its own
SECTIONS = {
    title: commands
    for title, text in re.findall(r"^##+ (.*?)$(.*?)(?=^##+ |\Z)", README, re.MULTILINE | re.DOTALL)
    if (commands := [line for block in re.findall(BASH, text, FLAGS) for line in block.splitlines()])
    and title != "Start"  # CI runs these
}
# what a section goes on with: the command of another one
BEFORE = dict.fromkeys(
    ("Stop and resume", "Use what was trained", "Dreams and style"), "python -m project.train model=resnet"
)
# what keeps a training short; words of the command line that come last win
SHORT = "trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.limit_val_batches=1 trainer.limit_test_batches=1"
NEEDS_DOWNLOAD = "data=shapes data.train_images=300 data.test_images=40 data.batch_size=16"


def test_it_opens_with_the_two_commands_that_ci_runs() -> None:
    assert BLOCKS[0].count("\n") == BLOCKS[1].count("\n") == 1
    assert BLOCKS[0].endswith("python -m project.train model=resnet data=shapes trainer=quick\n")
    assert BLOCKS[1].endswith("pip install '.[test]' && python -m pytest -n 4\n")
    script = (ROOT / ".ci" / "run").read_text()
    assert '"$(block 1)"' in script
    assert '"$(block 2)"' in script


def test_it_names_every_choice() -> None:
    for group in (
        "model",
        "data",
        "cell",
        "net",
        "optimizer",
        "scheduler",
        "trainer",
        "callbacks",
        "default_callbacks",
        "experiment",
        "cluster",
        "sweep/sampler",
        "sweep/pruner",
    ):
        (row,) = re.findall(rf"^\| `{group}` \| (.*) \|$", README, re.MULTILINE)
        assert set(choices(group)) <= set(re.findall(r"`(\w+)`", row)), group


def test_it_says_nothing_of_this_machine() -> None:
    assert not re.search(r"/(work|root|tmp)/|pypi", README)


def test_no_command_is_left_out() -> None:
    commands = [line for block in BLOCKS[2:] for line in block.splitlines()]
    assert [command for section in SECTIONS.values() for command in section] == commands
    assert len(commands) >= 20
    assert set(BEFORE) <= set(SECTIONS)
    assert set(BEFORE.values()) <= set(commands)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the files that the README's commands name."""
    for split in ("train", "test"):
        for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
            (tmp_path / "path/to/images" / split / name).mkdir(parents=True)
            for i in range(20):
                shade = tuple(part + i for part in colour)
                Image.new("RGB", (32, 32), shade).save(tmp_path / "path/to/images" / split / name / f"{i}.png")
    shutil.copytree(tmp_path / "path/to/images/test/red", tmp_path / "path/to/frames")
    for name in ("photo.png", "painting.png"):
        Image.effect_noise((40, 32), 50).save(tmp_path / "path/to" / name)
    (tmp_path / "path/to/text.txt").write_text("The rain in Spain stays mainly in the plain.\n" * 100)
    return tmp_path


@pytest.mark.slow
def test_its_example_runs(place: Path) -> None:
    example, *_ = re.findall(r"^```python\n(.*?)^```$", README, FLAGS)
    words = [*shlex.split(SHORT), *shlex.split(NEEDS_DOWNLOAD)]
    example = example.replace('"trainer.max_epochs=3"', ", ".join(f'"{word}"' for word in words))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", example], cwd=place, env=environment, check=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_its_commands_run(place: Path, section: str) -> None:
    for command in ([BEFORE[section]] if section in BEFORE else []) + SECTIONS[section]:
        if command == "python -m project.benchmark all":
            pass  # tests/benchmarks runs it
        elif command.startswith("python -m "):
            _run(place, command)
        elif command.startswith("tensorboard "):
            _serve(place, command)
        else:
            raise AssertionError(f"no way to run: {command}")


def _run(folder: Path, command: str) -> None:
    words = shlex.split(command)
    if "project.train" in command and "--help" not in command:
        words += shlex.split(SHORT)
        if "data.path=" in command:
            words += ["data.batch_size=4", "data.truncate=16", "model.net.hidden_size=16"]
        elif "model=lstm sweep=" not in command and "data=" not in command and "resume=" not in command:
            needs = shlex.split(NEEDS_DOWNLOAD)
            words += needs[:-1] if "sweep=resnet" in command else needs
        elif "data=shapes" in command:
            words += shlex.split(NEEDS_DOWNLOAD)[1:]
        if "spelled_numbers" in command:
            words += ["data.train_pairs=200", "data.test_pairs=40"]
        if "data=scenes" in command:
            words += ["data.train_images=100", "data.val_images=20", "data.test_images=20"]
        if "data=sort_of_clevr" in command:
            words += ["data.train_images=40", "data.test_images=8", "data.val_fraction=0.2", "data.batch_size=8"]
        if "data=shape_" in command:
            words += ["data.train_images=100", "data.test_images=20", "data.batch_size=8"]
        if "data=moving_shapes" in command:
            words += ["data.train_videos=40", "data.test_videos=10"]
        if "image_folder" in command:
            words += ["data.batch_size=8"]
        if "sweep=" in command:
            words += ["sweep.n_trials=2", "sweep.threads_per_worker=1", "hydra/launcher=basic"]
        if "model=lstm sweep=" in command:  # the source of a whole library is a long text
            words += ["data=text", f"data.path={CONF / 'train.yaml'}", "data.batch_size=choice(2,4)", "data.truncate=4"]
            words += ["data.test_fraction=0.1", "data.cache_folder=cache", "model.net.hidden_size=choice(8,16)"]
        elif "sweep=resnet" in command and "cluster=" not in command:
            words += ["data.batch_size=choice(8,16)"]
        if "lr_find" in command:  # which takes 200 steps
            words += ["data.batch_size=2"]
    if "cluster=" in command:  # tests/cluster sends such runs
        words += ["--cfg", "job"]
    if words[2] in ("project.dream", "project.style"):
        words += ["steps=2"]
    if words[2] == "project.benchmark":
        words += ["--quick", "--parts", "storage"]
    if words[2] == "project.tune":
        words += [*shlex.split(NEEDS_DOWNLOAD)[1:], "seconds=1", "compiled=false"]
    done = run_module(*words[2:], cwd=folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _serve(folder: Path, command: str) -> None:
    """TensorBoard as the README starts it, on a free port: it answers, and on loopback alone."""
    (folder / "outputs").mkdir(exist_ok=True)
    program = shutil.which("tensorboard", path=str(Path(sys.executable).parent))
    assert program is not None
    words = [program, *shlex.split(command)[1:], "--port", "0"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            address = ""
            for line in server.stderr:
                if match := re.search(r"(http://localhost:\d+)", line):
                    address = match[1]
                    break
            assert address
            for _ in range(50):
                try:
                    assert urllib.request.urlopen(address, timeout=10).status == 200
                    break
                except OSError:
                    time.sleep(0.2)
        finally:
            server.kill()  # it loses a SIGTERM that comes while it answers a request
