"""What is imported only when it is used does then what it always does; in interpreters that have imported nothing."""

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from project.runs.later import Collector

TRAINED = """
    import gc, sys, warnings
    import project.runs
    import torch
    import lightning

    assert gc.isenabled() and gc.get_freeze_count() == 0  # nothing of a notebook is kept from being collected
    assert len(gc.get_objects(generation=2)) > 10 * len(gc.get_objects(generation=0))

    def there(name):
        return getattr(sys.modules.get(name), "__file__", None) is not None

    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    assert isinstance(lightning.Trainer(logger=False, enable_checkpointing=False), lightning.Trainer)
    for name in ("torch._dynamo", "torch._inductor", "sympy", "triton", "torchvision", "matplotlib", "scipy.signal"):
        assert not there(name), name
    assert "torchvision" not in sys.modules
"""
USES = {
    "the compiler": """
        double = torch.compile(lambda x: 2 * x, backend="eager")
        assert torch.equal(double(torch.ones(2)), 2 * torch.ones(2))
        assert there("torch._dynamo")
        assert torch._dynamo is sys.modules["torch._dynamo"]
        for method in (torch.optim.Optimizer.zero_grad, torch.optim.Optimizer.add_param_group):
            assert "__dynamo_disable" not in method.__wrapped__.__dict__  # they ask the compiler now
        optimizer.zero_grad()
        assert torch.optim.Optimizer.zero_grad.__wrapped__.__dynamo_disable._torchdynamo_disable
        before = net.weight.detach().clone()
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert not torch.equal(net.weight, before)
    """,
    "a part of the compiler": """
        import torch._dynamo.config as config
        assert config is sys.modules["torch._dynamo.config"] is torch._dynamo.config
        assert config.__spec__.name == "torch._dynamo.config"
        assert there("torch._dynamo")
        from torch._dynamo.utils import counters
        assert counters is torch._dynamo.utils.counters
        torch.use_deterministic_algorithms(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert sys.modules["torch._inductor.config"].deterministic
    """,
    "whether a network is compiled": """
        from lightning.fabric.wrappers import OptimizedModule
        assert not isinstance(net, OptimizedModule)
        assert not there("torch._dynamo")
        compiled = torch.compile(net, backend="eager")
        assert isinstance(compiled, OptimizedModule)
        assert not isinstance(net, OptimizedModule)

        class Task(lightning.LightningModule):
            pass

        from lightning.pytorch.utilities.compile import from_compiled
        assert isinstance(from_compiled(torch.compile(Task(), backend="eager")), Task)
    """,
    "a summary of a network": """
        from lightning.pytorch.utilities.model_summary import ModelSummary

        class Task(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer, self.example_input_array = net, torch.ones(3, 2)

            def forward(self, x):
                return self.layer(x)

        assert ModelSummary(Task()).total_flops == 2 * 3 * 2 * 2
    """,
    "torchmetrics": """
        from torchmetrics.functional.detection import intersection_over_union
        boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        assert intersection_over_union(boxes, torch.tensor([[0.0, 0.0, 2.0, 1.0]])) == 0.5
        assert there("torchvision")
        import torchvision
        assert torchvision.ops.box_iou(boxes, boxes) == 1
        assert type(torchvision) is type(sys)

        import matplotlib
        matplotlib.use("agg")
        from torchmetrics import MetricCollection
        from torchmetrics.classification import BinaryAccuracy, BinaryPrecision
        metrics = MetricCollection([BinaryAccuracy(), BinaryPrecision()])
        metrics.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
        _, axes = metrics["BinaryAccuracy"].plot()
        assert isinstance(axes, matplotlib.axes.Axes)
        assert len(metrics.plot(together=False)) == 2
        metrics.plot(together=True, ax=axes)
        try:
            metrics.plot(together=True, ax=3)
        except ValueError as error:
            assert "matplotlib axis object" in str(error)
        else:
            raise AssertionError("an axis that is none was taken")

        import importlib.util, inspect, pickle, pkgutil, torchmetrics
        loader = importlib.util.find_spec("torchmetrics").loader
        assert loader is torchmetrics.__loader__ is torchmetrics.__spec__.loader
        assert pkgutil.get_data("torchmetrics", "__about__.py").startswith(b"__version__")
        assert "class Metric" in inspect.getsource(torchmetrics.Metric)
        metric = pickle.loads(pickle.dumps(torchmetrics.MeanMetric()))
        metric.update(3.0)
        assert metric.compute() == 3
    """,
}


END = "-- next --\n"
EACH = f"""
    import os, pathlib, traceback

    for number in range({len(USES)}):
        if number:
            print({END!r}, end="")
        sys.stdout.flush()
        if os.fork() == 0:
            try:
                file = pathlib.Path(f"use_{{number}}.py")
                exec(compile(file.read_text(), str(file.resolve()), "exec"))
            except BaseException:
                traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(0)
        os.wait()
"""
USES_TRANSFORMERS = """
    assert "transformers" not in sys.modules
    from torchmetrics.functional.text import bert
    assert bert.AutoTokenizer.from_pretrained("some") == "tokenizer some"
    assert there("transformers")
"""


@pytest.mark.slow
def test_transformers_that_are_installed_are_imported_when_they_are_used(tmp_path: Path) -> None:
    """A package of that name stands for it; torchmetrics looks at its version, and imports it."""
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers-9.0.dist-info").mkdir()
    (tmp_path / "transformers-9.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: transformers\nVersion: 9.0\n"
    )
    (tmp_path / "transformers" / "__init__.py").write_text(
        "class AutoTokenizer:\n"
        "    @staticmethod\n"
        "    def from_pretrained(name):\n"
        "        return f'tokenizer {name}'\n"
        "AutoModel = AutoModelForMaskedLM = PreTrainedModel = PreTrainedTokenizerBase = AutoTokenizer\n"
        "CLIPModel = CLIPProcessor = CLIPConfig = AutoProcessor = AutoTokenizer\n"
    )
    script = textwrap.dedent(TRAINED) + textwrap.dedent(USES_TRANSFORMERS) + "print('done')\n"
    assert run(tmp_path, script) == "done\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each of `USES` came to, in a process of its own, forked from one that has imported torch and Lightning."""
    folder = tmp_path_factory.mktemp("uses")
    for number, use in enumerate(USES.values()):
        (folder / f"use_{number}.py").write_text(textwrap.dedent(use) + "print('done')\n", encoding="utf-8")
    said = run(folder, textwrap.dedent(TRAINED) + textwrap.dedent(EACH)).split(END)
    return dict(zip(USES, said, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_it_is_imported_when_it_is_used(found: dict[str, str], use: str) -> None:
    assert found[use] == "done\n"


def test_what_a_command_imports_is_never_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "keeps_imports", True)
    frozen = gc.get_freeze_count()
    with Collector.resting():
        assert not gc.isenabled()
        made = [[index] for index in range(5000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() - frozen > len(made)


def run(folder: Path, text: str) -> str:
    """What a script says on standard output."""
    script = folder / "script.py"  # a file: the compiler wants to read what it compiles
    script.write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    print(done.stderr)  # where a test fails
    return done.stdout
