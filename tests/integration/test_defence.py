"""Every technique against overfitting inside the trainer: it acts, it resumes, it is refused."""

import math

import numpy as np
import pytest
import torch

from polytask import Binary, MultiTaskModel, Regression, Trainer
from polytask.aggregation import MoCo, UPGrad
from polytask.backbones import MLP, L0Gates, TabM
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.errors import InvalidArgument, Unsupported
from polytask.optim import OptimizerSpec, flat_cosine
from polytask.regularization.inputs import (
    Adversarial,
    CMixup,
    CutMix,
    Cutout,
    FeatureDropout,
    InputNoise,
    ManifoldMixup,
    Mixup,
)
from polytask.regularization.objective import (
    L1,
    MCP,
    SCAD,
    SRIP,
    Fused,
    InputGradient,
    JointFeatures,
    JointFeaturesMax,
    MaxNorm,
    MeanRegularised,
    Orthogonality,
    Spectral,
    StartPoint,
    TaskCovariance,
)
from polytask.regularization.outputs import Distillation, TeacherOutputs
from polytask.regularization.update import ASAM, SAM, GradientNoise, Lookahead, TaskSAM
from polytask.regularization.weights import EMA, SWA
from polytask.tasks import group_tasks
from polytask.training import Callback, Defence, NoStopping, RandomScope, Regret
from polytask.training.combinations import REFUSALS
from polytask.training.task_stopping import AllTasks, Distil, FreezeHead

ROWS = 120


def table(seed: int = 0, confidence: float = 0.0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(ROWS, 6)).astype(np.float32)
    truth = x @ generator.normal(size=6)
    a = truth + 0.5 * generator.normal(size=ROWS)
    b = truth + 0.5 * generator.normal(size=ROWS)
    c = (truth > 0).astype(float)
    for values in (a, b, c):
        values[generator.random(ROWS) < 0.1] = np.nan
    sure = Binary("c", confidence_penalty=confidence)
    tasks = [Regression("a").fit(a), Regression("b").fit(b), sure.fit(c)]
    groups = group_tasks(tasks)
    columns = {"a": a, "b": b, "c": c}
    targets, masks = {}, {}
    for group in groups:
        encoded = [task.encode(columns[task.name]) for task in group.tasks]
        targets[group.name] = torch.stack([e[0] for e in encoded], 1)
        masks[group.name] = torch.stack([e[1] for e in encoded], 1)
    return tasks, groups, Batch(torch.from_numpy(x), targets, masks, None, torch.arange(ROWS))


def part(batch: Batch, rows: slice) -> Batch:
    return Batch(
        batch.inputs[rows],
        {name: value[rows] for name, value in batch.targets.items()},
        {name: value[rows] for name, value in batch.masks.items()},
        None,
        torch.arange(len(batch.rows[rows])),
    )


