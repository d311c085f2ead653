"""Options that contradict each other are refused; nothing that the user asked for is ignored."""

from collections.abc import Callable
from typing import NamedTuple

from polytask._checks import require
from polytask.errors import InvalidArgument

from .auto import decide
from .catalogue import find
from .method import Method
from .run import RunConfig, Section, TargetConfig


class Condition(NamedTuple):
    """An option that has a meaning only together with another one."""

    section: str
    key: str
    applies: Callable[[RunConfig], bool]
    needs: str
    """The option that gives it a meaning, as it is typed."""


PREFERRING = ("upgrad", "dualproj", "aligned-mtl", "config", "plain-smooth-tchebycheff")
"""Balancing methods that take a preference."""

HELD_OUT = ("performance",)
"""Balancing methods that measure something on training rows set aside for them."""

_COMBINES = 'a method that combines task gradients, such as balance.name="upgrad"'
_WEIGHS = 'a method that weighs task gradients, such as balance.name="upgrad"'
_PREFERRING = f"one of balance.name={', '.join(PREFERRING)}"
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
    Condition(
        "model",
        "normalization",
        lambda r: r.model.backbone != "tabm",
        'model.backbone="mlp" or "residual-mlp"',
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
    Condition("model", "skip", lambda r: r.model.backbone == "mlp", 'model.backbone="mlp"'),
    Condition(
        "model",
        "dropout_schedule",
        lambda r: r.model.dropout > 0 or r.model.head_dropout > 0 or r.model.drop_path > 0,
        "dropout above 0",
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
    Condition("update", "noise_decay", lambda r: r.update.noise > 0, "update.noise above 0"),
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
    Condition("split", "stratify", lambda r: not _fixed_order(r), "a random split"),
)


LINEAR_IGNORES = (
    "model", "optimizer", "schedule", "balance", "penalties", "inputs", "update", "averaging",
    "distillation",
)  # fmt: skip
"""Sections that say how a network is trained: the preset linear trains none."""

LINEAR_TARGET_IGNORES = {"weight": 1.0, "confidence_penalty": 0.0}
"""Options of a target that such a model has no use for, with the value that says nothing."""


def check_run(run: RunConfig, *, explicit: bool = False, valid_file: bool = False) -> None:
    """Refuses a run whose options contradict each other.

    Args:
        run: The run.
        explicit: An option that was named counts even if its value is the default.
        valid_file: Validation rows come in a file of their own.

    Raises:
        InvalidArgument: With the two options that do not go together.

    Example:
        >>> check_run(RunConfig(targets=({"name": "sex"},)))
    """
    if run.defence == "linear":
        _check_linear(run, explicit)
    run = decide(run)
    _check_targets(run)
    balance = run.balance
    if balance.weights and balance.schedule:
        raise InvalidArgument(
            "`balance.weights` and `balance.schedule` both set the task weights; keep one of them."
        )
    if run.defence != "linear":
        find("balancing", run.balance.name, option="balance")
    sections: dict[str, Section] = dict(run)
    for condition in CONDITIONS:
        section = sections[condition.section]
        default = type(section).model_fields[condition.key].get_default(call_default_factory=True)
        named = explicit and condition.key in section.model_fields_set
        differs = getattr(section, condition.key) != default
        if (named or differs) and not condition.applies(run):
            raise InvalidArgument(
                f"`{condition.section}.{condition.key}` has no effect here: it needs "
                f"{condition.needs}. Set that, or leave `{condition.key}` out."
            )
    if run.optimizer.nesterov and run.optimizer.momentum == 0:
        raise InvalidArgument(
            "`optimizer.nesterov` needs momentum, and `optimizer.momentum` is 0; change one."
        )
    for entry in run.penalties:
        find("penalty", entry.name, option="penalties.name")
    _check_balance(run)
    _check_validation(run, valid_file)
    _check_refit(run, valid_file)


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


def _fixed_order(run: RunConfig) -> bool:
    return run.data.split is not None or run.data.time is not None


def _check_targets(run: RunConfig) -> None:
    names = [target.name for target in run.targets]
    if not names:
        raise InvalidArgument(
            "No target is named. Type --target NAME, or add [[targets]] with a name to a run file."
        )
    for position, name in enumerate(names):
        require(bool(name), f"targets.{position}.name", "not be empty", name)
        if name in names[:position]:
            raise InvalidArgument(f"The target {name!r} is named twice; keep one of them.")
    for target in run.targets:
        _check_target(target)


def _check_target(target: TargetConfig) -> None:
    name = target.name
    if target.delta != 1.0 and target.loss != "huber":
        raise InvalidArgument(
            f'`delta` of target {name!r} has no effect here: it needs loss = "huber". '
            "Set that, or leave `delta` out."
        )
    if len(target.columns) > 1 and target.kind not in ("multilabel", "auto"):
        raise InvalidArgument(
            f"`columns` of target {name!r} names {len(target.columns)} columns, and a "
            f'{target.kind} target has one. Set kind = "multilabel", or name one column.'
        )
    if target.kind == "multilabel" and not target.columns:
        raise InvalidArgument(
            f"Target {name!r} is multilabel and names no columns. Type "
            f'--set \'targets.{name}.columns=["first", "second"]\', or the same in the run file.'
        )


def _check_balance(run: RunConfig) -> None:
    if run.balance.clip > 0 and run.balance.equalize != "none":
        raise InvalidArgument(
            "`balance.clip` has no effect beside `balance.equalize`, which gives all task "
            "gradients one length anyway; keep one of them."
        )
    weighted = [target.name for target in run.targets if target.weight != 1.0]
    if weighted and run.balance.name not in ("fixed", "scheduled"):
        raise InvalidArgument(
            f"`weight` of target {weighted[0]!r} has no effect here: it needs "
            'balance.name="fixed" or "scheduled". Type --balance fixed, or leave `weight` out.'
        )
    if run.balance.name == "scheduled" and not run.balance.schedule:
        raise InvalidArgument(
            "`balance.schedule` must name at least one task for scheduled weights. Type "
            f"--set 'balance.schedule={{{run.targets[0].name} = [[0, 1.0], [10, 0.5]]}}': "
            "pairs of epoch and weight."
        )
    if run.balance.name == "krum" and run.data.task_column is None:
        # Tasks of a long table are not known yet: there the method says so at its first update.
        asked = [run.balance.options.get(option) for option in ("outliers", "selected")]
        outliers, selected = (value if isinstance(value, int) else 0 for value in asked)
        needed = max(outliers + 3, selected)
        rule = f'be {needed} or more, for `balance.name` = "krum" to choose from'
        advice = 'Name more, lower its options, or take another method, such as "upgrad".'
        require(len(run.targets) >= needed, "targets", rule, len(run.targets), advice)


def _check_linear(run: RunConfig, explicit: bool) -> None:
    for section in LINEAR_IGNORES:
        value = getattr(run, section)
        default = type(run).model_fields[section].get_default()
        named = explicit and section in run.model_fields_set and bool(value) and value != ()
        if value != default or (named and not isinstance(value, tuple) and value.model_fields_set):
            raise InvalidArgument(
                f'`{section}` has no effect here: `defence` = "linear" fits a linear model, not a '
                "network. Leave it out, or choose another preset."
            )
    training = run.training.model_fields_set - {"device", "threads"}
    if training:
        raise InvalidArgument(
            f'`training.{min(training)}` has no effect here: `defence` = "linear" fits a linear '
            "model, not a network. Leave it out, or choose another preset."
        )
    for target in run.targets:
        for option, off in LINEAR_TARGET_IGNORES.items():
            if getattr(target, option) != off:
                raise InvalidArgument(
                    f"`{option}` of target {target.name!r} has no effect here: a linear model fits "
                    "every target by itself, to its loss alone. Leave it out."
                )


def _check_refit(run: RunConfig, valid_file: bool) -> None:
    training = run.training
    if not training.refit:
        return
    moving = {
        "schedule.name": run.schedule.name != "constant",
        "schedule.warmup": run.schedule.warmup > 0,
        "model.dropout_schedule": run.model.dropout_schedule != "constant",
        "optimizer.decay_schedule": run.optimizer.decay_schedule != "constant",
        "balance.schedule": bool(run.balance.schedule),
        "distillation.annealed": run.distillation.annealed,
    }
    for option, moves in moving.items():
        if moves:
            raise InvalidArgument(
                f"`training.refit` cannot be combined with `{option}`: a shorter run would follow "
                "another schedule than the one whose epoch was chosen. Leave one of them out."
            )
    if training.keep == "per-task":
        raise InvalidArgument(
            '`training.refit` cannot be combined with `training.keep` = "per-task": one run on all '
            "rows has one length. Leave one of them out."
        )
    if training.splits > 1 and (_fixed_order(run) or valid_file):
        raise InvalidArgument(
            "`training.splits` above 1 needs random splits; here the validation rows are fixed. "
            "Set it to 1."
        )


def _check_validation(run: RunConfig, valid_file: bool) -> None:
    if run.split.valid > 0 or run.data.split is not None or valid_file:
        return
    if run.training.refit:
        raise InvalidArgument(
            "`training.refit` takes its number of epochs from validation rows, and `split.valid` "
            "is 0. Set split.valid above 0, or give the rows with --valid FILE."
        )
    if run.training.stopping in ("freeze-head", "distil") or run.training.keep == "per-task":
        raise InvalidArgument(
            "Following single tasks needs validation rows, and `split.valid` is 0. Set split.valid "
            "above 0, or give the rows with --valid FILE."
        )
    if run.schedule.name == "plateau":
        raise InvalidArgument(
            "The plateau schedule watches validation rows, and `split.valid` is 0. Set split.valid "
            "above 0, or give the rows with --valid FILE."
        )
