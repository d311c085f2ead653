"""Hard-concrete gates: their distribution, their price, and that a closed column is not read."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from polytask import MultiTaskModel, Regression, Trainer
from polytask.aggregation import UPGrad
from polytask.backbones import MLP, Backbone, HardConcrete, InputGates, L0Gates, ResidualMLP, TabM
from polytask.balancing import FixedWeights
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.errors import InvalidArgument, Unsupported
from polytask.export import build_model, describe_architecture
from polytask.optim import Kind, OptimizerSpec, Role, undecayed
from polytask.regularization.update import TaskSAM
from polytask.tasks import group_tasks
from polytask.training import Defence, NoStopping

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
ALPHAS = (-4.0, -1.0, 0.0, 1.5, 4.0)


def gates_at(values, **options) -> HardConcrete:
    gates = HardConcrete(len(values), **options).double()
    with torch.no_grad():
        gates.log_alpha.copy_(torch.tensor(values, dtype=torch.float64))
    return gates


def below(z: float, log_alpha: float) -> float:
    """P(gate ≤ z), 0 ≤ z < 1: the uniform's logit is a logistic variable."""
    s = (z - GAMMA) / (ZETA - GAMMA)
    return float(stats.logistic.cdf(BETA * math.log(s / (1 - s)) - log_alpha))


def check_draws(draw) -> None:
    """Exact zeros, exact ones and what lies between, as often as the distribution says."""
    torch.manual_seed(0)
    rows = 40_000
    draws = draw(gates_at(ALPHAS), rows)
    assert draws.shape == (rows, len(ALPHAS))
    assert ((draws >= 0) & (draws <= 1)).all()
    bound = 5 * 0.5 / rows**0.5
    for column, log_alpha in zip(draws.unbind(1), ALPHAS, strict=True):
        assert abs(float((column == 0).double().mean()) - below(0.0, log_alpha)) < bound
        for z in (0.1, 0.5, 0.9, 1 - 1e-12):
            assert abs(float((column <= z).double().mean()) - below(z, log_alpha)) < bound
    assert (draws == 1).any()
    pairs = np.corrcoef(draws[:, 2].detach(), draws[:, 1].detach())[0, 1]
    assert abs(pairs) < 5 / rows**0.5


def test_the_distribution_of_the_gates():
    check_draws(lambda gates, rows: gates(rows).detach())


def stretched(gates: HardConcrete, rows: int, noise: Tensor, beta: float) -> Tensor:
    s = torch.sigmoid((noise + gates.log_alpha.detach()) / beta)
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def without_temperature(gates: HardConcrete, rows: int) -> Tensor:
    noise = torch.logit(torch.rand(rows, len(ALPHAS), dtype=torch.float64))
    return stretched(gates, rows, noise, 1.0)


def temperature_of_the_noise_alone(gates: HardConcrete, rows: int) -> Tensor:
    noise = torch.logit(torch.rand(rows, len(ALPHAS), dtype=torch.float64))
    return stretched(gates, rows, noise / BETA, 1.0)


def one_draw_for_all_rows(gates: HardConcrete, rows: int) -> Tensor:
    return gates(1).detach().expand(rows, -1)


def unstretched(gates: HardConcrete, rows: int) -> Tensor:
    noise = torch.logit(torch.rand(rows, len(ALPHAS), dtype=torch.float64))
    return torch.sigmoid((noise + gates.log_alpha.detach()) / BETA)


@pytest.mark.parametrize(
    "wrong",
    [without_temperature, temperature_of_the_noise_alone, one_draw_for_all_rows, unstretched],
)
def test_another_distribution_is_found(wrong):
    with pytest.raises(AssertionError):
        check_draws(wrong)


def check_active(active) -> None:
    found = active(gates_at(ALPHAS)).detach().tolist()
    assert found == pytest.approx([1 - below(0.0, a) for a in ALPHAS], rel=1e-12)


def test_the_probability_of_an_open_gate_is_that_of_the_distribution():
    check_active(lambda gates: gates.active())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda gates: torch.sigmoid(gates.log_alpha),
        lambda gates: torch.sigmoid(gates.log_alpha + BETA * math.log(-GAMMA / ZETA)),
        lambda gates: torch.sigmoid(gates.log_alpha - math.log(-GAMMA / ZETA)),
    ],
    ids=["no shift", "wrong sign", "no temperature"],
)
def test_another_probability_is_found(wrong):
    with pytest.raises(AssertionError):
        check_active(wrong)