def teacher(groups, rows: int) -> TeacherOutputs:
    outputs = TeacherOutputs.empty(groups, rows, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    made = {g.name: torch.randn(rows, len(g.tasks), g.outputs, generator=generator) for g in groups}
    outputs.fill(made, torch.arange(rows), ["a", "c"])
    return outputs


def make(checkpoint=None, *, callbacks=(), batch_norm=True, members=False, gates=None, layers=None,
         masks=None, **options):  # fmt: skip
    tasks, groups, whole = table(confidence=options.pop("confidence", 0.0))
    with RandomScope(3):
        backbone = (
            TabM(6, width=8, depth=2, members=3, dropout=0.2, gates=gates)
            if members
            else MLP(6, width=12, depth=2, dropout=0.2,
                     normalization="batch" if batch_norm else "none", gates=gates,
                     **(layers or {}))
        )  # fmt: skip
        model = MultiTaskModel.hard(backbone, tasks, **(masks or {}))
    train = ResidentBatches(part(whole, slice(0, 80)), batch_size=32, seed=1)
    valid = ResidentBatches(part(whole, slice(80, ROWS)), batch_size=64)
    options.setdefault("optimizer", OptimizerSpec(learning_rate=1e-2, weight_decay=0.0))
    options.setdefault("stopping", Regret(patience=50))
    options.setdefault("epochs", 4)
    if options.pop("taught", False):
        options["defence"] = Defence(
            distillation=Distillation(weight=0.5, temperature=2.0, annealed=True),
            teacher=teacher(groups, 80),
        )
    trainer = Trainer(
        model, tasks, seed=5, checkpoint=checkpoint, checkpoint_seconds=0.0,
        callbacks=callbacks, **options,
    )  # fmt: skip
    return trainer, train, valid


LONG_ENSEMBLE = {
    "members": True,
    "epochs": 12,
    "optimizer": OptimizerSpec(learning_rate=5e-2, weight_decay=0.0),
}
"""A run in which tasks settle at different times, and some go on."""

TECHNIQUES = {
    "nothing": dict,
    "l1 (prox)": lambda: {"penalties": [L1(1e-2)]},
    "mcp": lambda: {"penalties": [MCP(1e-2)]},
    "scad": lambda: {"penalties": [SCAD(1e-2)]},
    "joint features": lambda: {"penalties": [JointFeatures(1e-2)]},
    "joint features max": lambda: {"penalties": [JointFeaturesMax(1e-2)]},
    "start point": lambda: {"penalties": [StartPoint(0.1)]},
    "orthogonality": lambda: {"penalties": [Orthogonality(0.1)]},
    "srip": lambda: {"penalties": [SRIP(0.1)]},
    "spectral": lambda: {"penalties": [Spectral(0.1)]},
    "max-norm": lambda: {"penalties": [MaxNorm(0.3)]},
    "mean-regularised": lambda: {"penalties": [MeanRegularised(0.1)]},
    "task covariance": lambda: {"penalties": [TaskCovariance(1e-2, every=2)]},
    "fused": lambda: {"penalties": [Fused(1e-2, ["a", "c", "b"])]},
    "input gradient": lambda: {"penalties": [InputGradient(0.1)]},
    "mixup": lambda: {"defence": Defence(inputs=(Mixup(0.4),))},
    "c-mixup": lambda: {"defence": Defence(inputs=(CMixup(2.0, groups=("a",)),))},
    "manifold mixup": lambda: {"defence": Defence(inputs=(ManifoldMixup(layers=2),))},
    "manifold mixup, ensemble, accumulated, sam, noise": lambda: {
        "members": True,
        "accumulate": 2,
        "defence": Defence(inputs=(ManifoldMixup(layers=2), InputNoise(0.1)), sam=SAM(0.05)),
    },
    "manifold mixup, combined gradients": lambda: {
        "defence": Defence(inputs=(ManifoldMixup(layers=2),)),
        "balance": UPGrad(),
    },
    "cutmix": lambda: {"defence": Defence(inputs=(CutMix(0.5),))},
    "cutout": lambda: {"defence": Defence(inputs=(Cutout(0.5, 0.3),))},
    "cutout of mixed rows, ensemble": lambda: {
        "members": True,
        "defence": Defence(inputs=(Mixup(0.4), Cutout(0.5, 0.3)), sam=SAM(0.05)),
    },
    "input noise, feature dropout": lambda: {
        "defence": Defence(inputs=(InputNoise(0.1), FeatureDropout(0.2)))
    },
    "adversarial": lambda: {"defence": Defence(adversarial=Adversarial(0.1))},
    "adversarial, mixup, sam, ensemble": lambda: {
        "members": True,
        "defence": Defence(inputs=(Mixup(0.2),), adversarial=Adversarial(0.1), sam=SAM(0.05)),
    },
    "concrete dropout": lambda: {"layers": {"concrete_rows": 80}},
    "concrete dropout, mixup, sam, ema": lambda: {
        "layers": {"concrete_rows": 80},
        "defence": Defence(inputs=(Mixup(0.2),), sam=SAM(0.05), averaging=EMA(0.9)),
    },
    "concrete dropout, combined gradients, accumulated": lambda: {
        "layers": {"concrete_rows": 80},
        "balance": UPGrad(),
        "accumulate": 2,
    },
    "drop connect": lambda: {"layers": {"drop_connect": 0.2}},
    "drop connect, penalties, sam, schedule": lambda: {
        "layers": {"drop_connect": 0.2},
        "penalties": [L1(1e-3), Spectral(0.01)],
        "defence": Defence(sam=SAM(0.05), dropout=flat_cosine()),
    },
    "drop connect, combined gradients": lambda: {
        "layers": {"drop_connect": 0.2},
        "balance": UPGrad(),
    },
    "multi-sample dropout": lambda: {"masks": {"head_dropout": 0.3, "dropout_samples": 4}},
    "multi-sample dropout, ensemble, mixup, sam": lambda: {
        "members": True,
        "masks": {"head_dropout": 0.3, "dropout_samples": 4},
        "defence": Defence(inputs=(Mixup(0.2),), sam=SAM(0.05)),
    },
    "multi-sample dropout, combined gradients": lambda: {
        "masks": {"head_dropout": 0.3, "dropout_samples": 4},
        "balance": UPGrad(),
    },
    "sam": lambda: {"defence": Defence(sam=SAM(0.1))},
    "asam": lambda: {"defence": Defence(sam=ASAM(0.5))},
    "task sam": lambda: {"balance": UPGrad(), "defence": Defence(task_sam=TaskSAM(0.1))},
    "task sam, mixup, freeze-head": lambda: {
        "balance": MoCo(),
        "defence": Defence(inputs=(Mixup(0.2),), task_sam=TaskSAM(0.1), averaging=EMA(0.9)),
        "stopping": FreezeHead(patience=2),
        "epochs": 12,
    },
    "gradient noise": lambda: {"defence": Defence(noise=GradientNoise(0.1))},
    "lookahead": lambda: {"defence": Defence(lookahead=Lookahead(2))},
    "lookahead, max-norm, ema": lambda: {
        "penalties": [MaxNorm(0.3)],
        "defence": Defence(lookahead=Lookahead(2, 0.8), averaging=EMA(0.9)),
    },
    "ema": lambda: {"defence": Defence(averaging=EMA(0.9))},
    "swa": lambda: {"defence": Defence(averaging=SWA(0.5)), "stopping": NoStopping()},
    "dropout schedule": lambda: {"defence": Defence(dropout=flat_cosine())},
    "decay schedule": lambda: {
        "defence": Defence(decay=flat_cosine()),
        "optimizer": OptimizerSpec(learning_rate=1e-2, weight_decay=0.1),
    },
    "all tasks, per-task best": lambda: {"stopping": AllTasks(patience=1), "keep": "per-task"},
    "freeze-head": lambda: {"stopping": FreezeHead(patience=1), "epochs": 12},
    "distil": lambda: {"stopping": Distil(patience=1), "epochs": 12},
    "distillation": lambda: {"taught": True},
    "input gates": lambda: {"gates": L0Gates(0.05)},
    "input gates, sam, averages, ensemble": lambda: {
        "gates": L0Gates(0.05, columns=((0, 2),)),
        "members": True,
        "defence": Defence(sam=SAM(0.05), averaging=EMA(0.9)),
    },
    "confidence penalty": lambda: {"confidence": 0.5},
    "confidence penalty, everything else of a loss": lambda: {
        "confidence": 0.5,
        "members": True,
        "defence": Defence(inputs=(Mixup(0.2),), sam=SAM(0.05)),
    },
    "confidence penalty, distillation": lambda: {"confidence": 0.5, "taught": True},
    "many": lambda: {
        "penalties": [L1(1e-3), Orthogonality(0.01)],
        "defence": Defence(
            inputs=(Mixup(0.2), InputNoise(0.05)),
            sam=SAM(0.05),
            noise=GradientNoise(0.01),
            averaging=EMA(0.9),
            dropout=flat_cosine(),
        ),
    },
    "many, ensemble": lambda: {
        "members": True,
        "penalties": [L1(1e-3)],
        "defence": Defence(inputs=(Mixup(0.2),), sam=SAM(0.05), averaging=EMA(0.9)),
    },
    "distil, ensemble": lambda: {"stopping": Distil(patience=1), **LONG_ENSEMBLE},
    "freeze, ensemble": lambda: {"stopping": FreezeHead(patience=1), **LONG_ENSEMBLE},
}


class Death(RuntimeError):
    """Ends a run between two updates."""


class DiesAfter(Callback):
    def __init__(self, updates: int) -> None:
        self.left = updates

    def step(self, view) -> None:
        self.left -= 1
        if self.left < 0:
            raise Death


def outcome(trainer: Trainer) -> tuple:
    history = trainer.history.to_json()
    for record in history["epochs"]:
        record["seconds"] = 0.0
    return history, {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_killed_run_ends_as_if_it_had_not_been(name, tmp_path):
    whole, train, valid = make(**TECHNIQUES[name]())
    whole.fit(train, valid)
    path = tmp_path / "checkpoint.safetensors"
    for updates in (4, 3):
        resume = path.exists()
        dying, train, valid = make(path, callbacks=[DiesAfter(updates)], **TECHNIQUES[name]())
        with pytest.raises(Death):
            dying.fit(train, valid, resume=resume)
    rest, train, valid = make(path, **TECHNIQUES[name]())
    rest.fit(train, valid, resume=True)
    (history, weights), (found, resumed) = outcome(whole), outcome(rest)
    assert found == history
    for key, value in weights.items():
        assert torch.equal(resumed[key], value), key


@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name != "nothing"])
def test_every_technique_changes_the_run(name):
    options = TECHNIQUES[name]()
    plain = {k: v for k, v in options.items() if k in ("epochs", "members", "optimizer")}
    with_it, train, valid = make(**options)
    with_it.fit(train, valid)
    without, train, valid = make(**plain)
    without.fit(train, valid)
    if name == "all tasks, per-task best":
        assert set(with_it.task_weights) == {"a", "b", "c"}
        return
    changed = dict(with_it.model.named_parameters())
    assert any(not torch.equal(changed[n], p) for n, p in without.model.named_parameters())


