"""Pictures hold the pixels that they were given."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from project.callbacks.fonts import font
from project.callbacks.tiles import GAP, LINE, TEXT, clipped, grid, pixels_of, sized, stacked, stretched, write_image

RNG = np.random.default_rng(0)


def random_pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_normalisation_is_undone_exactly() -> None:
    pixels = random_pixels(4, 5, 6)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    normalised = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(mean)[:, None, None]
    ) / torch.tensor(std)[:, None, None]
    assert np.array_equal(pixels_of(normalised, mean, std), pixels)


def test_what_lies_outside_is_cut_off_and_what_is_no_number_is_black() -> None:
    image = torch.tensor([9.0, -9.0, float("nan")]).view(1, 3, 1, 1)
    assert pixels_of(image, [0.5] * 3, [1.0] * 3).tolist() == [[[[255, 0, 0]]]]


def test_small_images_are_enlarged_by_squares_and_large_ones_shrunk() -> None:
    small = random_pixels(3, 2)
    assert np.array_equal(sized(small, least=7), small.repeat(3, 0).repeat(3, 1))
    assert sized(np.full((300, 150, 3), 7, np.uint8), most=100).shape == (100, 50, 3)
    fits = random_pixels(80, 70)
    assert np.array_equal(sized(fits), fits)


def test_a_grid_holds_its_tiles_where_they_belong() -> None:
    tiles = [random_pixels(8, 8) for _ in range(5)]
    picture = np.asarray(grid(tiles, 3, ["a\nb", "", "", "", ""], title="t"))
    assert picture.shape == (LINE + GAP + 2 * (8 + 2 * LINE + GAP) + GAP, 3 * (8 + GAP) + GAP, 3)
    for number, tile in enumerate(tiles):
        top = LINE + 2 * GAP + number // 3 * (8 + 2 * LINE + GAP)
        left = GAP + number % 3 * (8 + GAP)
        assert np.array_equal(picture[top : top + 8, left : left + 8], tile)


def test_a_stretched_image_has_its_pixels_where_they_belong() -> None:
    pixels = random_pixels(2, 3)
    assert np.array_equal(stretched(pixels, 8, 6), pixels.repeat(4, 0).repeat(2, 1))


def test_stacked_tiles_lie_below_each_other() -> None:
    above, below = random_pixels(2, 4), random_pixels(3, 4)
    both = stacked(above, below)
    assert np.array_equal(both[:2], above)
    assert (both[2:4] == 255).all()
    assert np.array_equal(both[4:], below)


def test_a_line_is_clipped_to_its_room_and_shows_what_a_page_would_obey() -> None:
    assert clipped("cat", 100) == "cat"
    assert clipped("a\n b\x1b[0m", 200) == r"a b\x1b[0m"
    cut = clipped("a very long name of a class", 60)
    assert cut.endswith("…")
    assert font(TEXT).getlength(cut) <= 60


def test_names_of_other_alphabets_have_letters_of_their_own() -> None:
    drawn = {bytes(font(TEXT).getmask(letter)) for letter in "éЖαß"}
    assert len(drawn) == 4


def test_what_is_written_is_read_as_it_was_and_photographs_stay_small(tmp_path: Path) -> None:
    flat, photograph = Image.new("RGB", (40, 30), (1, 2, 3)), Image.fromarray(random_pixels(30, 30)).resize((600, 600))
    with SummaryWriter(str(tmp_path)) as writer:
        write_image(writer, "flat", flat, 7)
        write_image(writer, "photograph", photograph, 8)
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Images("flat")
    assert (event.step, event.width, event.height) == (7, 40, 30)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), np.asarray(flat))
    (event,) = events.Images("photograph")
    assert Image.open(io.BytesIO(event.encoded_image_string)).format == "JPEG"
    assert len(event.encoded_image_string) < 100_000
