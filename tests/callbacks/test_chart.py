"""A chart of lines as pixels: lines are where their values are."""

import numpy as np

from project.callbacks.chart import COLOURS, SIZE, _pieces, _tick, log_chart
from project.callbacks.lettering import HEIGHT, WIDTH


def test_a_line_stands_at_its_values() -> None:
    picture = log_chart({"high": np.full(11, 10.0), "low": np.array([1.0] * 5 + [0.0] * 6)}, "title", "steps")
    left, top = HEIGHT // 2 + 8 * WIDTH, HEIGHT // 2 + 2 * (HEIGHT + HEIGHT // 2)
    area = picture[top : top + SIZE[1], left : left + SIZE[0]]
    assert area.shape == (SIZE[1], SIZE[0], 3)
    for row, colour in ((slice(0, 2), COLOURS[0]), (slice(-2, None), COLOURS[1])):  # 1e1 and 1e0
        assert (area[row, 20:200] == colour).all(-1).any(0).all()
    assert not (area[:, SIZE[0] // 2 :] == COLOURS[1]).all(-1).any()  # nothing of what is 0


def test_what_is_not_positive_is_left_out() -> None:
    assert _pieces(np.array([1.0, 2.0, 0.0, np.nan, 3.0, -1.0, 4.0])) == [[0, 1], [4], [6]]
    for line in (np.zeros(3), np.array([np.inf]), np.array([5.0])):
        assert log_chart({"layer 0": line}, "title", "steps").dtype == np.uint8


def test_there_are_ten_ticks_at_most() -> None:
    assert [_tick(last) for last in (1, 10, 11, 20, 21, 99, 101, 1000)] == [1, 1, 2, 2, 5, 10, 20, 100]