def test_l1_makes_exact_zeros_and_is_reported_apart_from_the_losses():
    trainer, train, valid = make(penalties=[L1(0.005)], epochs=30, batch_norm=False)
    history = trainer.fit(train, valid)
    weight = trainer.model.get_parameter("backbone.layers.0.weight")
    assert (weight == 0).float().mean() > 0.3
    values = [record.penalties for record in history.epochs]
    assert all(list(value) == ["L1"] and value["L1"] > 0 for value in values)
    kept = sum(
        float(p.detach().abs().sum())
        for n, p in trainer.model.named_parameters()
        if n.endswith("weight")
    )
    assert history.best_epoch == 30
    assert values[-1]["L1"] == pytest.approx(0.005 * kept, rel=1e-5)


def test_batch_norm_statistics_move_once_with_sam():
    with_sam, train, _ = make(defence=Defence(sam=SAM(0.1)), epochs=1)
    with_sam.fit(train)
    counts = [b for n, b in with_sam.model.named_buffers() if n.endswith("num_batches_tracked")]
    assert counts
    assert all(int(count) == 3 for count in counts)


def test_a_frozen_head_stays_where_it_was_while_the_others_move():
    heads = {}

    class Watch(Callback):
        def epoch(self, view):
            stack = trainer.model.heads.stacks[0]
            for position, task in enumerate(("a", "b")):
                heads.setdefault(task, []).append(
                    (view.record.epoch, stack.weight.detach()[position].clone())
                )

    trainer, train, valid = make(
        stopping=FreezeHead(patience=2), epochs=40, callbacks=[Watch()], batch_norm=False,
        optimizer=OptimizerSpec(learning_rate=1e-2, weight_decay=0.1),
        penalties=[MeanRegularised(0.1)],
    )  # fmt: skip
    history = trainer.fit(train, valid)
    settled = {task: epoch for task, epoch in history.settled.items() if task in heads}
    assert settled, "no regression task settled before the end: the test shows nothing"
    for task, epoch in settled.items():
        at = [weight for e, weight in heads[task] if e >= epoch]
        if len(at) > 1:
            assert all(torch.equal(at[0], later) for later in at[1:])
        assert not torch.equal(heads[task][0][1], at[0])


