"""Whether a data set can be had, found out in a moment: before torch, let alone torchvision, is imported."""

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

from project.data.archive import Archive

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
    """Nothing for data sets that are not downloaded, or where torchvision is imported already and will say it itself.

    Args:
        target: the DataModule's class, as configs name it.
        root: its `data.root`.

    Raises:
        UserError: the data set is not in `root` and its server cannot be reached.
    """
    if target not in _SOURCES or "torchvision" in sys.modules:
        return
    facts = _class_attributes("torchvision", "datasets/cifar.py", _SOURCES[target])
    if facts:
        published_archive(_SOURCES[target], facts).check_reach(Path(root))


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
