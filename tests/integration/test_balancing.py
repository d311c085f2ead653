"""Every way in which tasks share the update, through the trainer: exact, resumed, refused."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from torch import nn

from polytask import Binary, Count, Multiclass, Multilabel, MultiTaskModel, Regression, Trainer
from polytask.aggregation import Aggregator, EveryN, GradNorm, NashMTL, UPGrad
from polytask.backbones import MLP, TabM
from polytask.balancing import EqualWeights, LossBalancer
from polytask.config import methods
from polytask.config.balance import build_balance
from polytask.config.run import BalanceConfig
from polytask.data import Batch, ResidentBatches
from polytask.errors import InvalidArgument, Unsupported
from polytask.gradients import MultiTaskBackward
from polytask.optim import OptimizerSpec
from polytask.regularization.objective import L1, InputGradient
from polytask.regularization.update import SAM
from polytask.sharing import adapt
from polytask.tasks import group_tasks
from polytask.training import Callback, Defence, FreezeHead, RandomScope
from polytask.training.step import Step

ROWS = 48
NAMES = [method.name for method in methods("balancing")]
COMBINING = [method.name for method in methods("balancing") if method.combines]
SGD = OptimizerSpec("sgd", learning_rate=0.05, momentum=0.0, weight_decay=0.0)


def columns():
    generator = np.random.default_rng(0)
    classes = np.array(["a", "b", "c"], dtype=object)
    values = [
        (Regression("first"), generator.normal(size=ROWS)),
        (Binary("binary"), generator.integers(0, 2, ROWS).astype(float)),
        (Regression("second"), 5 * generator.normal(size=ROWS)),
        (Multiclass("classes"), classes[generator.integers(0, 3, ROWS)]),
        (
            Multilabel("labels", columns=("one", "two")),
            generator.integers(0, 2, (ROWS, 2)).astype(float),
        ),
        (Count("count"), generator.poisson(2.0, ROWS).astype(float)),
        (Regression("third"), generator.normal(size=ROWS)),
    ]
    for index, (spec, value) in enumerate(values):
        value[index :: len(values)] = None if value.dtype == object else np.nan
        yield spec.fit(value), value


COLUMNS = list(columns())
TASKS = [task for task, _ in COLUMNS]
GROUPS = group_tasks(TASKS)
NAMED = [task.name for task in TASKS]


def table(dtype=torch.float32, absent: str = "") -> Batch:
    generator = torch.Generator().manual_seed(0)
    encoded = {task.name: task.encode(value) for task, value in COLUMNS}
    masks = {name: mask & (name != absent) for name, (_, mask) in encoded.items()}

    def stacked(values, group):
        found = torch.stack([values[task.name] for task in group.tasks], dim=1)
        return found.to(dtype) if found.is_floating_point() else found

    targets = {name: target for name, (target, _) in encoded.items()}
    return Batch(
        torch.randn(ROWS, 5, generator=generator).to(dtype),
        {g.name: stacked(targets, g) for g in GROUPS},
        {g.name: stacked(masks, g) for g in GROUPS},
        torch.linspace(0.5, 1.5, ROWS).to(dtype),
        torch.arange(ROWS),
    )


class OwnHeads(nn.Module):
    """A module with heads of its own, which returns outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 12), nn.Tanh())
        self.heads = nn.ModuleDict({task.name: nn.Linear(12, task.outputs) for task in TASKS})

    def forward(self, inputs):
        features = self.trunk(inputs)
        return {name: head(features) for name, head in self.heads.items()}


def network(kind: str, *, dropout: float = 0.0) -> nn.Module:
    with RandomScope(0):
        if kind == "own heads":
            return OwnHeads()
        backbone = (
            TabM(5, width=8, depth=1, members=3, dropout=dropout)
            if kind == "ensemble"
            else MLP(5, width=12, depth=2, dropout=dropout,
                     normalization="batch" if kind == "batch norm" else "none")
        )  # fmt: skip
        return MultiTaskModel.hard(backbone, TASKS)


def method(name: str, **options):
    options.setdefault("at", "parameters")
    if name == "scheduled":
        options["schedule"] = {"first": [(0, 1.0), (1, 2.0)]}
    config = BalanceConfig(name=name, **options)
    kinds = {task.name: task.spec.kind for task in TASKS}
    return build_balance(config, NAMED, kinds=kinds, seed=3)


def rows_for(balance) -> ResidentBatches | None:
    held = isinstance(balance, LossBalancer) and balance.held_out
    return ResidentBatches(table(), batch_size=16) if held else None