def test_a_step_back_moves_no_frozen_head():
    heads = []

    class Watch(Callback):
        def step(self, view):
            if trainer.history.settled:
                heads.append(trainer.model.heads.stacks[0].weight.detach()[0].clone())

    trainer, train, valid = make(
        stopping=FreezeHead(patience=3), epochs=40, callbacks=[Watch()], batch_norm=False,
        optimizer=OptimizerSpec(learning_rate=2e-2, weight_decay=0.1),
        defence=Defence(lookahead=Lookahead(5)),
    )  # fmt: skip
    history = trainer.fit(train, valid)
    assert "a" in history.settled
    assert 3 * history.settled["a"] % 5  # frozen away from the slow weights
    since = 3 * (history.settled["a"] - min(history.settled.values()))  # three updates an epoch
    assert len(heads) - since >= 6
    assert all(torch.equal(heads[since], later) for later in heads[since:])


def test_adversarial_rows_follow_a_teacher_too():
    """Its outputs for the row as it is are what the moved row should give."""
    found = []
    for weight in (0.0, 1.0):
        for adversarial in (None, Adversarial(0.1)):
            defence = Defence(
                distillation=Distillation(weight=weight, temperature=1.0),
                teacher=teacher(table()[1], 80),
                adversarial=adversarial,
            )
            trainer, train, _ = make(defence=defence, epochs=1)
            trainer.fit(train)
            found.append(trainer.model.get_parameter("backbone.layers.0.weight").detach().clone())
    pairs = [(0, 1), (2, 3), (1, 3)]  # moved rows count under labels, under a teacher, and differ
    assert all(not torch.allclose(found[i], found[j], atol=1e-5) for i, j in pairs)


