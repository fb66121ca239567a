"""What the network is: its layers as a table, and its graph."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from project.callbacks.drawing import Drawing
from project.nets.recurrent import Recurrent

WHOLE = (Recurrent, nn.RNNBase)  # whose parts are not called one by one
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Layer:
    """One layer: its name and class, the shape that it gives, its parameters, and the multiply-adds of its calls;
    None: they are not known."""

    name: str
    kind: str
    shape: str
    parameters: int
    multiply_adds: int | None


class Network(Drawing):
    """At the first validation, once: a table of the layers in TensorBoard's Text tab, and the graph in Graphs.

    Args:
        graph: false: the table alone.
        where_it_fits: see `Drawing`.
    """

    def __init__(self, graph: bool = True, where_it_fits: bool = False) -> None:
        super().__init__(None, where_it_fits)
        self.graph = graph
        self._example: tuple[Any, ...] | None = None

    def is_due(self, trainer: Trainer) -> bool:
        return self.validations == 0 and super().is_due(trainer)

    def watch(self, trainer: Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.is_global_zero:
            self._example = task.example(batch)

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        if self._example is None:
            return
        example, self._example = self._example, None
        with torch.no_grad(), torch.autocast(task.device.type, enabled=False):
            writer.add_text("network", table(layers(task.net, example), task.net, example), global_step=step)
            if self.graph:
                try:
                    _add_graph(writer, task.net, example)
                except Exception as error:  # whatever torch's tracer does not take
                    reason = " ".join(str(error).split())[:300].replace("`", "'")
                    writer.add_text("network/graph", f"torch cannot trace it: `{reason}`", global_step=step)


def _add_graph(writer: Any, net: nn.Module, example: tuple[Any, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that numbers become constants, which a picture may
        # traced here, because the writer would have the tracer check itself by two more passes
        traced = torch.jit.trace(FirstOutput(net), example, check_trace=False, strict=False)
        writer.add_graph(traced, example)


class FirstOutput(nn.Module):
    """A network without the states that it gives beside its output, which torch's tracer would not take."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Any:
        output = self.net.forward(*inputs)  # and not a compiled one
        return output[0] if isinstance(output, tuple) else output


def layers(net: nn.Module, example: tuple[Any, ...]) -> list[Layer]:
    """The layers that a call of `net` with `example` comes through, by their first calls, and then the others."""
    found: dict[nn.Module, Layer] = {}
    handles = []

    def called(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        cost = multiply_adds(module, inputs[0], output)
        if module not in found:
            parameters = sum(weight.numel() for weight in module.parameters())
            found[module] = Layer(names[module], type(module).__name__, _shape(output), parameters, 0)
        layer = found[module]
        layer.multiply_adds = None if cost is None or layer.multiply_adds is None else layer.multiply_adds + cost

    names = {module: name for name, module in net.named_modules() if _is_layer(module)}
    inside = {part for module in names if isinstance(module, WHOLE) for part in module.modules() if part is not module}
    for module in names:
        if module not in inside:
            handles.append(module.register_forward_hook(called))
    try:
        net.forward(*example)  # and not a compiled one
    finally:
        for handle in handles:
            handle.remove()
    for module, name in names.items():
        if module not in found and module not in inside:  # its parts are used, and not it
            parameters = sum(weight.numel() for weight in module.parameters())
            found[module] = Layer(name, type(module).__name__, "", parameters, multiply_adds_unseen(module))
    return list(found.values())


def multiply_adds_unseen(module: nn.Module) -> int | None:
    """Of a layer that was not called as such, e.g. in a cell whose step multiplies several matrices at once."""
    return None if any(weight.ndim > 1 for weight in module.parameters()) else 0


def multiply_adds(module: nn.Module, given: Any, output: Any) -> int | None:
    """Of one call of a layer; 0 where no matrix is multiplied, None where it has matrices of a kind not known here."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, CONVOLUTIONS):
        return int(output.numel() * weight[0].numel())
    if isinstance(module, TRANSPOSED):
        return int(given.numel() * weight[0].numel())
    if isinstance(module, nn.Linear):
        return int(output.numel() * module.in_features)
    if isinstance(module, WHOLE):
        steps = len(given.data) if isinstance(given, PackedSequence) else given.shape[0] * given.shape[1]
        return int(steps) * sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return 0
    return multiply_adds_unseen(module)


def table(rows: list[Layer], net: nn.Module, example: tuple[Any, ...]) -> str:
    """Markdown: a line per layer, the sums, and for which inputs they are."""
    lines = ["| layer | class | output | parameters | multiply-adds |", "| --- | --- | --- | ---: | ---: |"]
    for row in rows:
        cost = "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"
        lines.append(f"| {row.name or '(all)'} | {row.kind} | {row.shape} | {row.parameters:,} | {cost} |")
    total = sum(row.multiply_adds or 0 for row in rows)
    least = "at least " if any(row.multiply_adds is None for row in rows) else ""
    parameters = sum(weight.numel() for weight in net.parameters())
    trained = sum(weight.numel() for weight in net.parameters() if weight.requires_grad)
    lines.append(f"| **all** | {type(net).__name__} | | {parameters:,} ({trained:,} trained) | {least}{total:,} |")
    given = ", ".join(_shape(part) for part in example if part is not None)
    return "\n".join(lines) + f"\n\nForward, for inputs of shape {given}."


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, WHOLE) or (not any(module.children()) and bool(list(module.parameters())))


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return " x ".join(str(size) for size in value.shape) or "1"
    if isinstance(value, PackedSequence):
        return _shape(value.data)
    if isinstance(value, tuple | list) and value:
        return _shape(value[0])
    return type(value).__name__
