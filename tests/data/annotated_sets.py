"""Small data sets of images with sequences, in the form that their files have."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from project.data.annotated import AnnotatedDataModule
from tests.conftest import compose_config

Asked = list[tuple[str, str, str, list[str]]]  # question, its type, what most people said, what each of them said
BuildAnnotated = Callable[..., AnnotatedDataModule]
SAID = ("A dog runs .", "Two dogs are in the grass .", "A black dog jumps over a log .", "The dog is wet .")


def picture(path: Path, seed: int, size: tuple[int, int] = (30, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def make_flickr8k(root: Path) -> Path:
    """30 photographs to train on, 6 for validation, 8 for the test, with one to four captions each."""
    lines, number = [], 0
    for name, count in {"train": 30, "dev": 6, "test": 8}.items():
        names = []
        for _ in range(count):
            names.append(f"{1000 + number}_{number:x}.jpg")
            picture(root / "Flicker8k_Dataset" / names[-1], number)
            lines += [f"{names[-1]}#{place}\t{SAID[(number + place) % 4]}" for place in range(number % 4 + 1)]
            number += 1
        (root / f"Flickr_8k.{name}Images.txt").write_text("".join(f"{one}\n" for one in names))
    (root / "Flickr8k.token.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def make_coco(root: Path) -> Path:
    """40 photographs of train2017, 8 of val2017, with one to three captions; the captions in no order."""
    for part, start, count in (("train2017", 0, 40), ("val2017", 100, 8)):
        images, annotations = [], []
        for number in range(start, start + count):
            name = f"{number:012}.jpg"
            picture(root / part / name, number)
            images.append({"id": number, "file_name": name, "height": 24, "width": 30, "license": 1})
            for place in range(number % 3 + 1):
                caption = SAID[(number + place) % 4] + ("\n" if place else "")
                annotations.append({"image_id": number, "id": 10 * number + place, "caption": caption})
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        found = {"info": {}, "licenses": [], "images": images, "annotations": annotations[::-1]}
        (root / "annotations" / f"captions_{part}.json").write_text(json.dumps(found))
    return root


def write_vqa(root: Path, part: str, pictures: Sequence[Asked], first: int = 100) -> None:
    """The official files of a part of VQA v2: of each picture, numbered from `first` on, its questions and answers."""
    questions: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, asked in enumerate(pictures, first):
        picture(root / part / f"COCO_{part}_{image:012}.jpg", image)
        for place, (question, kind, most, people) in enumerate(asked):
            own = {"image_id": image, "question_id": 1000 * image + place}
            questions.append({**own, "question": question})
            said = [{"answer": one, "answer_confidence": "yes", "answer_id": i} for i, one in enumerate(people, 1)]
            most_said = {"multiple_choice_answer": most, "answers": said, "answer_type": kind}
            annotations.append({**own, "question_type": "what is", **most_said})
    head = {"info": {"version": "2.0"}, "data_type": "mscoco", "data_subtype": part, "license": {}}
    for name, content in (
        (f"v2_OpenEnded_mscoco_{part}_questions", {"task_type": "Open-Ended", "questions": questions[::-1]}),
        (f"v2_mscoco_{part}_annotations", {"annotations": annotations}),
    ):
        (root / f"{name}.json").write_text(json.dumps({**head, **content}))


def make_vqa_v2(root: Path) -> Path:
    """40 photographs of train2014, 8 of val2014, with one to three questions."""
    questions: Asked = [
        ("Is this a dog?", "yes/no", "yes", ["yes"] * 9 + ["no"]),
        ("What color is it?", "other", "red", ["red"] * 7 + ["dark red"] * 3),
        ("How many are there?", "number", "2", ["2"] * 10),
    ]
    for part, count in (("train2014", 40), ("val2014", 8)):
        pictures = [[questions[(i + place) % 3] for place in range(i % 3 + 1)] for i in range(count)]
        write_vqa(root, part, pictures)
    return root


@cache
def _composed(name: str) -> DictConfig:
    return compose_config(f"data={name}").data


@pytest.fixture
def build_annotated(tmp_path: Path) -> BuildAnnotated:
    """`build_annotated("scenes", shift=0)`: the data set of conf/data/scenes.yaml, on small data."""
    photos: dict[str, Any] = {"cache_folder": str(tmp_path / "cache"), "num_workers": 0, "image_size": 20}
    small: dict[str, dict[str, Any]] = {
        "scenes": {"train_images": 40, "val_images": 10, "test_images": 8, "image_size": 24},
        "flickr8k": {**photos, "root": str(tmp_path / "flickr8k"), "min_count": 1},
        "sort_of_clevr": {"train_images": 50, "test_images": 8, "image_size": 32, "val_fraction": 0.2},
        "vqa_v2": {**photos, "root": str(tmp_path / "vqa"), "min_count": 1, "val_fraction": 0.2},
        "coco_captions": {**photos, "root": str(tmp_path / "coco"), "min_count": 1, "val_fraction": 0.2},
    }
    made: dict[str, Callable[[Path], Path]] = {
        "flickr8k": make_flickr8k,
        "coco_captions": make_coco,
        "vqa_v2": make_vqa_v2,
    }

    def build(name: str, **arguments: Any) -> AnnotatedDataModule:
        options = {**small[name], "batch_size": 12, "eval_batch_size": 4, **arguments}
        if name in made and not Path(options["root"]).exists():
            made[name](Path(options["root"]))
        config = OmegaConf.create({"seed": 0, "data": _composed(name)})
        return hydra.utils.instantiate(OmegaConf.merge(config, {"data": options}).data)

    return build


def ready(module: AnnotatedDataModule) -> AnnotatedDataModule:
    module.prepare_data()
    module.setup("fit")
    return module