def test_without_training_gates_are_deterministic():
    """min(1, max(0, σ(log α)(ζ − γ) + γ)), exactly 0 below log α = −log 11."""
    edge = -math.log(11)
    values = [*ALPHAS, edge - 1e-6, edge + 1e-6]
    gates = gates_at(values).eval()
    state = torch.get_rng_state()
    (found,) = gates(7).tolist()
    assert torch.equal(torch.get_rng_state(), state)
    expected = [min(1, max(0, 1.2 / (1 + math.exp(-a)) - 0.1)) for a in values]
    assert found == pytest.approx(expected, abs=1e-14)
    assert gates.closed().tolist() == [value == 0 for value in found]
    assert gates.closed().tolist() == [True, *[False] * 4, True, False]


def test_the_gradient_of_a_draw_is_that_of_its_formula():
    """Autograd against the formula's own derivative, with the same uniform numbers."""
    gates = gates_at(ALPHAS)
    torch.manual_seed(3)
    z = gates(50)
    z.sum().backward()
    torch.manual_seed(3)
    u = torch.rand(50, len(ALPHAS), dtype=torch.float64)
    s = torch.sigmoid((torch.log(u) - torch.log(1 - u) + gates.log_alpha.detach()) / BETA)
    inside = (s * 1.2 - 0.1 > 0) & (s * 1.2 - 0.1 < 1)
    expected = (inside.double() * 1.2 * s * (1 - s) / BETA).sum(0)
    torch.testing.assert_close(gates.log_alpha.grad, expected, rtol=1e-10, atol=1e-12)


def test_extreme_uniform_numbers_leave_a_finite_gradient(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda rows, count, **options: torch.zeros(rows, count))
    gates = HardConcrete(3)
    gates(2).sum().backward()
    assert torch.isfinite(gates.log_alpha.grad).all()


@pytest.mark.parametrize("dropped", [0.1, 0.2, 0.7])
def test_the_start(dropped):
    """So often is the concrete variable below one half at the start."""
    gates = HardConcrete(2, dropped)
    chance = stats.logistic.cdf(-gates.log_alpha.tolist()[0])
    assert chance == pytest.approx(dropped, rel=1e-6)


def table(rows: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "numeric": torch.randn(rows, 4, generator=generator),
        "categories": torch.randint(0, 9, (rows, 2), generator=generator),
    }


BINS = [[-1.0, 0.0, 1.0], [-1.0, 0.5, 1.0], None, [-2.0, 0.0, 1.0]]
GATES = L0Gates(0.03, columns=((0, 2),))
MAKE = {
    "mlp": lambda **o: MLP(4, [9, 11], width=8, depth=2, **o),
    "mlp, skip": lambda **o: MLP(4, [9, 11], width=8, depth=1, skip=True, **o),
    "residual": lambda **o: ResidualMLP(4, [9, 11], width=8, depth=2, **o),
    "tabm": lambda **o: TabM(4, [9, 11], width=8, depth=2, members=3, **o),
    "tabm, curves": lambda **o: TabM(
        4, [9, 11], width=8, depth=2, members=3, bins=BINS, embedding=3, **o
    ),
}


def gates_of(module: nn.Module) -> InputGates:
    (gates,) = (part for part in module.modules() if isinstance(part, InputGates))
    return gates


@pytest.mark.parametrize("name", MAKE)
def test_a_closed_column_is_not_read_and_all_others_are(name):
    backbone = MAKE[name](gates=GATES).eval()
    gates = gates_of(backbone)
    assert gates.groups == ((0, 2), (1,), (3,), (4,), (5,))
    missing = next(p for n, p in backbone.named_parameters() if n.endswith("missing"))
    with torch.no_grad():
        missing.normal_()
        for number, group in enumerate(gates.groups):
            gates.gate.log_alpha.fill_(3.0)
            gates.gate.log_alpha[number] = -3.0
            before = backbone(table())
            for place in range(6):
                other = {part: value.clone() for part, value in table().items()}
                if place < 4:
                    other["numeric"][:, place] += 0.7
                else:
                    other["categories"][:, place - 4] = (other["categories"][:, place - 4] + 1) % 9
                same = torch.equal(backbone(other), before)
                assert same == (place in group), (number, place)


