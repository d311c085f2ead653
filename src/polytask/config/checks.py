"""Options that contradict each other are refused; nothing that the user asked for is ignored."""

from polytask._checks import require
from polytask.errors import InvalidArgument, Unsupported

from .auto import decide
from .catalogue import find
from .conditions import CONDITIONS, fixed_order
from .linear_checks import check_linear
from .run import RunConfig, Section, TargetConfig

SMALLEST_ALPHA = 0.01
"""Below it the generators of Beta numbers underflow; `polytask.regularization.inputs` agrees."""

MIXING = ("mixup", "c_mixup", "manifold_mixup", "cutmix")
"""Options of ``[inputs]`` of which a run has one."""


def check_run(run: RunConfig, *, explicit: bool = False, valid_file: bool = False) -> None:
    """Refuses a run whose options contradict each other.

    Args:
        run: The run.
        explicit: An option that was named counts even if its value is the default.
        valid_file: Validation rows come in a file of their own.

    Raises:
        InvalidArgument: With the two options that do not go together.
        Unsupported: For rows that are mixed in two ways.

    Example:
        >>> check_run(RunConfig(targets=({"name": "sex"},)))
    """
    if run.defence == "linear":
        check_linear(run, explicit)
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
    _check_mixing(run)
    _check_balance(run)
    _check_validation(run, valid_file)
    _check_refit(run, valid_file)


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


def _check_mixing(run: RunConfig) -> None:
    for option in ("mixup", "c_mixup", "manifold_mixup"):
        alpha = getattr(run.inputs, option)
        if 0 < alpha < SMALLEST_ALPHA:
            raise InvalidArgument(
                f"`inputs.{option}` must be at least {SMALLEST_ALPHA:g}, or 0 for off; got "
                f"{alpha:g}."
            )
    on = [option for option in MIXING if getattr(run.inputs, option) > 0]
    if len(on) > 1:
        raise Unsupported(
            f"`inputs.{on[0]}` cannot be combined with `inputs.{on[1]}`: a row has one partner. "
            "Keep one of them, and set the other to 0 if a preset switched it on."
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
    if training.splits > 1 and (fixed_order(run) or valid_file):
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
