"""Options that mean something only beside others."""

from collections.abc import Callable
from typing import NamedTuple

from .auto import decide
from .catalogue import find
from .method import Method
from .run import RunConfig


class Condition(NamedTuple):
    """An option that has a meaning only together with another one."""

    section: str
    key: str
    applies: Callable[[RunConfig], bool]
    needs: str
    """The option that gives it a meaning, as it is typed."""


PREFERRING = ("upgrad", "dualproj", "aligned-mtl", "config", "plain-smooth-tchebycheff")
"""Balancing methods that take a preference."""

DROPPING = ("dropout", "head_dropout", "drop_path", "drop_connect")
"""Options of the model that a dropout schedule moves."""

HELD_OUT = ("performance",)
"""Balancing methods that measure something on training rows set aside for them."""


def _moves_dropout(run: RunConfig) -> bool:
    learned = ("dropout",) if run.model.concrete_dropout else ()
    return any(getattr(run.model, key) > 0 for key in DROPPING if key not in learned)


_COMBINES = 'a method that combines task gradients, such as balance.name="upgrad"'
_WEIGHS = 'a method that weighs task gradients, such as balance.name="upgrad"'
_PREFERRING = f"one of balance.name={', '.join(PREFERRING)}"
_PERCEPTRONS = 'model.backbone="mlp" or "residual-mlp"'
_HELD_OUT = f"one of balance.name={', '.join(HELD_OUT)}"

CONDITIONS = (
    Condition("optimizer", "momentum", lambda r: r.optimizer.name == "sgd", 'optimizer.name="sgd"'),
    Condition("optimizer", "nesterov", lambda r: r.optimizer.name == "sgd", 'optimizer.name="sgd"'),
    Condition(
        "optimizer",
        "betas",
        lambda r: r.optimizer.name != "sgd",
        'optimizer.name="adam" or "adamw"',
    ),
    Condition(
        "schedule", "factor", lambda r: r.schedule.name == "plateau", 'schedule.name="plateau"'
    ),
    Condition(
        "schedule", "patience", lambda r: r.schedule.name == "plateau", 'schedule.name="plateau"'
    ),
    Condition("balance", "weights", lambda r: r.balance.name == "fixed", 'balance.name="fixed"'),
    Condition(
        "balance", "schedule", lambda r: r.balance.name == "scheduled", 'balance.name="scheduled"'
    ),
    Condition(
        "balance",
        "interpolation",
        lambda r: r.balance.name == "scheduled",
        'balance.name="scheduled"',
    ),
    *(
        Condition("balance", key, lambda r: _balance(r).combines, _COMBINES)
        for key in ("at", "heads", "gradient_memory")
    ),
    *(
        Condition("balance", key, lambda r: _balance(r).weighs, _WEIGHS)
        for key in ("every", "smoothing", "clip", "equalize")
    ),
    Condition("balance", "preference", lambda r: r.balance.name in PREFERRING, _PREFERRING),
    Condition("balance", "held_out", lambda r: r.balance.name in HELD_OUT, _HELD_OUT),
    Condition(
        "training",
        "patience",
        lambda r: r.training.stopping != "none",
        "a stopping rule (training.stopping)",
    ),
    *(
        Condition("model", key, lambda r: r.model.backbone == "tabm", 'model.backbone="tabm"')
        for key in ("members", "embedding")
    ),
    *(
        Condition("model", key, lambda r: r.model.backbone != "tabm", _PERCEPTRONS)
        for key in ("normalization", "drop_connect")
    ),
    Condition(
        "model",
        "concrete_dropout",
        lambda r: r.model.backbone != "tabm" and r.model.dropout > 0,
        f"{_PERCEPTRONS}, and model.dropout above 0",
    ),
    Condition(
        "model",
        "concrete_length_scale",
        lambda r: r.model.concrete_dropout,
        "model.concrete_dropout=true",
    ),
    Condition(
        "model",
        "bins",
        lambda r: r.model.embedding == "piecewise-linear",
        'model.embedding="piecewise-linear"',
    ),
    Condition(
        "model",
        "drop_path",
        lambda r: r.model.backbone == "residual-mlp",
        'model.backbone="residual-mlp"',
    ),
    Condition(
        "model", "dropout_samples", lambda r: r.model.head_dropout > 0, "model.head_dropout above 0"
    ),
    Condition("model", "skip", lambda r: r.model.backbone == "mlp", 'model.backbone="mlp"'),
    Condition(
        "model",
        "dropout_schedule",
        _moves_dropout,
        "dropout above 0 that is not learned",
    ),
    Condition(
        "optimizer",
        "decay_schedule",
        lambda r: r.optimizer.weight_decay > 0,
        "optimizer.weight_decay above 0",
    ),
    Condition(
        "inputs", "c_mixup_bandwidth", lambda r: r.inputs.c_mixup > 0, "inputs.c_mixup above 0"
    ),
    Condition("inputs", "cutout_share", lambda r: r.inputs.cutout > 0, "inputs.cutout above 0"),
    Condition(
        "inputs", "adversarial_share", lambda r: r.inputs.adversarial > 0, "inputs.adversarial"
    ),
    Condition("update", "asam", lambda r: r.update.sam == 0, "update.sam=0"),
    Condition("inputs", "manifold_mixup", lambda r: not r.model.skip, "model.skip=false"),
    Condition("update", "noise_decay", lambda r: r.update.noise > 0, "update.noise above 0"),
    Condition("update", "lookahead_share", lambda r: r.update.lookahead > 0, "update.lookahead"),
    Condition("averaging", "decay", lambda r: r.averaging.name == "ema", 'averaging.name="ema"'),
    Condition("averaging", "start", lambda r: r.averaging.name == "swa", 'averaging.name="swa"'),
    *(
        Condition(
            "distillation",
            key,
            lambda r: r.distillation.teacher != "none",
            'distillation.teacher="single-task"',
        )
        for key in ("weight", "temperature", "annealed")
    ),
    Condition(
        "training",
        "keep",
        lambda r: r.training.stopping != "none",
        "a stopping rule (training.stopping)",
    ),
    Condition("training", "splits", lambda r: r.training.refit, "training.refit=true"),
    Condition(
        "training",
        "refit",
        lambda r: r.training.stopping != "none",
        "a stopping rule (training.stopping)",
    ),
    Condition("split", "valid", lambda r: r.data.split is None, "no data.split column"),
    Condition("split", "test", lambda r: r.data.split is None, "no data.split column"),
    Condition("split", "stratify", lambda r: not fixed_order(r), "a random split"),
)


def applicable(run: RunConfig) -> dict[str, dict[str, bool]]:
    """Which conditional options have a meaning in this run: section → key → bool."""
    run = decide(run)
    table: dict[str, dict[str, bool]] = {}
    for condition in CONDITIONS:
        table.setdefault(condition.section, {})[condition.key] = condition.applies(run)
    return table


def _balance(run: RunConfig) -> Method:
    """The method; of a linear model, the one that is not used."""
    undecided = run.defence == "linear" or run.balance.name == "auto"
    name = "equal" if undecided else run.balance.name
    return find("balancing", name, option="balance")


def fixed_order(run: RunConfig) -> bool:
    """Whether the rows say themselves where they belong: there is no draw."""
    return run.data.split is not None or run.data.time is not None