@pytest.mark.parametrize("kind", ["hard", "ensemble", "own heads"])
@pytest.mark.parametrize("name", NAMES)
def test_three_updates_move_everything_and_stay_finite(name, kind):
    balance = method(name)
    model = network(kind)
    parameters = {**dict(model.named_parameters()), **dict(balance.named_parameters())}
    before = {key: value.detach().clone() for key, value in parameters.items()}
    trainer = Trainer(model, TASKS, balance=balance, epochs=1,
                      optimizer=OptimizerSpec(learning_rate=1e-2))  # fmt: skip
    batches = [ResidentBatches(table(), batch_size=16) for _ in range(2)]
    (record,) = trainer.fit(*batches, balancing=rows_for(balance)).epochs
    assert (record.steps, record.skipped) == (3, 0)
    assert np.isfinite(np.array([record.running, record.train, record.valid], dtype=float)).all()
    assert {key for key, value in parameters.items() if torch.equal(before[key], value)} == set()


@pytest.mark.parametrize("name", COMBINING)
def test_the_update_is_the_methods_own_on_gradients_taken_one_by_one(name):
    """Against K separate backward passes over the shared parameters, in float64."""
    model, balance, whole = network("hard").double(), method(name), table(torch.float64)
    fresh = copy.deepcopy(balance)
    trunk = list(model.backbone.parameters())
    heads = list(model.heads.parameters())
    output = model(whole.inputs)
    losses = []
    for task in TASKS:
        group = next(g for g in GROUPS if task in g.tasks)
        place = group.tasks.index(task)
        unreduced = group.loss(output.outputs[group.name], whole.targets[group.name])[:, place]
        weight = whole.masks[group.name][:, place] * whole.row_weights
        losses.append((unreduced * weight).sum() / weight.sum())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, trunk, retain_graph=True)])
        for loss in losses
    ]
    jacobian = torch.stack(rows)
    values = torch.stack(losses).detach()
    if balance.needs_losses and hasattr(fresh, "weigh"):
        weights = fresh(jacobian @ jacobian.T, values)
        expected = weights @ jacobian
    elif name == "graddrop":  # per coordinate all positive parts, or all negative ones
        expected = None
    elif hasattr(fresh, "weigh"):
        ready = fresh.ready_weights(torch.ones(len(TASKS), dtype=torch.bool))
        weights = fresh(jacobian @ jacobian.T) if ready is None else ready
        expected = weights @ jacobian
    else:
        expected = fresh(jacobian, values)
    expected_heads = torch.autograd.grad(sum(losses), heads)

    step = Step(model, GROUPS, MultiTaskBackward(balance), SGD.build(model.roles()), 0.0)
    counts = {g.name: (whole.masks[g.name] * whole.row_weights[:, None]).sum(0) for g in GROUPS}
    assert step.update(([whole], counts))
    found = torch.cat([p.grad.flatten() for p in trunk])
    if expected is None:
        sides = torch.stack([jacobian.clamp(min=0).sum(0), jacobian.clamp(max=0).sum(0)])
        assert torch.isclose(sides, found, rtol=1e-9, atol=1e-12).any(0).all()
        expected = found
    # The Gramian is rounded to float64, and methods amplify that by the condition of the problem.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    for parameter, gradient in zip(heads, expected_heads, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Equal in every number; what is not known yet (NaN) is unknown in both."""
    return torch.allclose(one, two, rtol=0, atol=0, equal_nan=True)


class Death(RuntimeError):
    """Ends a run between two updates."""


class DiesAfter(Callback):
    def __init__(self, updates: int) -> None:
        self.left = updates

    def step(self, view) -> None:
        self.left -= 1
        if self.left < 0:
            raise Death


def run(balance, path=None, updates: int | None = None, *, resume=False, **options):
    callbacks = () if updates is None else [DiesAfter(updates)]
    options.setdefault("epochs", 3)
    trainer = Trainer(
        network("batch norm", dropout=0.2), TASKS, balance=balance, seed=4, checkpoint=path,
        checkpoint_seconds=0.0, callbacks=callbacks, **options,
    )  # fmt: skip
    batches = [ResidentBatches(table(), batch_size=16, seed=1) for _ in range(2)]
    aside = rows_for(balance)
    if updates is None:
        trainer.fit(*batches, balancing=aside, resume=resume)
    else:
        with pytest.raises(Death):
            trainer.fit(*batches, balancing=aside, resume=resume)
    history = trainer.history.to_json()
    for record in history["epochs"]:
        record["seconds"] = 0.0
    return history, trainer.model.state_dict(), trainer.balance.state_dict()


