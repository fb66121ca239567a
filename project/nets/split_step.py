"""A cell's step, taken apart: what needs the input alone, for all time steps at once, and the little that must wait.

The step is traced once (Reed et al. 2022, torch.fx). What does not depend on the state is computed before the loop, all
time steps in one product; a matrix over [x; h] is parted into its columns; matrices that multiply the same operand
become one; and each sum of a product and of what is known already becomes one addmm. A step that cannot be traced, for
instance because it asks for a value, is run as it is written.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from project.nets.cells import Cell

_ELEMENTWISE = {torch.tanh, torch.sigmoid, torch.relu, torch.add, torch.sub, torch.mul, torch.neg} | {
    operator.add, operator.sub, operator.mul, operator.neg, operator.truediv, torch.nn.functional.relu
}  # fmt: skip
_METHODS = {"tanh", "sigmoid", "relu", "add", "sub", "mul", "neg"}
_PARTED = {torch.chunk, torch.split, "chunk", "split"}
_SUMS = {operator.add, torch.add, "add"}
_LAST = (1, -1)


@dataclass
class Product:
    """Rows of matrices times one operand that depends on the state, and what is added to it.

    `linears` are modules with the columns that multiply the operand (None: all), `added` the hoisted nodes added to
    each, `node` where its result is used.
    """

    operand: fx.Node | tuple[fx.Node, ...]
    linear: str
    columns: list[tuple[int, int]] | None
    node: fx.Node
    added: list[fx.Node] = field(default_factory=list)
    input_columns: list[tuple[fx.Node, int, int]] = field(default_factory=list)


class _Tracer(fx.Tracer):
    traced_func_name = "step"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class SplitStep:
    """`before(x)` for all time steps, then `body` for each.

    Args:
        cell: the cell.

    Raises:
        fx.proxy.TraceError, TypeError, ...: whatever tracing the step raises.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.graph = _Tracer().trace(cell)
        self.x, *self.states = [node for node in self.graph.nodes if node.op == "placeholder"]
        self.waiting, varying = self._closure(self.states), self._closure([self.x])
        self.hoisted = self._hoistable()
        products = self._products()
        groups: dict[Any, list[Product]] = {}
        for product in products:
            groups.setdefault(product.operand, []).append(product)
        self.groups = list(groups.values())
        self.streams = self._streams()
        self.fixed = [node not in varying for node in self.streams]  # parameters alone: the same at every step
        self.before = self._before()
        self.body, self.whole = self._body()

    def _closure(self, roots: Sequence[fx.Node]) -> set[fx.Node]:
        """Everything that depends on `roots`."""
        found = set(roots)
        for node in self.graph.nodes:
            if any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found

    def _hoistable(self) -> set[fx.Node]:
        """What can be computed for all time steps in one go: row by row, from the input and the parameters alone."""
        found = {self.x}
        for node in self.graph.nodes:
            if node in self.waiting or node.op in ("placeholder", "output"):
                continue
            if all(source in found for source in node.all_input_nodes) and self._row_by_row(node):
                found.add(node)
        return found

    def _row_by_row(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            return isinstance(operator.attrgetter(str(node.target))(self.cell), Tensor)
        if node.op == "call_module":
            module = self._module(node)
            return _is_matrix(module) or type(module) in (nn.Tanh, nn.Sigmoid, nn.ReLU)
        if node.target in _ELEMENTWISE or node.target in _METHODS:
            return True
        if node.target in _PARTED:
            return (node.kwargs.get("dim") if "dim" in node.kwargs else (*node.args, 0)[2]) in _LAST
        if node.target is operator.getitem:  # of the parts of a tensor
            return isinstance(node.args[0], fx.Node) and node.args[0].target in _PARTED
        return False

    def _module(self, node: fx.Node) -> nn.Module:
        return self.cell.get_submodule(str(node.target))

    def _products(self) -> list[Product]:
        found = []
        for node in self.graph.nodes:
            if node.op != "call_module" or node not in self.waiting or not _is_matrix(self._module(node)):
                continue
            operand = node.args[0]
            product = Product(operand, str(node.target), None, node)
            if operand.target is torch.cat and len(operand.users) == 1:
                self._part(product, operand)
            while len(product.node.users) == 1:  # sums with what is known already
                user = next(iter(product.node.users))
                others = [source for source in user.all_input_nodes if source is not product.node]
                plain = user.target in _SUMS and not user.kwargs and len(user.args) == 2
                if not plain or len(others) != 1 or others[0] not in self.hoisted or user.args[0] is user.args[1]:
                    break
                product.added.append(others[0])
                product.node = user
            found.append(product)
        return found

    def _part(self, product: Product, cat: fx.Node) -> None:
        """W [x; h] = W_x x + W_h h: the columns of what is known are multiplied before the loop."""
        parts = list(cat.args[0])  # type: ignore[arg-type]
        dim = cat.kwargs.get("dim", (*cat.args, 0)[1])
        if dim not in _LAST or not all(part is self.x or part in self.states for part in parts):
            return
        widths = [self.cell.input_size if part is self.x else self.cell.hidden_size for part in parts]
        edges = [sum(widths[:i]) for i in range(len(parts) + 1)]
        spans = list(zip(parts, edges, edges[1:], strict=False))
        product.input_columns = [span for span in spans if span[0] is self.x]
        product.columns = [(low, high) for part, low, high in spans if part is not self.x]
        waiting = tuple(part for part in parts if part is not self.x)
        product.operand = waiting[0] if len(waiting) == 1 else waiting

    def _streams(self) -> list[fx.Node]:
        """The hoisted tensors that a step reads by itself."""
        replaced = {product.node for group in self.groups for product in group}
        self.dead = self._only_for(replaced)
        read = [
            source
            for node in self.graph.nodes
            if node not in self.hoisted and node not in self.dead and node not in replaced
            for source in node.all_input_nodes
            if source in self.hoisted
        ]
        return list(dict.fromkeys(read))

    def _only_for(self, replaced: set[fx.Node]) -> set[fx.Node]:
        """Nodes whose results only the replaced products use: the matrices, the sums before the last, and [x; h]."""
        dead: set[fx.Node] = set()
        operands = {product.operand for group in self.groups for product in group}
        for node in reversed(self.graph.nodes):
            alive = node in replaced or node in operands or node.op == "placeholder" or not node.users
            if not alive and all(user in dead | replaced for user in node.users):
                dead.add(node)
        return dead

    def _before(self) -> Callable[[Tensor], Sequence[Tensor]]:
        """x (N, m) to the values of `streams` and of all that is added to products."""
        wanted = [*self.streams, *(node for group in self.groups for product in group for node in product.added)]
        self.wanted = list(dict.fromkeys(wanted))
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node is self.x or node in self.hoisted:
                copies[node] = graph.node_copy(node, lambda source: copies[source])
        graph.output(tuple(copies[node] for node in self.wanted))
        module = fx.GraphModule(self.cell, graph)
        graph.eliminate_dead_code()
        module.recompile()
        return module.forward

    def _body(self) -> tuple[Callable[..., tuple[Tensor, ...]], bool]:
        """(streams, sums and matrices of each group, state) to (next state, operand of each group)."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for number, node in enumerate(self.streams):
            copies[node] = graph.placeholder(f"stream_{number}")
        sums = [graph.placeholder(f"sum_{number}") for number in range(len(self.groups))]
        matrices = [graph.placeholder(f"matrix_{number}") for number in range(len(self.groups))]
        for node in self.states:
            copies[node] = graph.placeholder(node.name)
        operands: list[Any] = [None] * len(self.groups)
        firsts = {product.node: (g, i) for g, group in enumerate(self.groups) for i, product in enumerate(group)}
        results: dict[int, Sequence[fx.Node]] = {}
        whole = True
        for node in self.graph.nodes:
            if node in firsts:
                g, i = firsts[node]
                if g not in results:
                    results[g] = self._product(graph, g, sums[g], matrices[g], copies, operands)
                copies[node] = results[g][i]
            elif node.op == "output":
                following = node.args[0]
                following = following if isinstance(following, tuple | list) else (following,)
                graph.output((*(copies[part] for part in following), *operands))
            elif node not in copies and node not in self.hoisted and node not in self.dead:
                copies[node] = graph.node_copy(node, lambda source: copies[source])
                whole = whole and node.op not in ("call_module", "get_attr")
        return fx.GraphModule(self.cell, graph).forward, whole

    def _product(
        self, graph: fx.Graph, g: int, total: fx.Node, matrix: fx.Node, copies: dict[fx.Node, fx.Node], operands: Any
    ) -> Sequence[fx.Node]:
        operand = self.groups[g][0].operand
        if isinstance(operand, tuple):
            operands[g] = graph.call_function(torch.cat, ([copies[part] for part in operand], 1))
        else:
            operands[g] = copies[operand]
        result = graph.call_function(torch.addmm, (total, operands[g], matrix))
        rows = [self._linear(product).out_features for product in self.groups[g]]
        if len(rows) == 1:
            return [result]
        parts = graph.call_function(torch.split, (result, rows, 1))
        return [graph.call_function(operator.getitem, (parts, i)) for i in range(len(rows))]

    def _linear(self, product: Product) -> nn.Linear:
        linear = self.cell.get_submodule(product.linear)
        assert isinstance(linear, nn.Linear)
        return linear

    def matrices(self) -> list[Tensor]:
        """The matrix of each group, (rows, columns)."""
        found = []
        for group in self.groups:
            parts = []
            for product in group:
                weight: Tensor = self._linear(product).weight
                if product.columns is not None:
                    weight = torch.cat([weight[:, low:high] for low, high in product.columns], 1)
                parts.append(weight)
            found.append(parts[0] if len(parts) == 1 else torch.cat(parts))
        return found

    def sums(self, x: Tensor, values: dict[fx.Node, Tensor]) -> list[Tensor]:
        """What is added to each group's product, (N, rows): hoisted terms and biases."""
        found = []
        for group in self.groups:
            parts = [self._sum(product, x, values) for product in group]
            found.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        return found

    def _sum(self, product: Product, x: Tensor, values: dict[fx.Node, Tensor]) -> Tensor:
        linear = self._linear(product)
        total: Tensor | None = None
        bias: Tensor | None = linear.bias
        for _, low, high in product.input_columns:
            term = torch.nn.functional.linear(x, linear.weight[:, low:high], bias)
            total, bias = (term if total is None else total + term), None
        for node in product.added:
            term = values[node]
            total = term if total is None else total + term
        if total is None or total.ndim < 2:  # nothing, or parameters alone
            zeros = x.new_zeros(len(x), linear.out_features)
            total = zeros if total is None else zeros + total
        return total if bias is None else total + bias


def _is_matrix(module: nn.Module) -> bool:
    """Whether it computes W x + b and nothing else: no forward of its own, no hooks."""
    plain = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
    return plain and not module._forward_hooks and not module._forward_pre_hooks