@pytest.mark.parametrize("name", MAKE)
def test_open_gates_change_nothing(name):
    torch.manual_seed(0)
    plain = MAKE[name]().eval()
    torch.manual_seed(0)
    gated = MAKE[name](gates=GATES).eval()
    with torch.no_grad():
        gates_of(gated).gate.log_alpha.fill_(9.0)
    assert torch.equal(plain(table()), gated(table()))
    assert not plain.penalties()


@pytest.mark.parametrize("name", MAKE)
def test_every_gate_multiplies_all_inputs_of_its_column(name):
    """In train mode, per row: the same draw for all features of a column."""
    gates = gates_of(MAKE[name](gates=GATES))
    wide = len(gates.owner)
    torch.manual_seed(0)
    found = gates(torch.ones(300, wide))
    torch.manual_seed(0)
    draws = gates.gate(300)
    for feature, owner in enumerate(gates.owner.tolist()):
        assert torch.equal(found[:, feature], draws[:, owner])
    widths = torch.bincount(gates.owner).tolist()
    assert widths == [2, 1, 1, 8, 8]


@pytest.mark.parametrize("name", MAKE)
def test_a_bundle_builds_equal_gates(name):
    tasks = [Regression(task).fit(np.arange(4.0)) for task in "ab"]
    model = MultiTaskModel.hard(MAKE[name](gates=GATES), tasks)
    architecture = json.loads(json.dumps(describe_architecture(model)))
    again = build_model(architecture, model.groups)
    again.load_state_dict(model.state_dict())
    found, expected = gates_of(again), gates_of(model)
    assert (found.groups, found.strength) == (expected.groups, expected.strength)
    first, second = (m.eval()(table()).outputs["a"] for m in (model, again))
    assert torch.equal(first, second)
    assert "gates" not in describe_architecture(MultiTaskModel.hard(MAKE[name](), tasks))