RUNS = {name: {} for name in NAMES} | {
    "upgrad, every 2": {"every": 2},
    "mgda, smoothed and clipped": {"smoothing": 0.5, "clip": 0.1},
    "nash-mtl, equal norms": {"equalize": "mean"},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_ends_as_if_it_had_not_been(name, tmp_path):
    def fresh():
        return method(name.split(",")[0], **RUNS[name])

    history, weights, state = run(fresh())
    path = tmp_path / "checkpoint.safetensors"
    for updates in (4, 2):
        run(fresh(), path, updates, resume=path.exists())
    found, resumed, resumed_state = run(fresh(), path, resume=True)
    assert found == history
    for one, two in ((weights, resumed), (state, resumed_state)):
        assert one.keys() == two.keys()
        assert all(same(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", ["nash-mtl", "moco"])
def test_who_shares_what_is_in_the_checkpoint(name, tmp_path):
    """After the first batch the others have labels of one task only: its head stays its own."""
    sparse = table()
    for group in GROUPS:
        for place, task in enumerate(group.tasks):
            sparse.masks[group.name][16:, place] &= task.name == "first"
    path = tmp_path / "checkpoint.safetensors"

    def go(updates=None, *, resume=False):
        trainer = Trainer(
            network("own heads"), TASKS, balance=method(name), seed=4, epochs=1, checkpoint=path,
            checkpoint_seconds=0.0, callbacks=[DiesAfter(9 if updates is None else updates)],
        )  # fmt: skip
        with contextlib.suppress(Death):
            trainer.fit(ResidentBatches(sparse, batch_size=16, shuffle=False), resume=resume)
        return trainer.model.state_dict()

    whole = go()
    go(1)
    again = go(resume=True)
    assert all(same(whole[key], again[key]) for key in whole)


@pytest.mark.parametrize("kind", ["hard", "ensemble", "own heads"])
@pytest.mark.parametrize("name", ["graddrop", "moco", "db-mtl"])
def test_a_table_sorted_by_task(name, kind):
    """The first batches have labels of one task each: what is shared, the model itself knows."""
    long = table()
    for group in GROUPS:
        for place, task in enumerate(group.tasks):
            rows = torch.arange(ROWS) // 8 == min(NAMED.index(task.name), 5)
            long.masks[group.name][:, place] &= rows
    trainer = Trainer(
        network(kind), TASKS, balance=method(name), seed=4, epochs=2,
        optimizer=OptimizerSpec("sgd", learning_rate=0.05, momentum=0.0, weight_decay=0.0),
    )  # fmt: skip
    before = copy.deepcopy(trainer.model.state_dict())
    history = trainer.fit(ResidentBatches(long, batch_size=8, shuffle=False))
    after = trainer.model.state_dict()
    moved = [key.rpartition("module.")[2] for key in after if not same(before[key], after[key])]
    assert sum("heads" in key for key in moved) >= 2 * len(GROUPS)
    assert all(record.train is not None for record in history.epochs)


def test_geometry_is_in_the_history_of_methods_that_measure_it():
    history, _, _ = run(method("upgrad"))
    geometry = history["epochs"][-1]["geometry"]
    assert geometry["updates"] == 3
    assert all(norm > 0 for norm in geometry["norms"])
    assert sum(geometry["shares"]) == pytest.approx(1.0, abs=1e-4)
    assert geometry["cosines"][0][1] == geometry["cosines"][1][0]
    history, _, _ = run(EqualWeights(len(TASKS)))
    assert history["epochs"][-1]["geometry"] is None


def one_update(balance, batch, **options):
    model = network("batch norm", dropout=0.0).double()
    driven = MultiTaskBackward(balance) if isinstance(balance, Aggregator) else balance
    parameters = [*model.parameters(), *balance.parameters()]
    step = Step(model, GROUPS, driven, torch.optim.SGD(parameters, lr=0.05), 0.0, **options)
    counts = {g.name: (batch.masks[g.name] * batch.row_weights[:, None]).sum(0) for g in GROUPS}
    done = step.update(([batch], counts))
    return model, step, done


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_task_leaves_the_update_of_the_others(name):
    batch = table(torch.float64, absent="second")
    model, step, done = one_update(method(name), batch)
    assert done
    assert all(torch.isfinite(p).all() for p in model.parameters())
    place = NAMED.index("second")
    weight = step.totals[2, place]
    assert weight == 0 or torch.isnan(weight)
    stack, index = next(
        (stack, [t.name for t in group.tasks].index("second"))
        for stack, group in zip(model.heads.stacks, GROUPS, strict=True)
        if "second" in [t.name for t in group.tasks]
    )
    start = network("batch norm").double().heads.stacks[list(model.heads.stacks).index(stack)]
    assert torch.equal(stack.weight[index], start.weight[index])


@pytest.mark.parametrize("name", NAMES)
def test_a_skipped_update_leaves_no_trace(name):
    """The losses are finite, the gradient of the trunk is not: everything is as before."""
    balance, batch = method(name), table(torch.float64)
    model, step, done = one_update(balance, batch)
    assert done
    before = [copy.deepcopy(m.state_dict()) for m in (model, balance)]
    hook = model.backbone.layers[0].weight.register_hook(lambda gradient: gradient * torch.nan)
    counts = {g.name: (batch.masks[g.name] * batch.row_weights[:, None]).sum(0) for g in GROUPS}
    assert not step.update(([batch], counts))
    hook.remove()
    for old, module in zip(before, (model, balance), strict=True):
        new = module.state_dict()
        assert all(same(old[key], new[key]) for key in old)
    assert step.skipped == 1


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("equal", "fixed", "pooled")])
def test_sam_moves_the_state_of_a_method_once(name):
    """The state after an update with SAM is the state after the plain update's first half."""
    plain, sharp = method(name), method(name)
    batch = table(torch.float64)
    one_update(plain, batch)
    _, _, done = one_update(sharp, batch, defence=Defence(sam=SAM(0.05)))
    assert done
    learned = {key for key, _ in plain.named_parameters()}
    observed = isinstance(plain, LossBalancer) and plain.observes  # it hears what the update did
    for key, value in plain.state_dict().items():
        if key not in learned and not observed:
            assert same(value, sharp.state_dict()[key]), key


@pytest.mark.parametrize("name", ["random", "dwa", "famo", "smooth-tchebycheff"])
def test_sam_asks_a_method_twice_in_the_same_state(name):
    """So the update uses the weights that were drawn, not the next ones."""
    asked = []
    balance = method(name)
    balance.register_forward_pre_hook(
        lambda module, _: asked.append({k: v.clone() for k, v in module.state_dict().items()})
    )
    one_update(balance, table(torch.float64), defence=Defence(sam=SAM(0.05)))
    first, second = asked
    assert first
    assert all(same(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_four_micro_batches_are_one_batch(name):
    """In float64, without batch normalisation: to rounding, gaps and row weights included."""
    whole = table(torch.float64)
    parts = [
        Batch(
            whole.inputs[part::4],
            {key: value[part::4] for key, value in whole.targets.items()},
            {key: value[part::4] for key, value in whole.masks.items()},
            whole.row_weights[part::4],
            whole.rows[part::4],
        )
        for part in range(4)
    ]
    counts = {g.name: (whole.masks[g.name] * whole.row_weights[:, None]).sum(0) for g in GROUPS}
    results = []
    for window in ([whole], parts):
        model, balance = network("hard").double(), method(name)
        driven = MultiTaskBackward(balance) if isinstance(balance, Aggregator) else balance
        parameters = [*model.parameters(), *balance.parameters()]
        step = Step(model, GROUPS, driven, torch.optim.SGD(parameters, lr=0.05), 0.0)
        assert step.update((window, counts))
        results.append((model.state_dict(), step.totals))
    for key, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][key], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(*(totals for _, totals in results), equal_nan=True)


def test_a_frozen_task_has_no_vote():
    trainer = Trainer(network("hard"), TASKS, balance=UPGrad(), epochs=12,
                      stopping=FreezeHead(patience=1),
                      optimizer=OptimizerSpec(learning_rate=0.05))  # fmt: skip
    batches = [ResidentBatches(table(), batch_size=16) for _ in range(2)]
    history = trainer.fit(*batches)
    assert history.settled
    name, epoch = min(history.settled.items(), key=lambda item: item[1])
    later = [record for record in history.epochs if record.epoch > epoch]
    assert later
    assert all(record.weights[NAMED.index(name)] == 0 for record in later)


def test_a_trunk_that_does_not_learn_leaves_nothing_to_combine():
    model = network("hard")
    model.backbone.requires_grad_(False)
    trainer = Trainer(model, TASKS, balance=UPGrad(), epochs=1)
    with pytest.raises(Unsupported, match=r"UPGrad combines .* the trunk is frozen"):
        trainer.fit(ResidentBatches(table(), batch_size=16))


def test_penalties_act_beside_a_method_that_combines_gradients():
    model = network("hard")
    trainer = Trainer(model, TASKS, balance=UPGrad(), penalties=[L1(0.05)], epochs=5,
                      optimizer=OptimizerSpec(learning_rate=1e-2, weight_decay=0.0))  # fmt: skip
    trainer.fit(ResidentBatches(table(), batch_size=16))
    assert (model.get_parameter("backbone.layers.0.weight") == 0).float().mean() > 0.3


def test_the_representation_costs_other_weights_than_the_parameters():
    weights = {}
    for at in ("parameters", "representation"):
        trainer = Trainer(network("hard"), TASKS, balance=NashMTL(), at=at, epochs=1)
        history = trainer.fit(ResidentBatches(table(), batch_size=16))
        weights[at] = history.epochs[0].weights
    assert weights["parameters"] != weights["representation"]
    assert all(np.isfinite(w).all() for w in weights.values())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"balance": "upgrad"}, InvalidArgument, "`balance` must be a method of"),
        ({"balance": UPGrad([1.0, 2.0])}, InvalidArgument, "be made for 7 tasks; got 2"),
        (
            {"balance": UPGrad(), "penalties": [InputGradient(0.1)]},
            Unsupported,
            "input-gradient penalty cannot be combined",
        ),
        ({"at": "representation"}, Unsupported, "a method that weighs losses"),
        ({"heads": "weighted"}, Unsupported, "a method that weighs losses"),
        ({"balance": UPGrad(), "at": "heads"}, InvalidArgument, "`at`"),
        ({"balance": UPGrad(), "max_gradient_memory": 0}, InvalidArgument, "`max_gradient_mem"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(options, error, words):
    with pytest.raises((error, ValueError), match=words):
        Trainer(network("hard"), TASKS, **options)


def test_rows_for_balancing_are_needed_or_refused():
    batches = ResidentBatches(table(), batch_size=16)
    with pytest.raises(InvalidArgument, match="`balancing` must be None with EqualWeights"):
        Trainer(network("hard"), TASKS).fit(batches, balancing=batches)


def test_weights_that_are_reused_cost_one_backward_pass():
    balance = EveryN(GradNorm(), 3)
    flags = []

    class Watch(Callback):
        def step(self, view) -> None:
            flags.append("reused" in balance.flags)

    trainer = Trainer(network("hard"), TASKS, balance=balance, epochs=2, callbacks=[Watch()])
    trainer.fit(ResidentBatches(table(), batch_size=16))
    assert flags == [False, True, True, False, True, True]


def test_a_module_that_is_adapted_by_hand_trains_the_same():
    results = []
    for adapted in (False, True):
        module = OwnHeads()
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                generator = torch.Generator().manual_seed(index)
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        model = adapt(module, GROUPS, table()) if adapted else module
        trainer = Trainer(model, TASKS, balance=UPGrad(), epochs=1, optimizer=SGD)
        trainer.fit(ResidentBatches(table(), batch_size=16))
        results.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(*results)


class Deaf(LossBalancer):
    """The plain mean, as a method whose weights might depend on the losses."""

    num_tasks = len(TASKS)

    def __init__(self) -> None:
        super().__init__()
        self.heard = []

    def objective(self, losses, present, counts):
        return losses.sum() / present.sum()

    def observe(self, losses, present=None):
        self.heard.append(losses.clone())


class Listening(Deaf):  # a test double, not a method
    observes = True


def test_the_look_after_an_update_has_no_side_effects():
    """Dropout masks, running statistics and the record of losses are those of a run without it."""
    results = []
    for method_class in (Deaf, Listening):
        balance = method_class()
        history, weights, _ = run(balance)
        results.append((history, weights, balance.heard))
    (history, weights, silence), (found, same_weights, heard) = results
    assert found == history
    assert all(same(weights[key], same_weights[key]) for key in weights)
    assert not silence
    assert len(heard) == 9
    assert all(torch.isfinite(losses).all() for losses in heard)


def test_the_look_after_an_update_sees_the_same_masks():
    """Without an update the losses are, to the last bit, those that the update saw."""
    model = network("batch norm", dropout=0.5).double()
    balance, batch = Listening(), table(torch.float64)
    parameters = [*model.parameters()]
    step = Step(model, GROUPS, balance, torch.optim.SGD(parameters, lr=0.0), 0.0)
    counts = {g.name: (batch.masks[g.name] * batch.row_weights[:, None]).sum(0) for g in GROUPS}
    torch.manual_seed(1)
    assert step.update(([batch], counts))
    seen = step.totals[0].double() / step.totals[1].double()
    torch.testing.assert_close(balance.heard[0].float(), seen.float(), rtol=1e-6, atol=0)