def test_a_settled_task_is_taught_by_its_own_best_weights():
    trainer, train, valid = make(stopping=Distil(patience=2), epochs=60, batch_norm=False)
    history = trainer.fit(train, valid)
    assert history.settled
    for task, epoch in history.settled.items():
        index = history.tasks.index(task)
        assert epoch - history.best_epochs[index] <= epoch


def test_the_averaged_weights_are_measured_and_kept():
    trainer, train, valid = make(
        defence=Defence(averaging=EMA(0.99, warmup=False)), epochs=3, stopping=NoStopping(),
        batch_norm=False,
    )  # fmt: skip
    history = trainer.fit(train, valid)
    from polytask.training.measure import means, measure, user_order

    groups = trainer.model.groups
    found = means(measure(trainer.model, valid.epoch(), groups), user_order(groups))
    assert found == history.epochs[-1].valid
    raw, train, valid = make(epochs=3, stopping=NoStopping(), batch_norm=False)
    assert raw.fit(train, valid).epochs[-1].valid != history.epochs[-1].valid


def test_swa_measures_batch_statistics_anew():
    trainer, train, valid = make(defence=Defence(averaging=SWA(0.5)), stopping=NoStopping())
    trainer.fit(train, valid)
    norm = trainer.model.backbone.layers[1].norm
    first = trainer.model.backbone.layers[0]
    inputs = torch.cat([batch.inputs for batch in train.epoch()])
    expected = first(trainer.model.backbone.input(inputs)).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)


