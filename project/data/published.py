"""Whether a data set can be had, found out in a moment: before torch, let alone torchvision, is imported."""

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

from project.data.archive import Archive
from project.data.download import Download

TINY_SHAKESPEARE = Download(
    title="Tiny Shakespeare",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    place="tinyshakespeare/input.txt",
    digest="sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)

IMDB = Archive(
    title="IMDB",
    url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    filename="aclImdb_v1.tar.gz",
    md5="7c2ac02c03563afcf9b574c7e56c153a",  # as torchtext has it
    folder="aclImdb",
    files=dict.fromkeys(["train/neg", "train/pos", "test/neg", "test/pos"], ""),
    instead="opinions",
)

MULTI30K = {
    name: Download(
        title=f"Multi30k's {name}",
        url=f"https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/{name}.gz",
        place=f"multi30k/{name}.gz",
        digest=f"md5:{md5}",
    )
    for name, md5 in {  # as torchtext has them
        "train.de": "81ff90b99829c0cd4b1b587d394afd39",
        "train.en": "0065d13af80720a55ca8153d126e6627",
        "train.fr": "6cb767741dcad3931f966fefbc05203f",
        "val.de": "6e0e229eb049e3fc99a1ef02fb2d5f91",
        "val.en": "2b69aa9253948ac9f67e94917272dd40",
        "val.fr": "93fc564584b7e5ba410c761ea5a1c682",
        "test_2016_flickr.de": "efd67d314d98489b716b145475101932",
        "test_2016_flickr.en": "ff2c0fcb4893a13bd73414306bc250ae",
        "test_2016_flickr.fr": "08dc7cd4a662f31718412de95ca9bfe3",
    }.items()
}

_FILES: dict[str, list[Archive | Download]] = {
    "project.data.tinyshakespeare.TinyShakespeare": [TINY_SHAKESPEARE],
    "project.data.imdb.Imdb": [IMDB],
}
_SOURCES = {"project.data.cifar.Cifar10": "CIFAR10", "project.data.cifar.Cifar100": "CIFAR100"}


def published_archive(name: str, facts: dict[str, Any]) -> Archive:
    """The archive that torchvision's class `name` describes in its attributes `facts`."""
    return Archive(
        title=name.replace("CIFAR", "CIFAR-"),
        url=facts["url"],
        filename=facts["filename"],
        md5=facts["tgz_md5"],
        folder=facts["base_folder"],
        files={**dict(facts["train_list"] + facts["test_list"]), facts["meta"]["filename"]: facts["meta"]["md5"]},
    )


def check_reach(target: str, root: str) -> None:
    """Nothing for data sets that are not downloaded.

    Nor for torchvision's where torchvision is imported already and will say it itself.

    Args:
        target: the DataModule's class, as configs name it.
        root: its `data.root`.

    Raises:
        UserError: the data set is not in `root` and its server cannot be reached.
    """
    for file in [*_FILES.get(target, []), *_multi30k(target, Path(root))]:
        file.check_reach(Path(root))
    if target not in _SOURCES or "torchvision" in sys.modules:
        return
    facts = _class_attributes("torchvision", "datasets/cifar.py", _SOURCES[target])
    if facts:
        published_archive(_SOURCES[target], facts).check_reach(Path(root))


def _multi30k(target: str, root: Path) -> list[Download]:
    """One of the files that `root` lacks; none where two of the languages are whole, since they may be the two."""
    missing = [file for file in MULTI30K.values() if not (root / file.place).is_file()]
    whole = {"de", "en", "fr"} - {file.place.split(".")[-2] for file in missing}
    return missing[:1] if target == "project.data.multi30k.Multi30k" and len(whole) < 2 else []


def _class_attributes(package: str, file: str, name: str) -> dict[str, Any]:
    """The literals that a class's body assigns, read from its source."""
    spec = importlib.util.find_spec(package)
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None or not (folder / file).is_file():
        return {}
    for node in ast.parse((folder / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            pairs = [(part.targets[0], part.value) for part in node.body if isinstance(part, ast.Assign)]
            try:
                return {target.id: ast.literal_eval(value) for target, value in pairs if isinstance(target, ast.Name)}
            except ValueError:  # no literals: then it is found out later, with torchvision itself
                return {}
    return {}
