"""Real videos and folders of frames, with every way of labelling them and everything that can be wrong with them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from project.data import footage
from project.data.clips import find_clips
from project.data.footage import natural, read_frames
from project.data.frame_labels import read_labels
from project.data.video_folder import VideoFolder
from project.errors import UserError
from tests.data.video_sets import build, pixels, write_frames, write_video


def test_numbers_in_names_are_numbers() -> None:
    names = ["f10.png", "f2.png", "f1.png", "10", "9", "b", "a"]
    assert sorted(names, key=natural) == ["9", "10", "a", "b", "f1.png", "f2.png", "f10.png"]


def test_a_folder_of_frames(tmp_path: Path) -> None:
    frames = pixels(12)
    folder = write_frames(tmp_path / "walk", frames)
    (folder / "notes.txt").write_text("no frame")
    found, total = read_frames(folder, 16, 16)
    assert total == 12
    assert np.array_equal(found, frames)
    found, total = read_frames(folder, 16, 16, every=5)
    assert total == 12
    assert np.array_equal(found, frames[::5])
    found, total = read_frames(folder, 16, 16, every=2, most=3)
    assert total is None
    assert np.array_equal(found, frames[:6:2])
    found, total = read_frames(folder, 8, 8, most=12)
    assert (found.shape, total) == ((12, 8, 8, 3), 12)


def test_a_video_file(tmp_path: Path) -> None:
    frames = pixels(10, size=(48, 32))
    path = write_video(tmp_path / "walk.mp4", frames)
    found, total = read_frames(path, 32, 32, every=3)
    assert (found.shape, total) == ((4, 32, 32, 3), 10)
    centres = found[:, 8:, 8:].mean((1, 2, 3))
    assert np.abs(centres - frames[::3, 16, 24, 0]).max() < 6
    assert read_frames(path, 32, 32, most=4)[1] is None
    assert read_frames(path, 32, 32, most=10)[1] == 10


def test_videos_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 40)
    pytest.importorskip("av")
    with pytest.raises(UserError, match=r"broken\.mp4 cannot be read as a video: .*\nRepair or remove it"):
        read_frames(broken, 8, 8)
    with pytest.raises(UserError, match=r"There is no video .*nowhere\.mp4"):
        read_frames(tmp_path / "nowhere.mp4", 8, 8)
    cut = write_video(tmp_path / "cut.mp4", pixels(10))
    cut.write_bytes(cut.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cut\.mp4 cannot be read as a video"):
        read_frames(cut, 8, 8)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1\.png cannot be read as an image"):
        read_frames(tmp_path / "frames", 8, 8)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"read by PyAV, which is not installed: pip install '\.\[video\]'"):
        read_frames(broken, 8, 8)
    assert footage.__name__ in sys.modules


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "up\nup\ndown\ndown\ndown\n", ["up", "up", "down", "down", "down"]),
        ("a.csv", "frame,label\n0,up\n2,down\n", ["up", "up", "down", "down", "down"]),
        ("a.csv", '0,"up, left"\n4,down', ["up, left", "up, left", "up, left", "up, left", "down"]),
    ],
)
def test_labels_of_five_frames(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    (tmp_path / name).write_text(text)
    labels = read_labels(tmp_path / name)
    assert [labels.names[i] for i in labels.at(np.arange(5), 5)] == expected
    assert [labels.names[i] for i in labels.at(np.array([0, 3]), None)] == [expected[0], expected[3]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "up\nup\ndown\n", r"a\.txt has 3 labels, and its video 5 frames"),
        ("a.txt", "up\n" * 6, r"a\.txt has 6 labels, and its video 5 frames"),
        ("a.txt", "up\n\ndown\n", r"a\.txt, line 2: there is no label"),
        ("a.txt", "", r"a\.txt, line 1: there is no label"),
        ("a.csv", "frame,label\n", r"a\.csv has no labels"),
        ("a.csv", "frame,label\n1,up\n", r"a\.csv, line 2: frame 0 is first, got 1"),
        ("a.csv", "0,up\n3,down\n3,up\n", r"a\.csv, line 3: frames must rise, got 3 after 3"),
        ("a.csv", "0,up\nx,down\n", r"a\.csv, line 2: frame,label is expected, got 'x,down'"),
        ("a.csv", "0,up\n2,\n", r"a\.csv, line 2: frame,label is expected"),
        ("a.csv", "0,up\n5,down\n", r"a\.csv has a label for frame 5, and its video has frames 0 to 4"),
    ],
)
def test_labels_that_are_wrong(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_labels(tmp_path / name).at(np.arange(5), 5)


def test_which_videos_and_labels_are_found(tmp_path: Path) -> None:
    for split, count in (("train", 11), ("valid", 1), ("test", 2)):
        for number in range(count):
            write_frames(tmp_path / split / f"v{number}", pixels(1))
            (tmp_path / split / (f"v{number}.txt" if number % 2 else f"v{number}/labels.csv")).write_text("0,x")
    (tmp_path / "train" / "v0.mp4").write_bytes(b"")
    (tmp_path / "train" / "v0.csv").write_text("0,x")
    (tmp_path / "train" / "v0" / "labels.csv").unlink()
    (tmp_path / "train" / ".hidden").mkdir()
    found = find_clips(tmp_path)
    assert [clip.path.name for clip in found["train"]] == ["v0", "v0.mp4", *(f"v{i}" for i in range(1, 11))]
    assert [len(found[split]) for split in ("train", "val", "test")] == [12, 1, 2]
    assert {clip.labels.name for clip in found["test"] if clip.labels} == {"labels.csv", "v1.txt"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nothing", r"There are no videos in .*nothing"),
        ("unlabelled", r"walk has no labels beside it"),
        ("twice", r"walk has two files with labels, walk\.csv and labels\.txt"),
    ],
)
def test_folders_that_are_wrong(tmp_path: Path, wrong: str, said: str) -> None:
    root = tmp_path / wrong
    root.mkdir()
    if wrong != "nothing":
        write_frames(root / "walk", pixels(1))
    if wrong == "twice":
        (root / "walk.csv").write_text("0,x")
        (root / "walk" / "labels.txt").write_text("x")
    with pytest.raises(UserError, match=said):
        find_clips(root)
    with pytest.raises(UserError, match=r"There is no folder .*elsewhere"):
        find_clips(tmp_path / "elsewhere")


def test_videos_with_labels_beside_them_in_given_parts(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for number in range(count):
            path = write_video(tmp_path / "videos" / split / f"{number}.mp4", pixels(6 + number, size=(32, 32)))
            path.with_suffix(".csv").write_text("0,dark\n3,bright\n")
    module = build("video_folder", tmp_path, batch_size=2, every=2, max_frames=4)
    assert module.counts == {"train": 4, "val": 2, "test": 3}
    assert module.classes == ["bright", "dark"]
    assert module.facts["every"] == 2
    frames, lengths, labels = next(iter(module.test_dataloader()))
    assert lengths.tolist() == [3, 4, 4]
    assert labels.tolist() == [1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0]
    assert frames.shape == (11, 3, 16, 16)


def test_folders_for_classes_are_held_out_by_class(tmp_path: Path) -> None:
    for kind in ("run", "walk"):
        for number in range(10):
            write_frames(tmp_path / "videos" / kind / str(number), pixels(2 + number % 2))
    module = build("video_folder", tmp_path)
    assert module.classes == ["run", "walk"]
    assert module.counts == {"train": 12, "val": 4, "test": 4}
    for split in module.counts:
        labels = module.parts[split].labels  # type: ignore[attr-defined]
        assert set(labels.tolist()) == {0, 1}


def test_a_label_that_no_training_video_has(tmp_path: Path) -> None:
    for split, name in (("train", "walk"), ("test", "fly")):
        for number in range(4):
            write_frames(tmp_path / "videos" / split / str(number), pixels(2))
            (tmp_path / "videos" / split / f"{number}.csv").write_text(f"0,{name}")
    with pytest.raises(UserError, match=r"0\.csv has a label 'fly' that no training video has: they have walk"):
        build("video_folder", tmp_path, val_fraction=0.4)


def test_frames_are_decoded_once_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("video_folder", tmp_path)
    entries = list((tmp_path / "cache").glob("videos-*"))
    assert len(entries) == 1
    with monkeypatch.context() as patch:
        patch.setattr("project.data.clips.read_frames", None)
        build("video_folder", tmp_path)
    write_frames(tmp_path / "videos" / "walk_99", pixels(4))
    (tmp_path / "videos" / "walk_99.csv").write_text("0,dark")
    assert sum(build("video_folder", tmp_path).counts.values()) == 25
    assert len(list((tmp_path / "cache").glob("videos-*"))) == 2


def test_a_broken_file_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    build("video_folder", tmp_path)
    (tmp_path / "videos" / "walk_3" / "frame_2.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"walk_3/frame_2\.png cannot be read as an image"):
        build("video_folder", tmp_path)
    assert len(list((tmp_path / "cache").glob("videos-*"))) == 1


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("image_size", 0, "data.image_size must be at least 1, got 0"),
        ("every", 0, "data.every must be at least 1, got 0"),
        ("max_frames", 0, "data.max_frames must be at least 1, or null, got 0"),
        ("num_workers", -1, "data.num_workers must be at least 0, or null, got -1"),
    ],
)
def test_laws_of_the_arguments(argument: str, value: int, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        VideoFolder("x", **{argument: value})  # type: ignore[arg-type]
