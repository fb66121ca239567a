"""What torch and Lightning import at the start of every run and hardly any run uses: imported when it is used.

torch's compiler is imported by the first optimizer, whose step has to leave a compiled graph, and by Lightning, to ask
whether a network is compiled, which also imports Triton to count a network's operations; torchmetrics imports
torchvision, scipy.signal and, where it is installed, transformers for a few of its functions, and matplotlib for its
plots. Together that is a third of the time from a command to its first training step.

While the rest is imported, Python's garbage collector rests: it would look through all of it again and again, another
tenth of that time, and nothing of it is garbage.
"""

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
LARGE = ("torch", "lightning")  # hundreds of thousands of objects
OF_TORCHVISION = ("image.arniqa", "image.dists", "detection.iou", "detection.giou", "detection.diou", "detection.ciou")
LEFT_OUT = {  # while the one is imported, something else stands for the others
    "lightning.pytorch.utilities.model_summary.model_summary": ("torch.utils.flop_counter",),
    "torchmetrics": ("scipy.signal", "torchmetrics.utilities.plot", "transformers"),
    **{f"torchmetrics.functional.{name}": ("torchvision",) for name in OF_TORCHVISION},
}


def defer() -> None:
    """From now on this process imports those modules when they are used. What it has imported already stays."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class Collector:
    """Python's garbage collector, as far as imports are concerned."""

    keeps_imports = False  # in a command's own process: they are not looked through later, either

    @classmethod
    @contextmanager
    def resting(cls) -> Iterator[None]:
        """What is made in here is not looked through young; then it counts as old."""
        enabled, keeps = gc.isenabled(), cls.keeps_imports or gc.get_freeze_count() > 0
        gc.disable()
        try:
            yield
        finally:
            gc.freeze()
            if not keeps:
                gc.unfreeze()  # into the oldest generation
            if enabled:
                gc.enable()


class _AsTheCompilerSays(type):
    def __instancecheck__(cls, instance: object) -> bool:
        compiler = sys.modules.get(COMPILER)
        return not isinstance(compiler, Compiler | None) and isinstance(instance, compiler.OptimizedModule)


class Compiler(ModuleType):
    """Stands for torch's compiler until it is asked for what the compiler alone can do.

    Without it there is no graph to break and none to keep a function out of, and no module is a compiled one.
    """

    class OptimizedModule(metaclass=_AsTheCompilerSays):
        """Stands for the class of compiled modules."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._kept_out: list[Callable[..., Any]] = []

    @staticmethod
    def graph_break(*arguments: Any, **options: Any) -> None:
        """Nothing."""

    def disable(self, function: Any = None, *arguments: Any, **options: Any) -> Any:
        """The function, which the compiler is told of when it is there."""
        if function is None or not hasattr(function, "__dict__"):
            return self._itself().disable(function, *arguments, **options)
        self._kept_out.append(function)
        return function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what is asked of every module that there is
            raise AttributeError(f"{COMPILER} is not imported yet")
        return getattr(self._itself(), name)

    def _itself(self) -> Any:
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
            for function in self._kept_out:
                function.__dict__.pop("__dynamo_disable", None)  # torch/_compile.py: then it asks again
        return importlib.import_module(COMPILER)


class _Borrowed:
    """A function, class or module of a module that is imported when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _itself(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._itself()(*arguments, **options)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._itself())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{self._module}.{self._name} is not imported yet")
        return getattr(self._itself(), name)


class _LeftOut(ModuleType):
    """Stands for a module while another one is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{self.__name__} is not imported yet")
        return _Borrowed(self.__name__, name)


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.compiler: Compiler | None = None
        self.left_out: tuple[str, ...] = ()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == COMPILER and self.compiler is None:
            self.compiler = Compiler(fullname)
            return ModuleSpec(fullname, _Giving(self.compiler), is_package=True)
        if fullname.startswith(f"{COMPILER}.") and sys.modules.get(COMPILER) is self.compiler is not None:
            compiler = self.compiler._itself()
            if fullname in sys.modules:
                return ModuleSpec(fullname, _Giving(sys.modules[fullname]))
            return self._elsewhere(fullname, compiler.__path__)
        if fullname in LEFT_OUT or fullname in LARGE:
            spec = self._elsewhere(fullname, path)
            if spec is not None and spec.loader is not None:
                left_out = LEFT_OUT.get(fullname)
                within = Collector.resting if left_out is None else partial(self.leaving_out, left_out)
                spec.loader = _Within(spec.loader, within)
            return spec
        if _is_one_of(self.left_out, fullname):
            return ModuleSpec(fullname, _Giving(_LeftOut(fullname)), is_package=True)
        return None

    def _elsewhere(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        others = (finder for finder in sys.meta_path if finder is not self)
        return next((spec for finder in others if (spec := finder.find_spec(name, path)) is not None), None)

    @contextmanager
    def leaving_out(self, names: tuple[str, ...]) -> Iterator[None]:
        """Without what is not imported yet of these; afterwards nothing stands for them any more."""
        before, self.left_out = self.left_out, (*self.left_out, *names)
        try:
            yield
        finally:
            self.left_out = before
            for name, module in [*sys.modules.items()]:
                if isinstance(module, _LeftOut) and _is_one_of(names, name):
                    del sys.modules[name]
                    parent, _, own = name.rpartition(".")
                    if parent in sys.modules:
                        sys.modules[parent].__dict__.pop(own, None)


class _Giving(Loader):
    """Gives a module that is there."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        if self.spec is not None:
            module.__spec__ = self.spec


class _Within(Loader):
    """Loads a module as `loader` does, within a context."""

    def __init__(self, loader: Any, context: Callable[[], AbstractContextManager[None]]) -> None:
        self.loader, self.context = loader, context

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        with self.context():
            self.loader.exec_module(module)


def _is_one_of(names: tuple[str, ...], name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in names)
