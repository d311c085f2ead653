"""A user's own network, optimizer and balancer in the trainer."""

import pytest
import torch
from torch import nn

from polytask.balancing import LossBalancer
from polytask.errors import InvalidArgument, Unsupported
from polytask.optim import OptimizerSpec
from polytask.training import Callback


class Learned(LossBalancer):
    """Uncertainty weighting: ½ Σ (e^(−s) L + s) over the present tasks."""

    def __init__(self, num_tasks=2):
        super().__init__()
        self.num_tasks = num_tasks
        self.log_variances = nn.Parameter(torch.zeros(num_tasks))

    def objective(self, losses, present, counts):
        terms = torch.exp(-self.log_variances) * losses + self.log_variances
        return 0.5 * (terms * present).sum()


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, inputs):
        return torch.tanh(self.layer(inputs))


class OwnHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.y, self.z = Features(), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, inputs):
        features = self.body(inputs)
        return {"z": self.z(features), "y": self.y(features).squeeze(1)}


@pytest.fixture
def problem(make_problem):
    return make_problem(rows=64)


# ── networks ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [Features, OwnHeads])
def test_any_module_learns(problem, snapshot, make):
    torch.manual_seed(0)
    model = make()
    before = snapshot(model)
    history = problem.trainer(model, optimizer=OptimizerSpec(learning_rate=0.02), epochs=20).fit(
        problem.batches(), problem.batches()
    )
    for index in range(2):
        assert history.epochs[-1].valid[index] < 0.5 * history.baseline[index]
    for name, value in model.state_dict().items():
        assert not torch.equal(value, before[name])


def test_own_heads_have_rates_per_task(problem, snapshot):
    model = OwnHeads()
    before = snapshot(model)
    spec = OptimizerSpec(rates={"task:z": 0.0})
    problem.trainer(model, optimizer=spec, epochs=1).fit(problem.batches())
    after = model.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"z.weight", "z.bias"}


class Mixes(nn.Module):
    """``view(-1, 16)``: two rows of eight features become one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 8)

    def forward(self, inputs):
        return torch.relu(self.layer(inputs)).view(-1, 16)


class WrongName(OwnHeads):
    def forward(self, inputs):
        outputs = super().forward(inputs)
        return {"y": outputs["y"], "zz": outputs["z"]}


class Lacks(OwnHeads):
    def forward(self, inputs):
        return {"y": super().forward(inputs)["y"]}


class Pair(Features):
    def forward(self, inputs):
        features = super().forward(inputs)
        return features, features


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (
            Mixes,
            InvalidArgument,
            r"must return one row of features per row of input; got \[4, 16\]",
        ),
        (WrongName, ValueError, "'zz'"),
        (Lacks, InvalidArgument, "must return an output for every task; 'z' is not among 'y'"),
        (Pair, Unsupported, "got tuple"),
    ],
)
def test_modules_that_cannot_be_trained(problem, snapshot, make, kind, words):
    model = make()
    before = snapshot(model)
    with pytest.raises(kind, match=words):
        problem.trainer(model).fit(problem.batches())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rows_mixed_only_in_training_are_found_too(problem):
    class Sometimes(Features):
        def forward(self, inputs):
            features = super().forward(inputs)
            return features.view(-1, 16) if self.training else features

    with pytest.raises(InvalidArgument, match="mixes rows"):
        problem.trainer(Sometimes()).fit(problem.batches())


# ── optimizers ──────────────────────────────────────────────────────────────────────────────


def test_own_optimizer(problem, snapshot):
    model = problem.model()
    before = snapshot(model)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    problem.trainer(model, optimizer=optimizer, epochs=2).fit(problem.batches())
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


def test_an_optimizer_of_another_model_is_refused(problem):
    other = torch.optim.Adam(problem.model().parameters())
    with pytest.raises(InvalidArgument, match="must hold every trainable parameter of the model"):
        problem.trainer(problem.model(), optimizer=other)


def test_an_optimizer_without_the_learned_weights_is_refused(problem):
    model = problem.model()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(InvalidArgument, match=r"it lacks 'balance\.log_variances'"):
        problem.trainer(model, optimizer=optimizer, balance=Learned())


def test_an_optimizer_with_a_foreign_parameter_is_refused(problem):
    model = problem.model()
    optimizer = torch.optim.Adam([*model.parameters(), nn.Parameter(torch.zeros(5))])
    with pytest.raises(InvalidArgument, match="tensors that the model does not have"):
        problem.trainer(model, optimizer=optimizer)


def test_an_optimizer_cannot_hold_heads_that_do_not_exist_yet(problem):
    """Features get polytask's heads in `fit`; an optimizer of before would never train them."""
    model = Features()
    optimizer = torch.optim.Adam(model.parameters())
    trainer = problem.trainer(model, optimizer=optimizer)
    with pytest.raises(InvalidArgument, match="hold the heads too, which Features gets only now"):
        trainer.fit(problem.batches())


def test_the_way_that_this_error_names(problem, snapshot):
    from polytask.sharing import adapt

    model = adapt(Features(), problem.groups, problem.table)
    before = snapshot(model)
    optimizer = torch.optim.Adam(model.parameters())
    problem.trainer(model, optimizer=optimizer, epochs=1).fit(problem.batches())
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


# ── balancers ───────────────────────────────────────────────────────────────────────────────


def test_learned_weights_are_trained(problem):
    """Their gradient is ½(1 − e^(−s) L): with losses below 1 the variances fall."""
    balance = Learned()
    spec = OptimizerSpec(learning_rate=0.02, weight_decay=10.0)
    history = problem.trainer(problem.model(), balance=balance, optimizer=spec, epochs=15).fit(
        problem.batches()
    )
    assert (balance.log_variances < -0.05).all()
    weights = [record.weights for record in history.epochs]
    assert weights[0] == pytest.approx([0.5, 0.5], abs=0.1)
    assert weights[-1] == pytest.approx(
        (torch.exp(-balance.log_variances) / 2).tolist(), rel=0.05
    ), "the weight that is reported is e^(−s)/2"


def test_learned_weights_are_in_the_checkpoint(problem, equal, tmp_path):
    """Stopped after every epoch and resumed: the same learned weights as in one go."""

    class Stop(Callback):
        def epoch(self, view):
            if view.record.epoch < 3:
                raise KeyboardInterrupt

    def run(path, *, stop, resume):
        model, balance = problem.model(), Learned()
        trainer = problem.trainer(
            model,
            balance=balance,
            optimizer=OptimizerSpec(learning_rate=0.02),
            epochs=3,
            checkpoint=path,
            checkpoint_seconds=0.0,
            callbacks=[Stop()] if stop else [],
        )
        trainer.fit(problem.batches(), resume=resume)
        return model, balance

    model, balance = run(tmp_path / "whole", stop=False, resume=False)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", stop=True, resume=resume)
    again, learned = run(tmp_path / "parts", stop=False, resume=True)
    assert equal(learned.state_dict(), balance.state_dict())
    assert equal(again.state_dict(), model.state_dict())
    assert balance.log_variances.abs().min() > 1e-3
