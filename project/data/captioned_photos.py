"""What data sets of photographs with captions share: a folder of files, decoded once."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from project.data.captions import CaptionDataModule, Captioned
from project.data.listed_images import ListedImages
from project.errors import UserError


class CaptionedPhotos(CaptionDataModule):
    """Photographs below a folder that the user has filled. A member gives `read`.

    Args:
        root: the folder.
        image_size: side in pixels that all photographs are brought to, the shorter side cut out of the middle.
        cache: GiB of decoded images that may be held in memory.
        cache_folder: where decoded images are kept between runs.
        on_error: end the run at an image that cannot be read, or leave it out.
        num_workers: processes that decode; None: one per core.
        common: what `CaptionDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: files that are missing or broken, or too much for `cache`.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        cache: float = 4.0,
        cache_folder: str = "data/cache",
        on_error: Literal["raise", "skip"] = "raise",
        num_workers: int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root = Path(root).expanduser()
        self.photos = ListedImages(image_size, cache, cache_folder, on_error, num_workers)

    def prepare_data(self) -> None:
        self.setup()

    def load(self, folder: Path, captions: dict[str, list[str]], annotations: Path) -> Captioned:
        """The images that `captions` names, in its order, those that cannot be read left out.

        Args:
            folder: of the images.
            captions: by the name of the image's file.
            annotations: the file that names them, for messages.
        """
        names = list(captions)
        images, readable = self.photos.read(folder, names, annotations)
        if left := int((~readable).sum()):
            self.say("%s: %d of %d images cannot be read and are left out", folder.name, left, len(names))
        rows = np.flatnonzero(readable)
        if not len(rows):
            raise UserError(f"No image that {annotations} names can be read.")
        return Captioned(images, rows, [captions[names[row]] for row in rows])
