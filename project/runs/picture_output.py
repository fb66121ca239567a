"""Where the pictures that a prediction draws are written: never over an input."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from project.errors import UserError


class PictureOutput:
    """A PNG for each input, of its name, in the folder `out`; or the file `out` itself, for one input.

    Args:
        out: a folder, which may not be there yet, or a file that ends in .png; None: nothing is written.
        given: the image, or the folder of images, that was asked about.
        paths: the images.

    Raises:
        UserError: a place where an input would be overwritten, or taken for an input the next time, or where two inputs
            would become one file, or one for more than one image.
    """

    def __init__(self, out: str | None, given: Path, paths: Sequence[Path]) -> None:
        self.places: dict[Path, Path] = {}
        if out is None:
            return
        folder = Path(out).expanduser()
        if folder.suffix.lower() == ".png" and not folder.is_dir():
            if given.is_dir():
                raise UserError(f"out={out} is one file, and input={given} a folder: name a folder")
            self.places = {given: folder}
        elif folder.exists() and not folder.is_dir():
            raise UserError(f"out={out} is a file: name a folder, or a file that ends in .png")
        else:
            root = given if given.is_dir() else given.parent
            if given.is_dir() and folder.resolve().is_relative_to(given.resolve()):
                raise UserError(
                    f"out={out} lies in input={given}: what is written there would be an input the next time.\n"
                    "Choose another folder"
                )
            self.places = {path: folder / path.relative_to(root).with_suffix(".png") for path in paths}
        self._check(paths)

    def _check(self, paths: Sequence[Path]) -> None:
        owners: dict[Path, Path] = {}
        inputs = {path.resolve() for path in paths}
        for path, place in self.places.items():
            if place.resolve() in inputs:
                raise UserError(f"out= would overwrite the image {place}: choose another folder")
            if place in owners:
                raise UserError(f"{owners[place]} and {path} would both be written to {place}: rename one of them")
            owners[place] = path

    def write(self, path: Path, picture: Image.Image) -> str | None:
        """Write what was drawn for the image `path`; where, or None if nothing is written.

        Raises:
            UserError: it cannot be written.
        """
        if path not in self.places:
            return None
        place = self.places[path]
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            picture.save(place, format="PNG")
        except OSError as error:
            raise UserError(f"{place} cannot be written: {error.strerror or error}") from error
        return str(place)

    @property
    def wanted(self) -> bool:
        return bool(self.places)
