"""Flickr8k (Hodosh et al. 2013): 8,000 photographs with five captions each."""

from pathlib import Path

from project.data.captioned_photos import CaptionedPhotos
from project.data.captions import Captioned
from project.data.lines import read_lines, shown
from project.errors import UserError

IMAGES, TOKENS = ("Flicker8k_Dataset", "Flickr8k_Dataset"), "Flickr8k.token.txt"  # the archive spells it so
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
TO_BE_HAD = (
    "Flickr8k is given to those who ask for it, in two archives, Flickr8k_Dataset.zip and Flickr8k_text.zip. Unpack "
    "both into one folder, so that it has Flicker8k_Dataset, Flickr8k.token.txt and "
    "Flickr_8k.{train,dev,test}Images.txt, and name that: data.root=FOLDER"
)


class Flickr8k(CaptionedPhotos):
    """The usual parts: 6,000 photographs to train on, 1,000 for validation, 1,000 for the test.

    A member of `CaptionedPhotos`, which says what it takes.
    """

    def read(self) -> dict[str, Captioned]:
        folder = self._found(*IMAGES)
        captions = read_tokens(self._found(TOKENS))
        parts = {}
        for split, own in LISTS.items():
            names = _names(self._found(own))
            for name in names:
                if name not in captions:
                    raise UserError(f"{shown(self.root / TOKENS)} has no caption of {name}, which {own} names.")
            parts[split] = self.load(folder, {name: captions[name] for name in names}, self.root / own)
        return parts

    def _found(self, *names: str) -> Path:
        for name in names:
            if (self.root / name).exists():
                return self.root / name
        raise UserError(f"There is no {names[0]} in {shown(self.root)}.\n{TO_BE_HAD}.")


def read_tokens(file: Path) -> dict[str, list[str]]:
    """Captions by image, from lines `name.jpg#0<tab>caption`.

    Raises:
        UserError: a line that is no such.
    """
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, hash_, place = key.rpartition("#")
        if not (tab and hash_ and name and place.isdecimal() and caption.strip()):
            raise UserError(f"Line {number} of {shown(file)} is not `name.jpg#0<tab>caption`: {line[:80]!r}")
        captions.setdefault(name, []).append(caption.strip())
    return captions


def _names(file: Path) -> list[str]:
    names = [line.strip() for line in read_lines(file) if line.strip()]
    if not names:
        raise UserError(f"{shown(file)} names no images.")
    return names
