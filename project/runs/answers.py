"""What a trained network says about things that are in no data set, on its way to the screen."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from project.runs.tables import table


def likeliest(logits: Tensor, classes: list[str], top: int) -> list[dict[str, Any]]:
    """Per row of logits (B, K): the likeliest `class`, its `probability`, and the `top` likeliest with theirs."""
    probabilities = logits.cpu().double().softmax(1)
    values, labels = probabilities.topk(min(top, len(classes)), dim=1)
    return [
        {
            "class": classes[own_labels[0]],
            "probability": own_values[0],
            "top": [
                {"class": classes[label], "probability": value}
                for label, value in zip(own_labels, own_values, strict=True)
            ],
        }
        for own_labels, own_values in zip(labels.tolist(), values.tolist(), strict=True)
    ]


def class_columns(result: dict[str, Any]) -> dict[str, str]:
    """The columns of a table that tell what `likeliest` found."""
    others = "  ".join(f"{entry['class']} {entry['probability']:.3f}" for entry in result["top"][1:])
    return {"class": result["class"], "probability": f"{result['probability']:.3f}", "then": others}


def show(
    batches: Iterable[list[dict[str, Any]]], form: str, row: Callable[[dict[str, Any]], dict[str, str]]
) -> list[dict[str, Any]]:
    """All results, printed: as JSON lines batch by batch, or in the end as one table of what `row` makes of them."""
    found: list[dict[str, Any]] = []
    for results in batches:
        found += results
        if form == "jsonl":
            for result in results:
                print(json.dumps(result, ensure_ascii=False), flush=True)
    if form == "table" and found:
        print(table([row(result) for result in found]))
    return found
