"""Texts of trained language models: to the terminal as they are written, from several prompts, into files."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from project.errors import UserError
from project.nets.sampling import Sampler, continuations
from project.runs.trained import load_run
from project.sample import sample
from project.train import train
from tests.conftest import CONF, compose_config
from tests.runs.text import TEXT, tiny_text

Finished = Callable[..., Path]
Kinds = Callable[[str], Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    """The folder of a language model of "characters", "bytes" or "words", trained once."""
    known: dict[str, Path] = {}

    def run(tokens: str = "characters") -> Path:
        if tokens not in known:
            folder = tmp_path_factory.mktemp(tokens)
            text = TEXT.replace("corks", "kühle Körke")
            words = ["data.batch_size=2", "data.eval_batch_size=1"] if tokens == "words" else []
            train(tiny_text(folder, f"data.tokens={tokens}", "trainer.max_epochs=4", *words, text=text))
            known[tokens] = folder / "run"
        return known[tokens]

    return run


def texts(run: Path, *words: str) -> list[dict[str, str]]:
    return sample(compose_config(f"run={run}", "accelerator=cpu", *words, name="sample"))


def test_a_text_is_what_the_network_writes(written: Kinds, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("prompt=9 b", "length=30", "temperature=0.5", "top_k=5", "top_p=0.9", "seed=4")
    found = texts(written("characters"), *options)
    trained = load_run(str(written("characters")), "outputs")
    tokens = trained.data["vocabulary"]["tokens"]
    prompt = [tokens.index(character) for character in "9 b"]
    carried = torch.load(trained.checkpoint, weights_only=True)["carried"]
    start = [tuple(part[:1] for part in state) for state in carried]  # where the first stream was left, in mid-text
    read = [tokens.index("\n"), *prompt]
    drawn = [step[0] for step in continuations(trained.task.net, [read], 30, Sampler(0.5, 5, 0.9), 4, start)]  # type: ignore[arg-type]
    assert found == [{"prompt": "9 b", "text": "".join(tokens[token] for token in drawn)}]
    assert capsys.readouterr().out == "9 b" + found[0]["text"] + "\n"
    assert texts(written("characters"), *options) == found
    assert texts(written("characters"), *options, "seed=5") != found


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
def test_a_text_is_the_same_alone_and_among_several(written: Kinds, tmp_path: Path, tokens: str) -> None:
    prompts = ["9 bottles", "12", "12 kühle"]
    alone = [
        texts(written(tokens), f"prompt='{prompt}'", f"seed={i}", "length=20")[0] for i, prompt in enumerate(prompts)
    ]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n\n", encoding="utf-8")
    assert texts(written(tokens), f"prompts={tmp_path / 'prompts.txt'}", "length=20") == alone
    assert texts(written(tokens), f"prompts={tmp_path / 'prompts.txt'}", "length=20", "batch_size=2") == alone


def test_without_a_prompt_a_text_begins_on_a_new_line(written: Kinds, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = texts(written("characters"), "length=20", "temperature=0")
    (after,) = texts(written("characters"), 'prompt="\n"', "length=20", "temperature=0")
    assert (found["prompt"], found["text"]) == ("", after["text"])
    assert capsys.readouterr().out == found["text"] + "\n\n" + found["text"] + "\n"


def test_several_prompts_are_printed_one_after_the_other(written: Kinds, capsys: pytest.CaptureFixture[str]) -> None:
    found = texts(written("characters"), "prompt=[9 b,1]", "length=5")
    expected = f'==> 1 "9 b"\n9 b{found[0]["text"]}\n\n==> 2 "1"\n1{found[1]["text"]}\n'
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.txt"])
def test_texts_go_into_a_new_file(
    written: Kinds, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("prompt=[9 b,1]", "length=5", f"output={tmp_path / name}")
    found = texts(written("characters"), *words)
    content = (tmp_path / name).read_text(encoding="utf-8")
    if name == "texts.jsonl":
        assert [json.loads(line) for line in content.splitlines()] == found
    else:
        assert content.startswith(f'==> 1 "9 b"\n9 b{found[0]["text"]}\n\n==> 2 "1"\n')
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(UserError, match=rf"output=.*{name} exists already: name a new file"):
        texts(written("characters"), *words)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["temperature=-1"], r"temperature must be at least 0 .*, got -1"),
        (["temperature=true"], "temperature must be a number, got True"),
        (["top_p=0"], r"top_p must be above 0 and at most 1 .*, got 0"),
        (["top_p=1.5"], r"top_p must be above 0 and at most 1 .*, got 1.5"),
        (["top_k=-1"], "top_k must be a whole number of at least 0, got -1"),
        (["length=0"], "length must be a whole number of at least 1, got 0"),
        (["length=1.5"], "length must be a whole number of at least 1, got 1.5"),
        (["seed=-1"], "seed must be a whole number of at least 0, got -1"),
        (["seed=4294967296"], "seed must be at most 4294967295"),
        (["batch_size=0"], "batch_size must be a whole number of at least 1, got 0"),
        (
            ["prompt='9é'"],
            r"the prompt '9é' has what the model never saw: 'é' \(LATIN SMALL LETTER E WITH ACUTE\) at character 2",
        ),
        (["prompts=nowhere.txt"], r"prompts=nowhere.txt cannot be read: No such file"),
        (["output=nowhere/texts.txt"], r"output=nowhere/texts.txt: there is no folder .*nowhere: make it first"),
        (["checkpoint=middle"], "has no checkpoint=middle"),
        (["run=nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes(
    written: Kinds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        texts(written("characters"), *words)


def test_mistakes_in_files_of_prompts(written: Kinds, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\n \n")
    with pytest.raises(UserError, match="holds no prompt: write one a line"):
        texts(written("characters"), f"prompts={path}")
    path.write_bytes(b"9\n\xff\n")
    with pytest.raises(UserError, match="is not UTF-8: byte 0xff"):
        texts(written("characters"), f"prompts={path}")


def test_words_that_the_model_never_saw(written: Kinds) -> None:
    with pytest.raises(UserError, match=r"the prompt 'nine bottles\?' has what the model never saw: 'nine', '\?'"):
        texts(written("words"), "prompt='nine bottles?'")


def test_only_language_models_write(finished: Finished) -> None:
    with pytest.raises(
        UserError, match=r"is a ImageClassifier, and only language models write texts: .*project.predict"
    ):
        texts(finished())


def started(run: Path, *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "project.sample", f"run={run}", "accelerator=cpu", *words]
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=run)


@pytest.mark.slow
def test_the_command_streams_until_it_is_stopped(written: Kinds) -> None:
    with started(written("bytes"), "prompt=ü ${x} [", "length=100000000") as process:
        assert process.stdout is not None
        assert process.stdout.read(200).startswith("ü ${x} [".encode())
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert out.endswith(b"\n")
    assert (process.returncode, error) == (130, b"stopped\n")


@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly(written: Kinds) -> None:
    with started(written("characters"), "length=100000000") as process:
        assert process.stdout is not None
        process.stdout.read(200)
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_the_command_tells_mistakes_in_a_line(written: Kinds) -> None:
    with started(written("characters"), "prompt=Ä") as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert error.decode().startswith(
        "error: the prompt 'Ä' has what the model never saw: 'Ä' (LATIN CAPITAL LETTER A WITH"
    )
    assert error.count(b"\n") == 2
