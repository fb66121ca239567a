"""COCO captions (Chen et al. 2015): photographs with five or more captions each."""

import json
from pathlib import Path

from project.data.captioned_photos import CaptionedPhotos
from project.data.captions import Captioned
from project.data.lines import shown
from project.errors import UserError

TO_BE_HAD = (
    "Get train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download and unpack "
    "them into one folder, so that it has train2017, val2017 and annotations, and name that: data.root=FOLDER"
)


class CocoCaptions(CaptionedPhotos):
    """The release of 2017: train2017 to train on, with a part held out for validation; val2017 for the test.

    The captions of COCO's own test images are not published.

    A member of `CaptionedPhotos`, which says what it takes.
    """

    def read(self) -> dict[str, Captioned]:
        parts = {}
        for split, own in {"train": "train2017", "test": "val2017"}.items():
            file, folder = self.root / "annotations" / f"captions_{own}.json", self.root / own
            for place in (file, folder):
                if not place.exists():
                    raise UserError(f"There is no {place.relative_to(self.root)} in {shown(self.root)}.\n{TO_BE_HAD}.")
            parts[split] = self.load(folder, read_captions(file), file)
        return parts


def read_captions(file: Path) -> dict[str, list[str]]:
    """Captions by the name of the image's file, in the order of the images; images without one are left out.

    Raises:
        UserError: the file is not in COCO's format, or has no captions.
    """
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        names = {int(image["id"]): str(image["file_name"]) for image in known["images"]}
        captions: dict[str, list[str]] = {name: [] for name in names.values()}
        for one in known["annotations"]:
            if text := " ".join(str(one["caption"]).split()):
                captions[names[int(one["image_id"])]].append(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{shown(file)} is not in the format of COCO's captions, with `images` (id, file_name) and `annotations` "
            f"(image_id, caption): {reason[:200]}"
        ) from error
    captions = {name: own for name, own in captions.items() if own}
    if not captions:
        raise UserError(f"{shown(file)} has no captions.")
    return captions
