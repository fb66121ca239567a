"""What every cell must do, alone and in layers; and the numbers of each, by hand or by torch's own modules."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from project.errors import UserError
from project.nets.cells import GRU, LSTM, MUT1, MUT2, MUT3, RNN, Cell
from project.nets.kernels import Loop
from project.nets.recurrent import Recurrent
from tests.nets.cells import CELLS, MakeCell, PeepholeRNN, states


@pytest.fixture(params=CELLS, autouse=False)
def make(request: pytest.FixtureRequest) -> MakeCell:
    torch.manual_seed(0)
    return CELLS[request.param]


def gradients(loss: Tensor, inputs: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [inputs, *net.parameters()]))


def test_a_step_takes_input_and_state_to_the_next_state(make: MakeCell) -> None:
    cell = make(3, 3)
    state = tuple(torch.randn(2, 3) for _ in range(cell.parts))
    following = cell(torch.randn(2, 3), state)
    assert [part.shape for part in following] == [(2, 3)] * cell.parts
    assert all(torch.isfinite(part).all() for part in following)


def test_layers_are_the_step_repeated_forward_and_gradient(make: MakeCell) -> None:
    net = Recurrent(make, 3, 3, num_layers=2, kernel="loop").double()
    inputs = torch.randn(5, 2, 3, dtype=torch.double, requires_grad=True)
    before = states(net, 2)
    outputs, after = net(inputs, before)
    expected, hs = net.unrolled(inputs, before)
    state = before
    for x in inputs:
        last, state = net.step(x, state)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(after, state, rtol=0, atol=1e-12)
    assert torch.equal(last, expected[-1])
    assert [len(layer) for layer in hs] == [5, 5]
    got = gradients(outputs.square().sum() + after[0][-1].sum(), inputs, net)
    wanted = gradients(expected.square().sum() + state[0][-1].sum(), inputs, net)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences(make: MakeCell) -> None:
    net = Recurrent(make, 2, 2, kernel="loop").double()
    inputs = torch.randn(3, 2, 2, dtype=torch.double, requires_grad=True)
    parameters = tuple(net.parameters())

    def outputs(x: Tensor, *_: Tensor) -> Tensor:
        return net(x)[0]

    assert torch.autograd.gradcheck(outputs, (inputs, *parameters))


def test_states_carry_on_where_a_part_of_the_sequence_ended(make: MakeCell) -> None:
    net = Recurrent(make, 3, 3, num_layers=2).double()
    inputs = torch.randn(6, 2, 3, dtype=torch.double)
    whole, final = net(inputs)
    first, between = net(inputs[:4])
    second, end = net(inputs[4:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(end, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(make: MakeCell, bidirectional: bool) -> None:
    lengths = torch.tensor([3, 6, 1, 4])
    net = Recurrent(make, 3, 3, num_layers=2, bidirectional=bidirectional).double()
    inputs = torch.randn(6, 4, 3, dtype=torch.double, requires_grad=True)
    before = states(net, 4)
    packed, final = net(pack_padded_sequence(inputs, lengths, enforce_sorted=False), before)
    outputs, _ = pad_packed_sequence(packed)
    loss = torch.zeros((), dtype=torch.double)
    for i, length in enumerate(lengths.tolist()):
        alone, last = net(inputs[:length, i : i + 1], [tuple(part[i : i + 1] for part in state) for state in before])
        torch.testing.assert_close(outputs[:length, i], alone[:, 0], rtol=0, atol=1e-12)
        for state, of_all in zip(last, final, strict=True):
            torch.testing.assert_close(state, tuple(part[i : i + 1] for part in of_all), rtol=0, atol=1e-12)
        loss = loss + alone.square().sum() + sum(part.sum() for state in last for part in state)
    together = outputs.square().sum() + sum(part.sum() for state in final for part in state)
    torch.testing.assert_close(gradients(together, inputs, net), gradients(loss, inputs, net), rtol=0, atol=1e-12)


def test_a_backward_direction_reads_from_the_end(make: MakeCell) -> None:
    net = Recurrent(make, 3, 3, bidirectional=True).double()
    alone = Recurrent(lambda m, n: net.cells[1], 3, 3).double()  # type: ignore[arg-type,return-value]
    inputs = torch.randn(5, 2, 3, dtype=torch.double)
    outputs, final = net(inputs)
    mirrored, last = alone(inputs.flip(0))
    torch.testing.assert_close(outputs[..., 3:], mirrored.flip(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(final[1], last[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "own"])
def test_matrices_over_the_state_start_orthogonal(name: str) -> None:
    cell = CELLS[name](4, 4)
    if isinstance(cell, LSTM):
        blocks = list(cell.W.weight[:, 4:].split(4))
    else:
        matrices = [cell.get_submodule(key).weight for key in ("W_hh", "W_hr", "W_hz", "W_hrz") if hasattr(cell, key)]
        blocks = [block for matrix in matrices for block in matrix.split(4)]  # type: ignore[operator]
    assert blocks
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(4))


def arranged(net: Recurrent) -> list[Tensor]:
    """The cells' weights as torch's modules have them."""
    return [weight for cell in net.cells for weight in cell.kernel()[1]]  # type: ignore[operator,index]


TORCH: list[tuple[MakeCell, Callable[..., nn.Module]]] = [
    (RNN, nn.RNN),
    (LSTM, nn.LSTM),
    (partial(GRU, reset="after"), nn.GRU),
]


@pytest.mark.parametrize("kernel", ["auto", "loop"])
@pytest.mark.parametrize(("make", "module"), TORCH, ids=["rnn", "lstm", "gru"])
@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_torch_s_modules_give_the_same_under_copied_weights(
    make: MakeCell, module: Callable[..., nn.Module], kernel: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    atol = 1e-6 if dtype == torch.double else 1e-5
    ours = Recurrent(make, 3, 4, num_layers=2, kernel=kernel).to(dtype)  # type: ignore[arg-type]
    theirs = module(3, 4, num_layers=2).to(dtype)
    for cell in ours.cells:
        for value in cell.parameters():
            nn.init.normal_(value)
    with torch.no_grad():
        for copy, weight in zip(theirs.parameters(), arranged(ours), strict=True):
            copy.copy_(weight)
    inputs = torch.randn(6, 2, 3, dtype=dtype, requires_grad=True)
    outputs, _ = ours(inputs)
    expected, _ = theirs(inputs)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=atol)
    outputs.square().sum().backward()
    wanted = torch.autograd.grad(expected.square().sum(), [inputs, *theirs.parameters()])
    torch.testing.assert_close(inputs.grad, wanted[0], rtol=0, atol=atol)
    # the gradient reaches our parameters through the same arrangement of the weights
    ours.zero_grad()
    total = torch.stack([(w * g).sum() for w, g in zip(arranged(ours), wanted[1:], strict=True)]).sum()
    carried_over = torch.autograd.grad(total, list(ours.parameters()))
    got = torch.autograd.grad(ours(inputs)[0].square().sum(), list(ours.parameters()))
    torch.testing.assert_close(got, carried_over, rtol=0, atol=atol)


def s(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def scalar(cell: Cell, **values: float) -> Cell:
    """A cell of width 1 with these weights (`W_xz=0.5`) and biases (`W_xz_b=0.1`); all others are 0."""
    cell.double()
    with torch.no_grad():
        for name, part in cell.named_children():
            assert isinstance(part, nn.Linear)
            part.weight.fill_(values.get(name, 0.0))
            if part.bias is not None:
                part.bias.fill_(values.get(f"{name}_b", 0.0))
    return cell


def one_step(cell: Cell, x: float, *state: float) -> list[float]:
    following = cell(
        torch.tensor([[x]], dtype=torch.double), tuple(torch.tensor([[v]], dtype=torch.double) for v in state)
    )
    return [part.item() for part in following]


def test_the_vanilla_network_by_hand() -> None:
    cell = scalar(RNN(1, 1), W_xh=0.5, W_xh_b=0.1, W_hh=-2.0)
    assert one_step(cell, 0.7, 0.3) == pytest.approx([math.tanh(0.5 * 0.7 + 0.1 - 2.0 * 0.3)], abs=1e-12)


def test_the_lstm_by_hand_with_its_gates_in_the_order_i_f_o_g() -> None:
    cell = LSTM(1, 1).double()
    with torch.no_grad():
        cell.W.weight.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]], dtype=torch.double))
        cell.W.bias.copy_(torch.tensor([0.01, 0.02, 0.03, 0.04], dtype=torch.double))
    x, h, c = 0.5, -0.3, 0.9
    i, f, o = (s(a * x + b * h + d) for a, b, d in ((0.1, 0.2, 0.01), (0.3, 0.4, 0.02), (0.5, 0.6, 0.03)))
    after = f * c + i * math.tanh(0.7 * x + 0.8 * h + 0.04)
    assert one_step(cell, x, h, c) == pytest.approx([o * math.tanh(after), after], abs=1e-12)
    assert cell.W.weight.shape == (4, 2)
    assert LSTM(3, 2, forget_bias=2.5).W.bias.tolist() == [0, 0, 2.5, 2.5, 0, 0, 0, 0]


def test_the_gru_by_hand_resets_before_the_matrix_or_after_it() -> None:
    x, h = 0.5, -0.3
    r, z = s(0.1 * x + 0.4 * h + 0.01), s(0.2 * x + 0.5 * h + 0.02)
    for reset in ("before", "after"):
        cell = GRU(1, 1, reset=reset).double()  # type: ignore[arg-type]
        with torch.no_grad():
            cell.W_x.weight.copy_(torch.tensor([[0.1], [0.2], [0.3]], dtype=torch.double))
            cell.W_x.bias.copy_(torch.tensor([0.01, 0.02, 0.03], dtype=torch.double))
            cell.W_hrz.weight.copy_(torch.tensor([[0.4], [0.5]], dtype=torch.double))
            cell.W_hh.weight.fill_(0.6)
            if reset == "after":
                cell.W_hh.bias.fill_(0.07)
        inner = 0.3 * x + 0.03 + (0.6 * (r * h) if reset == "before" else r * (0.6 * h + 0.07))
        assert one_step(cell, x, h) == pytest.approx([z * h + (1 - z) * math.tanh(inner)], abs=1e-12)


def test_the_mutants_by_hand() -> None:
    x, h = 0.5, -0.3
    w = {"W_xz": 0.1, "W_xz_b": 0.01, "W_xr": 0.2, "W_xr_b": 0.02, "W_xh": 0.3, "W_xh_b": 0.03}
    w |= {"W_hz": 0.4, "W_hr": 0.5, "W_hr_b": 0.05, "W_hh": 0.6, "W_hh_b": 0.06}

    def following(z: float, inner: float) -> float:
        return math.tanh(inner) * z + h * (1 - z)

    z, r = s(0.1 * x + 0.01), s(0.2 * x + 0.5 * h + 0.02)
    expected = following(z, 0.6 * (r * h) + math.tanh(x) + 0.06)
    assert one_step(scalar(MUT1(1, 1), **w | {"W_hr_b": 0.0}), x, h) == pytest.approx([expected], abs=1e-12)
    z, r = s(0.1 * x + 0.4 * h + 0.01), s(x + 0.5 * h + 0.05)
    expected = following(z, 0.6 * (r * h) + 0.3 * x + 0.03)
    assert one_step(scalar(MUT2(1, 1), **w), x, h) == pytest.approx([expected], abs=1e-12)
    z, r = s(0.1 * x + 0.4 * math.tanh(h) + 0.01), s(0.2 * x + 0.5 * h + 0.02)
    expected = following(z, 0.6 * (r * h) + 0.3 * x + 0.03)
    assert one_step(scalar(MUT3(1, 1), **w), x, h) == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize("make", [MUT1, MUT2])
def test_cells_that_add_the_input_to_the_state_want_it_as_wide(make: MakeCell) -> None:
    with pytest.raises(ValueError, match="input 3 and state 4"):
        Recurrent(make, 3, 4)


def test_every_cell_is_taken_apart_and_as_much_as_can_be_waits_for_nothing() -> None:
    """How many matrices and how many other tensors of the input a step still needs."""
    parts = {name: Loop(make(3, 3)).split for name, make in CELLS.items()}
    needs = {name: (len(split.groups), len(split.streams)) for name, split in parts.items() if split is not None}
    assert needs == {
        "rnn": (1, 0),
        "lstm": (1, 0),
        "gru": (2, 0),
        "gru_after": (1, 1),  # both matrices multiply h
        "mut1": (2, 1),
        "mut2": (2, 0),
        "mut3": (3, 0),
        "own": (2, 2),
    }


def test_a_step_that_asks_for_a_value_is_run_as_it_is_written(caplog: pytest.LogCaptureFixture) -> None:
    class Undecided(PeepholeRNN):
        def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return super().step(x, h, c) if float(h.sum()) < 1e9 else (h, c)

    net = Recurrent(Undecided, 3, 3)
    inputs = torch.randn(4, 2, 3)
    with caplog.at_level("INFO"):
        torch.testing.assert_close(net(inputs)[0], net.unrolled(inputs)[0])
    assert "Undecided's step is run as it is written" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mut1", "own"])
def test_compiled_steps_compute_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.nets.kernels.CHUNK", 2)  # what is compiled is short then
    torch.manual_seed(0)
    loop = Recurrent(CELLS[name], 8, 8, kernel="loop")
    compiled = Recurrent(CELLS[name], 8, 8, kernel="compiled")
    compiled.load_state_dict(loop.state_dict())
    inputs = torch.randn(5, 4, 8, requires_grad=True)  # two chunks and a part of one
    results = []
    for net in (loop, compiled):
        outputs, state = net(inputs)
        results.append([outputs, *state[0], *gradients(outputs.square().sum() + state[0][-1].sum(), inputs, net)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
    used = compiled._loops[(0, True, True)]
    assert used.compiled is not None, "compiling failed"


def test_what_computes_the_recurrence_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for make in (LSTM, MUT1):
            net = Recurrent(make, 3, 3, num_layers=2)
            net(torch.randn(2, 2, 3))
            net(torch.randn(2, 2, 3))
    lines = [record.message for record in caplog.records]
    library = "oneDNN's kernel for LSTM" if torch.backends.mkldnn.is_available() else "a loop over LSTM's step"
    assert lines == [f"recurrent layers: {library}, float32", "recurrent layers: a loop over MUT1's step, float32"]


def test_a_kernel_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="kernel=fused: there is none for MUT1"):
        Recurrent(MUT1, 3, 3, kernel="fused")(torch.randn(2, 2, 3))
    with pytest.raises(ValueError, match="kernel must be"):
        Recurrent(MUT1, 3, 3, kernel="quick")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CELLS)
def test_autocast_to_bfloat16_computes_about_the_same(name: str) -> None:
    torch.manual_seed(0)
    net = Recurrent(CELLS[name], 8, 8, num_layers=2)
    inputs = torch.randn(6, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = net(inputs)
        again, _ = net(inputs, state)  # states of any type can be carried on
    assert torch.isfinite(again).all()
    torch.testing.assert_close(outputs.float(), net(inputs)[0], rtol=0, atol=0.05)
    outputs.float().sum().backward()
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in net.parameters())


class Zoneout(Cell):
    """Steps that must not be taken for what they are not: training mode, a matrix with a forward of its own, shapes."""

    class Halved(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) / 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.A = self.Halved(input_size, hidden_size)
        self.B = self.Halved(hidden_size, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(self.A(x) + nn.functional.dropout(self.B(h), 0.5, self.training))


class Folded(RNN):
    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(self.W_xh(x) + self.W_hh(h.view(-1, 1, self.hidden_size)).flatten(1))


class Narrow(RNN):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(hidden_size, 1)
        self.shift = nn.Parameter(torch.ones(1, hidden_size))

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(self.gate(h) + self.W_xh(x) + (self.W_hh(h) + self.shift))


class Leaky(LSTM):
    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        h, c = super().step(x, h, c)
        return 0.5 * h, c


@pytest.mark.parametrize("make", [Zoneout, Folded, Narrow, Leaky])
def test_users_steps_are_computed_as_they_are_written(make: MakeCell) -> None:
    torch.manual_seed(0)
    net = Recurrent(make, 4, 4, num_layers=2).eval()
    inputs = torch.randn(5, 3, 4)
    torch.testing.assert_close(net(inputs)[0], net.unrolled(inputs)[0], rtol=0, atol=1e-6)
    if make is Zoneout:
        first, second = net.train()(inputs)[0], net(inputs)[0]
        assert not torch.equal(first, second), "what evaluation traced is not what training runs"
        torch.testing.assert_close(net.eval()(inputs)[0], net.unrolled(inputs)[0], rtol=0, atol=1e-6)
        net.double()(inputs.double())


def test_states_of_another_number_of_sequences_are_refused(make: MakeCell) -> None:
    net = Recurrent(make, 3, 3)
    with pytest.raises(ValueError, match=r"4 sequences need as many states, got states of \[2\]"):
        net(torch.randn(2, 4, 3), [tuple(part.float() for part in state) for state in states(net, 2)])


def test_kernels_are_given_contiguous_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN refuses others; what is split or expanded is not contiguous."""
    given: list[Tensor] = []

    def spy(inputs: Tensor, hidden: list[Tensor], *rest: Any) -> Any:
        given.extend(hidden)
        return computed(inputs, hidden, *rest)

    computed = torch._VF.lstm
    monkeypatch.setattr(torch._VF, "lstm", spy, raising=False)
    net = Recurrent(LSTM, 3, 4)
    h, c = torch.randn(2, 8).split(4, dim=-1)
    outputs, _ = net(torch.randn(5, 2, 3), [(h, c)])
    assert outputs.shape == (5, 2, 4)
    assert len(given) == 2
    assert all(part.is_contiguous() for part in given)
