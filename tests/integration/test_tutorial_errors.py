"""Mistakes that common tutorials teach: here they raise, warn, or cannot be written."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import polytask
from polytask import Binary, FixedWeights, Multiclass, Regression, RunConfig, Trainer, fit_table
from polytask.backbones import MLP, ResidualMLP, TabM
from polytask.balancing import LossBalancer
from polytask.data import Batch, LoaderBatches, ResidentBatches
from polytask.errors import InvalidArgument, PolytaskError, PolytaskWarning, UnknownName
from polytask.optim import OptimizerSpec, check_binding
from polytask.regularization import objective
from polytask.regularization.objective import L1, L2, ElasticNet, GroupLasso, penalise
from polytask.sharing import MultiTaskModel, adapt
from polytask.tasks import group_tasks
from polytask.training import NoStopping

ROWS = 48


def regression_rows(seed: int = 0, rows: int = ROWS, scale: float = 1.0):
    """A task that the first input decides, and its rows."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3)).astype(np.float32)
    y = scale * (x[:, 0] + 0.1 * generator.normal(size=rows))
    return torch.as_tensor(x), y


def resident(task, x, y, size=16):
    target, mask = task.encode(y)
    batch = Batch(
        x, {task.name: target[:, None]}, {task.name: mask[:, None]}, None, torch.arange(len(x))
    )
    return ResidentBatches(batch, batch_size=size)


def trunk(width: int = 8):
    return nn.Sequential(nn.Linear(3, width), nn.ReLU())


def frame(rows: int = 80) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(rows, 3)), columns=["age", "dose", "weight"])
    table["progression"] = 1000 * (table["age"] + generator.normal(size=rows))
    table["sex"] = np.where(table["dose"] + generator.normal(size=rows) > 0, "f", "m")
    return table


def run_config(**more) -> RunConfig:
    return RunConfig.model_validate(
        {
            "targets": [{"name": "progression"}, {"name": "sex"}],
            "model": {"width": 8},
            "training": {"epochs": 2},
            **more,
        }
    )


# ── names ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["L1L2Penalty", "L2Penalty", "L2Loss", "L1Loss"])
def test_invented_names_are_nowhere(name):
    assert not hasattr(torch.optim, name)
    assert not hasattr(polytask, name)
    assert not hasattr(objective, name)


@pytest.mark.parametrize("name", ["l1l2", "L1Loss", "l2-penalty"])
def test_an_unknown_penalty_lists_the_known_ones(name):
    run = run_config(penalties=[{"name": name, "strength": 0.1}])
    with pytest.raises(UnknownName, match=rf"'{name}' does not exist.*'l1', 'l2', 'elastic-net'"):
        fit_table(frame(), run, baselines=False)


@pytest.mark.parametrize(
    ("loss", "twin"), [(nn.L1Loss(), "L1"), (nn.MSELoss(), "L2"), (nn.HuberLoss(), "L1 or L2")]
)
def test_a_loss_on_data_is_no_penalty(loss, twin):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(PolytaskError, match=f"on weights is `{twin}`"):
        penalise(model, [loss], optimizer)
    with pytest.raises(PolytaskError, match="must hold penalties"):
        penalise(model, [lambda w: w.abs().sum()], optimizer)


def test_the_trainer_takes_penalties_only():
    _, y = regression_rows()
    task = Regression("y").fit(y)
    with pytest.raises(PolytaskError, match="compares predictions with targets"):
        Trainer(trunk(), [task], penalties=[nn.L1Loss()])


def test_losses_and_penalties_share_no_name():
    penalties = {name.lower() for name in objective.__all__}
    losses = {name.lower() for name in dir(nn) if name.endswith("Loss")}
    kinds = {"regression", "binary", "multiclass", "multilabel", "count"}
    assert not penalties & (losses | kinds | {"squared", "absolute", "huber"})


# ── the penalty ─────────────────────────────────────────────────────────────────────────────────


