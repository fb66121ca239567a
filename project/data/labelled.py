"""Texts with classes, from what people have: a folder a class, a file a class, or a table."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from project.data.documents import find_documents
from project.data.files import SPLITS
from project.data.lines import read_lines, read_text, shown
from project.data.tables import TABLES, Columns, Wanted, read_table
from project.errors import UserError

ABOUT = ("README", "LICENSE", "LICENCE")  # how the names of files begin that are no class's
_FORMS = (
    "data.path can be: a folder with a subfolder of text files for each class; a folder or a glob with a file for "
    "each class, a sentence a line; a CSV or TSV file. Each of them may stand in train/ and test/, a table in "
    "train.csv and test.csv"
)


@dataclass
class Texts:
    """The texts of a part, and the class of each; `skipped` counts those that are empty."""

    texts: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: int = 0

    def add(self, name: str, texts: Iterable[str]) -> bool:
        """Whether any of them is not empty."""
        before = len(self.texts)
        for text in texts:
            if text and not text.isspace():
                self.texts.append(text)
                self.classes.append(name)
            else:
                self.skipped += 1
        return len(self.texts) > before


@dataclass(frozen=True)
class Labelled:
    """Texts by part, `train` and what else there is, their labels (N,) int64, and the classes by label."""

    form: str  # what was found and where, for people
    classes: list[str]
    texts: dict[str, list[str]]
    labels: dict[str, np.ndarray]
    skipped: int = 0

    @classmethod
    def of(cls, form: str, parts: dict[str, Texts], place: str) -> "Labelled":
        """Labels from the names of the training part's classes, in their order.

        Raises:
            UserError: fewer than two classes, or a part that has others than the training part.
        """
        classes = _sorted(set(parts["train"].classes))
        if len(classes) < 2:
            found = f"only the class {classes[0]!r}" if classes else "no texts"
            raise UserError(f"{place} has {found}, read as {form}: it takes at least two classes.\n{_FORMS}.")
        for split, part in parts.items():
            if strange := _sorted(set(part.classes) - set(classes)):
                raise UserError(f"The class {strange[0]!r} of the {split} part of {place} has no texts to train on.")
            if not part.texts:
                raise UserError(f"The {split} part of {place} has no texts.\nAdd some, or remove it.")
        labels = {name: label for label, name in enumerate(classes)}
        return cls(
            f"{place}: {form}",
            classes,
            {split: part.texts for split, part in parts.items()},
            {split: np.array([labels[name] for name in part.classes], np.int64) for split, part in parts.items()},
            sum(part.skipped for part in parts.values()),
        )


def read_labelled(path: str, wanted: Wanted, only: Sequence[str] = ()) -> Labelled:
    """The texts at `path`, whichever form they have.

    Args:
        path: a folder, a glob, or a table's file.
        wanted: a table's columns, where they are not to be found out.
        only: the subfolders that are classes; empty: all of them.

    Raises:
        UserError: nothing there, or nothing that has one of the forms, or something wrong with it.
    """
    if not path.strip():
        raise UserError(f"data.path is empty.\n{_FORMS}.")
    place = Path(path).expanduser()
    try:
        if place.is_dir():
            form, parts = _folder(place, wanted, only)
        elif place.is_file() and place.name.lower().endswith(TABLES):
            form, parts = _tables({"train": place}, wanted)
        elif glob.has_magic(path):
            found = sorted(Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207 - absolute ones
            files = [file for file in found if file.is_file()]
            if not files:
                raise UserError(f"No file fits data.path={path}, looked for from {Path.cwd()}.\n{_FORMS}.")
            form, parts = _files(files, wanted)
        elif place.is_file():
            raise UserError(f"{shown(place)} alone has no classes: its name does not end in .csv or .tsv.\n{_FORMS}.")
        else:
            raise UserError(f"There is nothing at {shown(place)}.\n{_FORMS}.")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    return Labelled.of(form, parts, shown(place))


def _folder(place: Path, wanted: Wanted, only: Sequence[str]) -> tuple[str, dict[str, Texts]]:
    if (place / "train").is_dir():
        found = {split: place / name for split, names in SPLITS.items() for name in names if (place / name).is_dir()}
        read = {split: _unsplit(folder, wanted, only) for split, folder in found.items()}
        return f"{read['train'][0]}, in {' and '.join(path.name for path in found.values())}", {
            split: texts for split, (_, texts) in read.items()
        }
    tables = {file.name.lower(): file for file in _visible(place) if file.is_file()}
    named = {
        split: tables[f"{name}{ending}"]
        for split, names in SPLITS.items()
        for name in names
        for ending in TABLES
        if f"{name}{ending}" in tables
    }
    if "train" in named:
        return _tables(named, wanted)
    form, texts = _unsplit(place, wanted, only)
    return form, {"train": texts}


def _unsplit(folder: Path, wanted: Wanted, only: Sequence[str]) -> tuple[str, Texts]:
    entries = _visible(folder)
    folders = [entry for entry in entries if entry.is_dir() and (not only or entry.name in only)]
    if not folders:
        named = [entry for entry in entries if entry.is_file() and not entry.stem.upper().startswith(ABOUT)]
        if not named:
            raise UserError(f"There are no files in {shown(folder)}.\n{_FORMS}.")
        form, parts = _files(named, wanted)
        return form, parts["train"]
    texts = Texts()
    for own in folders:
        if not any(entry.is_file() for entry in own.rglob("*")):
            raise _no_texts(own.name, own)
        documents = find_documents(str(own))
        if not texts.add(_class(own.name, own), (read_text(documents.root / name) for name, *_ in documents.stamps)):
            raise _no_texts(own.name, own)
    return "a folder for each class", texts


def _files(files: list[Path], wanted: Wanted) -> tuple[str, dict[str, Texts]]:
    """A file a class; or one table, whatever else lies beside it."""
    tables = [file for file in files if file.name.lower().endswith(TABLES)]
    if len(tables) == 1:
        return _tables({"train": tables[0]}, wanted)
    plain = [file.with_suffix("") if file.suffix == ".gz" else file for file in files]
    by_ending = len(files) > 1 and len({file.stem for file in plain}) == 1
    texts, seen = Texts(), dict[str, Path]()
    for file, name in zip(files, plain, strict=True):
        own = _class(name.suffix[1:] if by_ending else name.stem, file)
        if own in seen:
            raise UserError(
                f"{shown(seen[own])} and {shown(file)} are both of the class {own!r}, and each class is one file.\n"
                "Put them together, rename one, or choose files with a glob: data.path='FOLDER/*.txt'."
            )
        seen[own] = file
        if not texts.add(own, read_lines(file)):
            raise _no_texts(own, file)
    return "a file for each class, a sentence a line", {"train": texts}


def _no_texts(name: str, place: Path) -> UserError:
    return UserError(f"The class {name!r} has no texts in {shown(place)}.\nAdd some, or remove it.")


def _tables(files: dict[str, Path], wanted: Wanted) -> tuple[str, dict[str, Texts]]:
    parts: dict[str, Texts] = {}
    columns: Columns | None = None
    for split, file in files.items():
        rows, columns = read_table(file, wanted, columns)
        texts = Texts()
        for text, name in rows:
            texts.add(name, [text])
        parts[split] = texts
    assert columns is not None
    return f"a table, {columns}", parts


def _visible(folder: Path) -> list[Path]:
    return sorted(folder / entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))


def _class(name: str, file: Path) -> str:
    """A class's name, which goes into files and onto screens."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{shown(file)} is the name of a class, and is not UTF-8.\nRename it.") from error
    return name


def _sorted(names: Iterable[str]) -> list[str]:
    """Numbers by their value, and before all else."""
    return sorted(names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
