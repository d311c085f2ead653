"""Task SAM: an update of the trainer against task gradients taken one by one at moved copies."""

import copy

import pytest
import torch
from torch import Tensor, nn

from polytask import Binary, MultiTaskModel, Regression, Trainer
from polytask.aggregation import MGDA, PCGrad, Sum, UPGrad
from polytask.backbones import MLP, TabM
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec
from polytask.regularization.update import SAM, TaskSAM
from polytask.sharing import adapt
from polytask.training import Defence, NoStopping, RandomScope

DEVIATION = 1e-12
RHO, RATE, SEED = 0.3, 0.1, 7
METHODS = {"mgda": MGDA, "upgrad": UPGrad, "sum": Sum}


def distance(first, second) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def table(missing: str = ""):
    """Two equal tasks, whose heads are stacked, and one of another kind; gaps and row weights."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    columns = {"a": x.sum(1).sin(), "b": x[:, 0] * x[:, 1], "c": (x[:, 0] > x[:, 1]).double()}
    for place, values in enumerate(columns.values()):
        values[place :: 5 + place] = torch.nan
    kinds = {"a": Regression, "b": Regression, "c": Binary}
    tasks = [kinds[name](name).fit(values.numpy()) for name, values in columns.items()]
    encoded = [task.encode(v.numpy()) for task, v in zip(tasks, columns.values(), strict=True)]
    labels = {t.name: (v.double(), m & (t.name != missing))
              for t, (v, m) in zip(tasks, encoded, strict=True)}  # fmt: skip
    weights = torch.tensor([0.5, 1.0, 2.0]).repeat(8)
    return tasks, x, labels, weights


def network(tasks, **options) -> MultiTaskModel:
    with RandomScope(4):
        if options.pop("members", False):
            backbone = TabM(4, width=24, depth=1, members=3, dropout=0.2, activation="tanh")
        else:
            backbone = MLP(4, **{"width": 24, "depth": 2, "activation": "tanh", **options})
        return MultiTaskModel.hard(backbone, tasks).double()


def trained(method, technique, missing: str = "", **options) -> MultiTaskModel:
    """One update of plain gradient descent."""
    tasks, x, labels, weights = table(missing)
    model = network(tasks, **options)
    batch = Batch(
        x,
        {g.name: torch.stack([labels[t.name][0] for t in g.tasks], 1) for g in model.groups},
        {g.name: torch.stack([labels[t.name][1] for t in g.tasks], 1) for g in model.groups},
        weights,
        torch.arange(24),
    )
    Trainer(
        model,
        tasks,
        optimizer=OptimizerSpec("sgd", learning_rate=RATE, weight_decay=0.0, momentum=0.0),
        balance=method,
        defence=technique,
        clip_norm=0.0,
        epochs=1,
        seed=SEED,
        stopping=NoStopping(),
    ).fit(ResidentBatches(batch, batch_size=24, shuffle=False))
    return model


def by_hand(method, missing: str = "", mutant: str = "", **options) -> tuple[list[Tensor], Tensor]:
    """The weights after the update, and the gradients of the trunk, a row per task."""
    tasks, x, labels, weights = table(missing)
    model = network(tasks, **options).train()
    names = [task.name for task in tasks if task.name != missing]

    def loss(net: nn.Module, name: str, seed: int = SEED) -> Tensor:
        with RandomScope(seed):  # the dropout masks
            outputs = net(x).outputs
        for group in net.groups:
            for place, task in enumerate(group.tasks):
                if task.name == name:
                    value, known = labels[name]
                    output = outputs[group.name][..., place, :]
                    each = (
                        task.loss(output, value)
                        if output.ndim == 2
                        else torch.stack([task.loss(o, value) for o in output.unbind(1)]).mean(0)
                    )
                    return (each * weights * known).sum() / (weights * known).sum()
        raise AssertionError(name)

    def gradients(net: nn.Module, name: str, seed: int = SEED) -> list[Tensor]:
        found = torch.autograd.grad(
            loss(net, name, seed), list(net.parameters()), allow_unused=True, materialize_grads=True
        )
        return list(found)

    everyone = [sum(pieces) for pieces in zip(*(gradients(model, n) for n in names), strict=True)]
    rows, trunk = [], [name.startswith("backbone") for name, _ in model.named_parameters()]
    for name in names:
        up = everyone if mutant == "one point for all" else gradients(model, name)
        reached = up
        if mutant == "norm of the trunk":
            reached = [u for u, shared in zip(up, trunk, strict=True) if shared]
        norm = torch.linalg.vector_norm(torch.cat([u.flatten() for u in reached]))
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, u, shared in zip(moved.parameters(), up, trunk, strict=True):
                if shared or mutant != "heads stay":
                    p.add_(u, alpha=(-1 if mutant == "descends" else 1) * RHO / float(norm))
        rows.append(gradients(moved, name, SEED + (mutant == "other masks")))
    jacobian = torch.stack(
        [torch.cat([g.flatten() for g, s in zip(row, trunk, strict=True) if s]) for row in rows]
    )
    factors = method(jacobian @ jacobian.T).to(jacobian)
    after = []
    for place, (p, shared) in enumerate(zip(model.parameters(), trunk, strict=True)):
        own = [row[place] * (w if shared else 1.0) for row, w in zip(rows, factors, strict=True)]
        after.append(p.detach() - RATE * sum(own))
    return after, jacobian


def weights_of(model: nn.Module) -> list[Tensor]:
    return [p.detach() for p in model.parameters()]


OPTIONS = {
    "dropout": {"dropout": 0.2},
    "batch norm": {"normalization": "batch", "dropout": 0.0},
    "ensemble": {"members": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_one_update_combines_the_gradients_at_the_tasks_own_worst_points(name, options):
    model = trained(METHODS[name](), Defence(task_sam=TaskSAM(RHO)), **OPTIONS[options])
    wanted, _ = by_hand(METHODS[name](), **OPTIONS[options])
    assert distance(weights_of(model), wanted) < DEVIATION


def test_a_task_without_labels_has_no_vote_and_no_point():
    model = trained(MGDA(), Defence(task_sam=TaskSAM(RHO)), missing="b", dropout=0.2)
    wanted, _ = by_hand(MGDA(), missing="b", dropout=0.2)
    assert distance(weights_of(model), wanted) < DEVIATION


def test_a_module_and_an_optimizer_of_ones_own():
    """The trainer must find out what is shared: heads of its own are stacked there too."""
    tasks, x, labels, weights = table()
    model = network(tasks, dropout=0.0)
    batch = Batch(
        x,
        {g.name: torch.stack([labels[t.name][0] for t in g.tasks], 1) for g in model.groups},
        {g.name: torch.stack([labels[t.name][1] for t in g.tasks], 1) for g in model.groups},
        weights,
        torch.arange(24),
    )
    own = adapt(copy.deepcopy(model.backbone.layers), model.groups, batch).double()
    own.heads.load_state_dict(model.heads.state_dict())
    Trainer(
        own,
        tasks,
        optimizer=torch.optim.SGD(own.parameters(), lr=RATE),
        balance=MGDA(),
        defence=Defence(task_sam=TaskSAM(RHO)),
        clip_norm=0.0,
        epochs=1,
        stopping=NoStopping(),
    ).fit(ResidentBatches(batch, batch_size=24, shuffle=False))
    wanted, _ = by_hand(MGDA(), dropout=0.0)
    assert distance(weights_of(own), wanted) < DEVIATION


MUTANTS = ["one point for all", "norm of the trunk", "heads stay", "descends", "other masks"]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_other_methods(mutant):
    model = trained(MGDA(), Defence(task_sam=TaskSAM(RHO)), dropout=0.2)
    wanted, _ = by_hand(MGDA(), mutant=mutant, dropout=0.2)
    assert distance(weights_of(model), wanted) > 1e-5


def test_it_is_not_sam_of_the_combined_gradient():
    own = trained(UPGrad(), Defence(task_sam=TaskSAM(RHO)), dropout=0.0)
    one = trained(UPGrad(), Defence(sam=SAM(RHO)), dropout=0.0)
    assert distance(weights_of(own), weights_of(one)) > 1e-5


def test_batch_statistics_move_once():
    sharp = trained(PCGrad(), Defence(task_sam=TaskSAM(RHO)), normalization="batch", dropout=0.2)
    plain = trained(PCGrad(), Defence(), normalization="batch", dropout=0.2)
    found, wanted = dict(sharp.named_buffers()), dict(plain.named_buffers())
    names = [name for name in wanted if "running" in name or "tracked" in name]
    assert names
    assert all(torch.equal(found[name], wanted[name]) for name in names)