def ridge_by(value) -> float:
    """How far the minimum of data term + value(w) is from ridge of strength 0.3."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(40, 1, generator=generator, dtype=torch.float64) + x[:, :1]
    exact = torch.linalg.solve(x.T @ x / 40 + 0.3 * torch.eye(4, dtype=x.dtype), x.T @ y / 40)
    w = torch.full((4, 1), 0.1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.2)
    for _ in range(800):
        optimizer.zero_grad()
        ((y - x @ w).square().sum() / 80 + value(w)).backward()
        optimizer.step()
    return float((w - exact).detach().abs().max())


def test_l2_is_the_squared_norm_and_the_group_penalty_is_not():
    assert ridge_by(lambda w: L2(0.3).value([w])) < 1e-10
    assert ridge_by(lambda w: 0.3 * torch.linalg.vector_norm(w)) > 1e-2
    assert ridge_by(lambda w: GroupLasso(0.3).value([w.T])) > 1e-2


def test_penalties_leave_biases_norms_and_scalars_alone_and_say_so():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU())
            self.codes = nn.Embedding(4, 8)
            self.temperature = nn.Parameter(torch.tensor(1.0))

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    (summary,) = penalise(net, [L1(0.1)], optimizer).describe()
    assert summary.parameters == ("body.0.weight",)
    assert set(summary.left_out) == {name for name, _ in net.named_parameters()} - {"body.0.weight"}
    assert all(summary.left_out.values())


def test_the_report_says_what_is_not_decayed():
    report = fit_table(frame(), run_config(), baselines=False).report
    on = dict(report.switched_on)
    assert "biases" in on["weight decay"] + on.get("not decayed", "")


def test_the_report_says_on_what_a_penalty_acts():
    run = run_config(penalties=[{"name": "l1", "strength": 0.01}], optimizer={"weight_decay": 0.0})
    on = dict(fit_table(frame(), run, baselines=False).report.switched_on)
    assert "weight" in on["L1"]
    assert "bias" not in on["L1"]


def test_weight_decay_beside_a_ridge_penalty_raises_in_the_trainer_too():
    x, y = regression_rows()
    task = Regression("y").fit(y)
    trainer = Trainer(trunk(), [task], penalties=[L2(0.1)], epochs=1)
    with pytest.raises(InvalidArgument, match="counts twice"):
        trainer.fit(resident(task, x, y))


@pytest.mark.parametrize("penalty", [L2(0.1), ElasticNet(0.1)])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_weight_decay_beside_a_ridge_term_raises(penalty, kind):
    model = nn.Linear(3, 1)
    optimizer = kind(model.parameters(), lr=0.1, weight_decay=0.1)
    with pytest.raises(InvalidArgument, match="counts twice"):
        penalise(model, [penalty], optimizer)


def test_weight_decay_beside_a_lasso_warns_with_both_strengths():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.05)
    with pytest.warns(PolytaskWarning, match=r"elastic net, with 0\.02 .* weight decay 0\.05"):
        penalise(model, [L1(0.02)], optimizer)


def test_lasso_without_weight_decay_is_silent():
    model = nn.Linear(3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalise(model, [L1(0.02)], torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Rprop])
def test_an_optimizer_of_unknown_metric_is_refused_with_the_list(kind):
    model = nn.Linear(3, 1)
    with pytest.raises(PolytaskError, match="SGD, Adam, AdamW"):
        penalise(model, [L1(0.1)], kind(model.parameters()))


def test_l1_is_never_in_the_objective():
    model = nn.Linear(3, 1)
    bound = penalise(model, [L1(0.1)], torch.optim.SGD(model.parameters(), lr=0.1))
    assert bound.objective() is None
    assert bound.values()["L1"] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "device", ["cpu", "meta", *(["cuda"] if torch.cuda.is_available() else [])]
)
@pytest.mark.parametrize("penalty", [L1(0.1), L2(0.1), ElasticNet(0.1), GroupLasso(0.1)])
def test_values_are_where_the_weights_are(penalty, device, dtype):
    blocks = [torch.ones(2, 3, device=device, dtype=dtype) for _ in range(2)]
    value = penalty.value(blocks)
    assert (value.device.type, value.dtype) == (device, dtype)


# ── the loop ────────────────────────────────────────────────────────────────────────────────────


def test_the_optimizer_of_another_model_is_refused_by_name():
    _, y = regression_rows()
    task = Regression("y").fit(y)
    model, other = (MultiTaskModel.hard(MLP(3, width=8, depth=1), [task]) for _ in range(2))
    foreign = torch.optim.SGD(other.parameters(), lr=0.1)
    with pytest.raises(InvalidArgument, match=r"it lacks 'model\.backbone"):
        Trainer(model, [task], optimizer=foreign)
    both = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1)
    with pytest.raises(InvalidArgument, match="does not have"):
        Trainer(model, [task], optimizer=both)
    with pytest.raises(InvalidArgument, match="it lacks"):
        check_binding(foreign, model)


def test_the_trainer_makes_the_five_steps_of_a_loop_by_hand():
    x, y = regression_rows(rows=16)
    task = Regression("y").fit(y)
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1, dropout=0.0), [task])
    twin = MultiTaskModel.hard(MLP(3, width=8, depth=1, dropout=0.0), [task])
    twin.load_state_dict(model.state_dict())
    spec = OptimizerSpec("sgd", learning_rate=0.1, weight_decay=0.0)
    train = resident(task, x, y)
    trainer = Trainer(model, [task], optimizer=spec, stopping=NoStopping(), epochs=4, clip_norm=0.0)
    trainer.fit(train)

    optimizer = spec.build(twin.roles())
    target, _ = task.encode(y)
    for _ in range(4):
        optimizer.zero_grad()
        task.loss(twin(x).outputs["y"][:, 0], target).mean().backward()
        optimizer.step()
    for mine, his in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, his, atol=1e-6)
    drift = [p.grad.abs().sum() for p in model.parameters() if p.grad is not None]
    last = [p.grad.abs().sum() for p in twin.parameters()]
    assert all(a <= 1.01 * b + 1e-6 for a, b in zip(drift, last, strict=True)), "they accumulate"


def test_modes_and_gradient_switches_belong_to_the_loop():
    seen = set()

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = trunk()

        def forward(self, inputs):
            seen.add((self.training, torch.is_grad_enabled()))
            return self.body(inputs)

    x, y = regression_rows()
    task = Regression("y").fit(y)
    net = Watch()
    trainer = Trainer(net, [task], epochs=1)
    trainer._bind(next(iter(resident(task, x, y).epoch())))  # trial passes are not what we watch
    seen.clear()
    train, valid = resident(task, x, y), resident(task, x, y)
    trainer.fit(train, valid)
    assert (True, True) in seen
    assert (False, False) in seen
    assert (True, False) not in seen, "measured in train mode"
    assert not net.training


def test_validation_rows_are_made_and_their_absence_is_reported():
    assert None not in fit_table(frame(), run_config(), baselines=False).history.epochs[0].valid
    without = fit_table(frame(), run_config(split={"valid": 0.0}), baselines=False)
    assert without.history.epochs[0].valid == [None, None]
    assert "from which the model has learned" in without.report.headline[0]


def test_balancers_see_training_rows_only():
    losses = []

    class Spy(LossBalancer):
        num_tasks = 1

        def objective(self, values, present, counts):
            losses.append(float(values.detach().max()))
            return values.sum()

    x, y = regression_rows()
    task = Regression("y").fit(y)
    train, valid = resident(task, x, y), resident(task, x, 1e4 * y)
    history = Trainer(trunk(), [task], balance=Spy(), epochs=2).fit(train, valid)
    assert min(record.valid[0] for record in history.epochs) > 1e6
    assert losses
    assert max(losses) < 100


def test_validation_labels_move_no_weight():
    x, y = regression_rows()
    task = Regression("y").fit(y)
    ends = []
    for valid in (y, -y):
        torch.manual_seed(0)
        net = trunk()
        trainer = Trainer(net, [task], stopping=NoStopping(), epochs=2, balance=FixedWeights([1.0]))
        trainer.fit(resident(task, x, y), resident(task, x, valid))
        ends.append([parameter.clone() for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# ── losses and tasks ────────────────────────────────────────────────────────────────────────────


def test_regression_targets_are_standardised_with_training_rows_only():
    result = fit_table(frame(), run_config(), baselines=False)
    rows = result.prepared.split.train
    values = frame()["progression"].to_numpy()
    task = result.prepared.tasks[0]
    assert np.isclose(task.center, values[rows].mean())
    assert np.isclose(task.scale, values[rows].std())
    assert not np.isclose(task.center, values.mean(), rtol=1e-9)


def test_heads_return_raw_outputs_and_the_task_owns_the_link():
    labels = np.array(["x", "y", "z"] * 4)
    tasks = [Multiclass("m").fit(labels), Binary("b").fit(labels[:2].repeat(6))]
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks).eval()
    x = 50 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output, features = model(x), model.backbone(x)
    for task, stack in zip(tasks, model.heads.stacks, strict=True):
        raw = output.outputs[task.name][:, 0]
        linear = F.linear(features, stack.weight[0], stack.bias[0])
        torch.testing.assert_close(raw, linear)
        for link in (torch.sigmoid, lambda y: y.softmax(-1), lambda y: y.log_softmax(-1)):
            assert not torch.allclose(raw, link(linear)), "no probabilities nor their logarithms"
    target, _ = tasks[0].encode(labels)
    raw = output.outputs["m"][:, 0]
    expected = F.cross_entropy(raw, target, reduction="none")
    assert torch.allclose(tasks[0].loss(raw, target), expected)


# ── data, shapes, architecture ──────────────────────────────────────────────────────────────────


def test_a_data_set_of_table_rows_is_refused_with_the_form_of_an_item():
    table = frame()

    class Rows(Dataset):
        def __len__(self):
            return len(table)

        def __getitem__(self, index):
            return table.iloc[index]

    groups = group_tasks([Regression("progression").fit(table["progression"].to_numpy())])
    with pytest.raises(
        InvalidArgument, match=r"pandas Series.*An item must be \(inputs, targets\)"
    ):
        LoaderBatches(DataLoader(Rows(), batch_size=4), groups)


class Reshapes(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.body, self.size = nn.Linear(6, 6), size

    def forward(self, inputs):
        return self.body(inputs).view(-1, self.size)


@pytest.mark.parametrize("rows", [4, 8, 16])
def test_rows_that_are_mixed_by_a_view_are_noticed_even_where_it_divides(rows):
    groups = group_tasks([Regression("y").fit(np.arange(4.0))])
    table = Batch(torch.zeros(rows, 6), {}, {}, None, torch.arange(rows))
    with pytest.raises(InvalidArgument, match="one row of features per row of input"):
        adapt(Reshapes(3), groups, table)


def test_rows_are_counted_at_every_joint_of_a_model_and_not_only_in_the_trial():
    class Sometimes(nn.Module):
        """Keeps its rows in the trial and mixes them in the first real batch."""

        def __init__(self):
            super().__init__()
            self.body = nn.Linear(6, 6)

        def forward(self, inputs):
            return self.body(inputs).view(-1, 3 if len(inputs) > 8 else 6)

    groups = group_tasks([Regression("y").fit(np.arange(4.0))])
    table = Batch(torch.zeros(16, 6), {}, {}, None, torch.arange(16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = adapt(Sometimes(), groups, table)
    with pytest.raises(InvalidArgument, match="one row of features per row of input"):
        model(table.inputs)


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: MLP(6, width=16, depth=2, dropout=0.0),
        lambda: ResidualMLP(6, width=16, depth=2, dropout=0.0),
        lambda: TabM(6, width=16, depth=2, members=3, dropout=0.0),
    ],
)
def test_our_trunks_end_with_an_activation(backbone):
    features = backbone().eval()(torch.randn(64, 6))
    assert (features >= 0).all(), "ReLU comes last"
    assert (features == 0).any()


def test_a_linear_end_below_linear_heads_warns():
    groups = group_tasks([Regression("y").fit(np.arange(4.0))])
    table = Batch(torch.zeros(8, 3), {}, {}, None, torch.arange(8))
    with pytest.warns(PolytaskWarning, match="that layer is redundant"):
        adapt(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)), groups, table)


def test_dropout_that_leaves_a_handful_of_units_warns():
    with pytest.warns(PolytaskWarning, match="leaves 2.5 units"):
        MLP(3, width=5, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLP(3, width=64, dropout=0.5)


def two_regressions(**options):
    x, y = regression_rows()
    specs = [Regression("metres"), Regression("millimetres", **options)]
    values = [y, 1000 * y]
    tasks = [spec.fit(v) for spec, v in zip(specs, values, strict=True)]
    groups = group_tasks(tasks)
    columns = dict(zip(["metres", "millimetres"], values, strict=True))
    encoded = {t.name: t.encode(columns[t.name]) for t in tasks}
    batch = Batch(
        x,
        {g.name: torch.stack([encoded[t.name][0] for t in g.tasks], 1) for g in groups},
        {g.name: torch.stack([encoded[t.name][1] for t in g.tasks], 1) for g in groups},
        None,
        torch.arange(ROWS),
    )
    return tasks, ResidentBatches(batch, batch_size=16)


def test_raw_targets_with_equal_weights_warn():
    tasks, train = two_regressions(center=0.0, scale=1.0)
    with pytest.warns(PolytaskWarning, match="'millimetres' is not standardised"):
        Trainer(trunk(), tasks, epochs=1).fit(train)


def test_standardised_targets_and_weights_of_ones_own_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks, train = two_regressions()
        Trainer(trunk(), tasks, epochs=1).fit(train)
        tasks, train = two_regressions(center=0.0, scale=1.0)
        Trainer(trunk(), tasks, epochs=1, balance=FixedWeights([1.0, 1e-6])).fit(train)


class Tutorial(nn.Module):
    """Five hidden units, half of them dropped, right before a regression output."""

    def __init__(self, width, p):
        super().__init__()
        self.hidden, self.drop = nn.Linear(3, width), nn.Dropout(p)
        self.last = nn.Linear(width, 1)

    def forward(self, inputs):
        return {"y": self.last(self.drop(self.hidden(inputs).relu()))}


def dropout_warnings(module):
    groups = group_tasks([Regression("y").fit(np.arange(4.0))])
    table = Batch(torch.zeros(8, 3), {}, {}, None, torch.arange(8))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        adapt(module, groups, table)
    return [str(warning.message) for warning in seen]


def test_dropout_in_a_module_of_ones_own_warns():
    few, before = dropout_warnings(Tutorial(5, 0.5))
    assert "Dropout 0.5 on 5 units leaves 2.5 units" in few
    assert "right before the regression output 'y'" in before
    assert len(dropout_warnings(Tutorial(64, 0.5))) == 1
    assert dropout_warnings(Tutorial(64, 0.1)) == []
    features = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Dropout(0.5))
    assert len(dropout_warnings(features)) == 1


def test_what_is_no_batches_task_or_balancer_gets_a_sentence():
    x, y = regression_rows()
    task = Regression("y").fit(y)
    loader = DataLoader(
        [(row, {"y": value}) for row, value in zip(x, y, strict=True)], batch_size=8
    )
    for train, words in ((loader, r"LoaderBatches\(loader"), (x, "got Tensor")):
        with pytest.raises(InvalidArgument, match=words):
            Trainer(trunk(), [task], epochs=1).fit(train)
    for options, words in (
        ({"tasks": [Regression("y")]}, r"must be fitted; 'y' is a specification"),
        ({"tasks": ["y"]}, "must hold fitted tasks; got 'y'"),
        ({"balance": "equal"}, "must be a method of polytask.balancing or polytask.aggregation"),
        ({"optimizer": "adam"}, "must be an OptimizerSpec or a torch optimizer"),
    ):
        with pytest.raises(PolytaskError, match=words):
            Trainer(trunk(), **{"tasks": [task], **options})