def trained(balance, accumulate: int, learning_rate: float, decay: float = 0.0):
    """One update of SGD; the heads are zero, so that no task reaches the gates in it."""
    tasks = [Regression(task).fit(np.arange(4.0)) for task in "ab"]
    model = MultiTaskModel.hard(MLP(4, [9, 11], width=8, depth=1, gates=GATES), tasks)
    with torch.no_grad():
        gates_of(model).gate.log_alpha.copy_(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]))
        for parameter in model.heads.parameters():
            parameter.zero_()
    (group,) = group_tasks(tasks)
    targets = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    masks = torch.ones(40, 2, dtype=torch.bool)
    rows = Batch(table(), {group.name: targets}, {group.name: masks}, None, torch.arange(40))
    spec = OptimizerSpec("sgd", learning_rate=learning_rate, momentum=0.0, weight_decay=decay)
    trainer = Trainer(
        model, tasks, optimizer=spec, balance=balance, epochs=1, clip_norm=0.0,
        accumulate=accumulate, stopping=NoStopping(),
    )  # fmt: skip
    trainer.fit(ResidentBatches(rows, batch_size=40 // accumulate))
    return model, trainer


def fit_two_tasks(model, tasks, **options):
    (group,) = group_tasks(tasks)
    targets = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    masks = torch.ones(40, 2, dtype=torch.bool)
    numbers = torch.randn(40, 4, generator=torch.Generator().manual_seed(2))
    rows = Batch(numbers, {group.name: targets}, {group.name: masks}, None, torch.arange(40))
    Trainer(model, tasks, epochs=1, stopping=NoStopping(), **options).fit(
        ResidentBatches(rows, batch_size=20)
    )


BALANCES = {
    "equal": lambda: None,
    "weights": lambda: FixedWeights([5.0, 0.25]),
    "gradients": UPGrad,
}


def moved(balance: str, accumulate: int, decay: float = 0.0) -> Tensor:
    model, _ = trained(BALANCES[balance](), accumulate, 0.5, decay)
    return gates_of(model).gate.log_alpha.detach().double()


def expected_move(times: float) -> Tensor:
    """One step down the price λ Σ P(open), whose derivative is λ P (1 − P)."""
    before = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    open_ = torch.tensor([1 - below(0.0, a) for a in before.tolist()], dtype=torch.float64)
    return before - 0.5 * times * 0.03 * open_ * (1 - open_)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("balance", BALANCES)
def test_the_price_is_added_once_and_unweighted(balance, accumulate):
    """Whatever the weights of the tasks and the number of micro-batches, and without decay."""
    found = moved(balance, accumulate, decay=0.1)
    torch.testing.assert_close(found, expected_move(1.0), rtol=1e-6, atol=1e-7)
    for times in (2.0, 0.5, 5.25):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(found, expected_move(times), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("balance", BALANCES)
def test_gates_that_are_held_still_cost_nothing(balance):
    """Whatever method shares the update, a price without a gradient is no error."""
    tasks = [Regression(task).fit(np.arange(4.0)) for task in "ab"]
    model = MultiTaskModel.hard(MLP(4, width=8, depth=1, gates=GATES), tasks)
    gates_of(model).gate.log_alpha.requires_grad_(requires_grad=False)
    fit_two_tasks(model, tasks, balance=BALANCES[balance]())
    assert len(set(gates_of(model).gate.log_alpha.tolist())) == 1


def test_gates_that_are_held_still_and_task_sam():
    tasks = [Regression(task).fit(np.arange(4.0)) for task in "ab"]
    model = MultiTaskModel.hard(MLP(4, width=8, depth=1, gates=GATES), tasks)
    gates_of(model).gate.log_alpha.requires_grad_(requires_grad=False)
    fit_two_tasks(model, tasks, balance=UPGrad(), defence=Defence(task_sam=TaskSAM(0.05)))


def test_networks_that_would_leave_the_price_out_are_refused():
    tasks = [Regression(task).fit(np.arange(4.0)) for task in "ab"]
    gated = MLP(4, width=8, depth=1, gates=GATES)
    for own in (gated, nn.Sequential(gated, nn.ReLU())):
        with pytest.raises(Unsupported, match="without their price"):
            fit_two_tasks(own, tasks)

    class Silent(Backbone):
        width = 8

        def __init__(self):
            super().__init__()
            self.layers = gated

        def forward(self, inputs):
            return self.layers(inputs)

    with pytest.raises(Unsupported, match="without their price"):
        MultiTaskModel.hard(Silent(), tasks)


def test_gates_have_a_role_of_their_own_and_no_decay():
    model, trainer = trained(None, 1, 0.5, 0.1)
    (info,) = (info for info in model.roles() if info.role is Role.GATE)
    assert info.name == "backbone.input.gates.gate.log_alpha"
    assert info.kind is Kind.SCALAR
    assert info.tasks == {"a", "b"}
    assert info.name in undecayed(trainer.optimizer, model.roles())
    spec = OptimizerSpec(learning_rate=0.1, rates={"role:gate": 7.0})
    rates = [group["lr"] for group in spec.build(model.roles()).param_groups]
    assert max(rates) == pytest.approx(0.7)


def test_the_price_is_not_part_of_an_evaluation():
    model, _ = trained(None, 1, 0.5)
    assert "input gates" in model.train()(table()).shared.penalties
    assert not model.eval()(table()).shared.penalties


def test_arguments_are_checked():
    for strength in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="strength"):
            L0Gates(strength)
    for dropped in (0.0, 1.0, float("nan")):
        with pytest.raises(InvalidArgument, match="dropped"):
            L0Gates(dropped=dropped)
        with pytest.raises(InvalidArgument, match="dropped"):
            HardConcrete(2, dropped)
    with pytest.raises(InvalidArgument, match="count"):
        HardConcrete(0)
    for columns in (((0, 4),), ((0, 1), (1, 2)), ((),), ((-1,),)):
        with pytest.raises(InvalidArgument, match="columns"):
            InputGates(L0Gates(columns=columns), [1, 1, 1, 4])
    assert asdict(L0Gates(0.5, columns=[[0, 1]]))["columns"] == ((0, 1),)
    assert L0Gates(0.5).describe() == "0.5 for every input column that is read (L0)"
