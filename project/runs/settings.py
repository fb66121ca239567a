"""What a person compares of runs' configs: dotted keys and plain values."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

CLASS = "_target_"
# where a run is, how it is watched, what it was derived from, and what stands in the model once more
_OF_THE_RUN = ("cell", "folder", "hydra", "logger", "lr_find", "net", "outputs", "resume", "sizes", "sweep", "threads")
# what changes no result
_QUIET = (
    "data.cache",
    "data.cache_folder",
    "data.num_workers",
    "trainer.default_root_dir",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
    "trainer.use_distributed_sampler",
)
_OF_HYDRA = ("_partial_", "_convert_", "_recursive_")
_OF_TRAINING = (
    "accumulate_grad_batches",
    "devices",
    "gradient_clip_val",
    "limit_train_batches",
    "max_epochs",
    "max_steps",
    "precision",
)
_PATHS = ("root", "path", "folder", "source", "target", "val_source", "val_target", "test_source", "test_target")


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's resolved config as `{"optimizer.lr": 0.1, "optimizer._target_": "torch.optim.SGD", ...}`.

    Lists become JSON. Left out are the run's place, what its data decide (sizes), the project's own callbacks, which
    leave a training as it is, and what changes no result otherwise.
    """
    sizes, folder = config.get("sizes") or {}, str(config.get("folder"))
    found = {}
    for key, value in _leaves(_with_callbacks_of_others(config), ""):
        top, last = key.split(".")[0], key.split(".")[-1]
        derived = top == "model" and last in sizes and value == _plain(sizes[last])
        inside = isinstance(value, str) and (value == folder or value.startswith(folder + "/"))
        if not (top in _OF_THE_RUN or key in _QUIET or last in _OF_HYDRA or derived or inside):
            found[key] = value
    return found


def parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` for TensorBoard's HParams: classes by their names, of the Trainer what decides the training.

    No paths, no null, and no seed of a part that is the run's.
    """
    found = {}
    for key, value in settings(config).items():
        last = key.split(".")[-1]
        if (key.startswith("trainer.") and last not in _OF_TRAINING) or last in _PATHS or key in ("mode", "test"):
            continue
        if value is None or (isinstance(value, str) and value.startswith(("/", "~"))):
            continue
        if last == "seed" and key != "seed" and value == config.get("seed"):
            continue
        found[title(key)] = str(value).rsplit(".", 1)[-1] if last == CLASS else value
    return found


def title(key: str) -> str:
    """`optimizer._target_` is shown as `optimizer`."""
    return key.removesuffix("." + CLASS)


def _with_callbacks_of_others(config: Mapping[str, Any]) -> dict[str, Any]:
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, Mapping):
        return dict(config)
    kept = {
        name: node
        for name, node in callbacks.items()
        if isinstance(node, Mapping) and not str(node.get(CLASS)).startswith("project.callbacks.")
    }
    return {**config, "callbacks": kept}


def _leaves(node: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        full = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, full)
        else:
            yield full, _plain(value)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
