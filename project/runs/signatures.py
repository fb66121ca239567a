"""What the project's own classes and functions take, read from their source without importing them."""

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Signature:
    """Parameters by name with their annotations; `open` if there are others that the source does not show."""

    parameters: dict[str, ast.expr | None]
    open: bool


@cache
def signature(target: str) -> Signature | None:
    """The signature of `project.<...>.<name>`; None for what is not the project's own or not found."""
    module, _, name = target.rpartition(".")
    if not module.startswith("project."):
        return None
    tree = _source(module)
    if tree is None:
        return None
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return _of_function(statement)
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _of_class(statement, tree)
    return None


def _source(module: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _of_class(node: ast.ClassDef, tree: ast.Module) -> Signature:
    own = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if own is not None and own.args.kwarg is None:
        return _of_function(own)
    if own is None and any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
        return Signature({part.target.id: part.annotation for part in fields}, open=False)  # type: ignore[union-attr]
    inherited = [base for name in node.bases if (base := _base(name, tree)) is not None]
    parameters = {key: value for base in inherited for key, value in base.parameters.items()}
    if own is not None:
        parameters |= _of_function(own).parameters
    return Signature(parameters, open=not inherited or any(base.open for base in inherited))


def _base(node: ast.expr, tree: ast.Module) -> Signature | None:
    """A base class that the same file defines or imports by name from the project."""
    if not isinstance(node, ast.Name):
        return None
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == node.id:
            return _of_class(statement, tree)
        if isinstance(statement, ast.ImportFrom) and any(alias.name == node.id for alias in statement.names):
            return signature(f"{statement.module}.{node.id}")
    return None


def _of_function(node: ast.FunctionDef) -> Signature:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    parameters = {argument.arg: argument.annotation for argument in arguments if argument.arg != "self"}
    return Signature(parameters, open=node.args.kwarg is not None)


def fits(value: Any, annotation: ast.expr | None) -> bool:
    """Whether a config's value can stand where `annotation` is declared; what is not understood fits."""
    if isinstance(annotation, ast.BinOp):
        return fits(value, annotation.left) or fits(value, annotation.right)
    if isinstance(annotation, ast.Constant):
        return value is None if annotation.value is None else True
    if isinstance(annotation, ast.Name):
        return _fits_name(value, annotation.id)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        outer = annotation.value.id
        if outer == "Literal":
            return value in [part.value for part in inner if isinstance(part, ast.Constant)]
        if outer == "Optional":
            return value is None or fits(value, inner[0])
        if outer in ("Sequence", "list", "tuple"):
            return isinstance(value, list) and all(fits(part, inner[0]) for part in value)
        if outer in ("Mapping", "dict"):
            return isinstance(value, dict)
    return True


def _fits_name(value: Any, name: str) -> bool:
    if name == "bool":
        return isinstance(value, bool)
    if name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name in ("str", "Path"):
        return isinstance(value, str)
    return True


def describe(annotation: ast.expr | None) -> str:
    """An annotation in words."""
    if isinstance(annotation, ast.BinOp):
        return f"{describe(annotation.left)} or {describe(annotation.right)}"
    if isinstance(annotation, ast.Constant):
        return "null" if annotation.value is None else str(annotation.value)
    if isinstance(annotation, ast.Name):
        words = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "Path": "a path"}
        return words.get(annotation.id, annotation.id)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if annotation.value.id == "Literal":
            values = [str(part.value) for part in inner if isinstance(part, ast.Constant)]
            return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
        if annotation.value.id in ("Sequence", "list", "tuple"):
            return f"a list, each {describe(inner[0])}"
    return "" if annotation is None else ast.unparse(annotation)