COMBINATIONS = {
    "mixup, C-Mixup, cutmix or manifold mixup × another of them": lambda: {
        "defence": Defence(inputs=(Mixup(0.2), CutMix(0.5)))
    },
    "mixup, C-Mixup, cutmix or manifold mixup × distillation": lambda: {
        "defence": Defence(
            inputs=(Mixup(0.2),),
            distillation=Distillation(),
            teacher=teacher(table()[1], 80),
        )
    },
    "mixup, C-Mixup, cutmix or manifold mixup × the stopping rule distil": lambda: {
        "defence": Defence(inputs=(Mixup(0.2),)),
        "stopping": Distil(),
    },
    "Manifold mixup × the input-gradient penalty": lambda: {
        "defence": Defence(inputs=(ManifoldMixup(layers=1),)),
        "penalties": [InputGradient(0.1)],
    },
    "Distillation from a teacher × the stopping rule distil": lambda: {
        "taught": True,
        "stopping": Distil(),
    },
    "Lookahead × a penalty that makes exact zeros or equal weights": lambda: {
        "penalties": [MaxNorm(0.3), L1(1e-3)],
        "defence": Defence(lookahead=Lookahead()),
    },
    "SWA × early stopping": lambda: {"defence": Defence(averaging=SWA())},
    "The input-gradient penalty × a method that combines the gradients of the tasks": lambda: {
        "balance": UPGrad(),
        "penalties": [InputGradient(0.1)],
    },
    "Adversarial training × a method that combines the gradients of the tasks": lambda: {
        "balance": UPGrad(),
        "defence": Defence(adversarial=Adversarial()),
    },
    "Adversarial training × the input-gradient penalty": lambda: {
        "penalties": [InputGradient(0.1)],
        "defence": Defence(adversarial=Adversarial()),
    },
    "Task SAM × a method that weighs losses": lambda: {"defence": Defence(task_sam=TaskSAM())},
    "Task SAM × SAM or ASAM": lambda: {
        "balance": UPGrad(),
        "defence": Defence(task_sam=TaskSAM(), sam=ASAM()),
    },
    'Task SAM × `at` = "representation"': lambda: {
        "balance": UPGrad(),
        "at": "representation",
        "defence": Defence(task_sam=TaskSAM()),
    },
    "Task SAM × `accumulate` above 1": lambda: {
        "balance": UPGrad(),
        "accumulate": 2,
        "defence": Defence(task_sam=TaskSAM()),
    },
    '`accumulate` above 1 × `at` = "representation"': lambda: {
        "balance": UPGrad(),
        "at": "representation",
        "accumulate": 2,
    },
    '`at` = "representation" or `heads` = "weighted" × a method that weighs losses': lambda: {
        "heads": "weighted"
    },
    'keep = "per-task" × a run without a stopping rule': lambda: {
        "keep": "per-task",
        "stopping": NoStopping(),
    },
}


@pytest.mark.parametrize("pair", COMBINATIONS)
def test_refused_combinations(pair):
    one, _, other = pair.partition(" × ")
    with pytest.raises(Unsupported) as error:
        make(**COMBINATIONS[pair]())
    assert str(error.value).startswith(f"{one} cannot be combined with {other}: ")


@pytest.mark.parametrize("task_sam", [None, TaskSAM(0.05)])
def test_the_price_of_frozen_gates_has_no_gradient(task_sam):
    trainer, train, _ = make(
        balance=UPGrad(), gates=L0Gates(0.05), defence=Defence(task_sam=task_sam), epochs=1
    )
    gates = trainer.model.backbone.input.gates.requires_grad_(False)
    before = [parameter.clone() for parameter in gates.parameters()]
    trainer.fit(train)
    assert before
    assert all(map(torch.equal, before, gates.parameters()))


@pytest.mark.parametrize("layers", [3, 1])
def test_layers_that_are_not_handed_out_are_refused(layers):
    options = {"layers": {"skip": True}} if layers == 1 else {}
    trainer, train, _ = make(defence=Defence(inputs=(ManifoldMixup(layers=layers),)), **options)
    with pytest.raises(Unsupported, match="ManifoldMixup mixes up to hidden layer"):
        trainer.fit(train)


def test_every_refusal_has_a_test():
    named = {f"{refusal.one} × {refusal.other}" for refusal in REFUSALS}
    assert named == set(COMBINATIONS)


def test_a_loss_is_no_penalty():
    with pytest.raises(InvalidArgument, match="compares predictions with targets"):
        make(penalties=[torch.nn.L1Loss()])


@pytest.mark.parametrize("rule", [FreezeHead, Distil])
def test_rules_that_follow_tasks_need_validation_rows(rule):
    trainer, train, _ = make(stopping=rule())
    with pytest.raises(InvalidArgument, match="must have validation rows to watch"):
        trainer.fit(train)


def test_a_non_finite_gradient_changes_nothing_under_sam():
    _, _, whole = table()
    trainer, _, _ = make(defence=Defence(sam=SAM(0.1)), epochs=1)
    broken = part(whole, slice(0, 80))
    broken.inputs[0, 0] = math.nan
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    batches = ResidentBatches(broken, batch_size=80)
    history = trainer.fit(batches)
    assert history.epochs[0].skipped == 1
    for parameter, value in zip(trainer.model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
