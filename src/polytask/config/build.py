"""From a typed run to the objects that the engine trains with; every call builds fresh ones."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polytask._checks import unknown
from polytask.errors import InvalidArgument

from .catalogue import construct, find, resolve
from .run import (
    InputsConfig,
    ModelConfig,
    OptimizerConfig,
    PenaltyConfig,
    RunConfig,
    ScheduleConfig,
    TargetConfig,
    TrainingConfig,
)

if TYPE_CHECKING:
    from torch import Tensor

    from polytask.backbones import Backbone
    from polytask.optim import OptimizerSpec, Plateau, Schedule
    from polytask.regularization.inputs import InputRegularizer
    from polytask.regularization.objective import InputGradient, Penalty
    from polytask.tasks import TaskGroup, TaskSpec
    from polytask.training import Defence, Stopping


EMBEDDING = 16
"""Width of a numeric column's embedding…"""

INPUT_WIDTH = 1024
"""…and of all of them together, which narrows them where there are many columns."""


GATE_RATE = 10.0
"""Factor on the learning rate of gates, which have a long way to go in a run of a table."""


def build_backbone(
    config: ModelConfig,
    numeric: int,
    cardinalities: Sequence[int],
    rows: "Tensor | None" = None,
    number: int = 1,
    blocks: Sequence[Sequence[int]] = (),
) -> "Backbone":
    """The backbone for a table.

    Args:
        config: ``[model]``.
        numeric: Width of the encoded numeric input.
        cardinalities: Levels of each column that becomes an embedding.
        rows: Encoded numeric inputs of the training rows, for bins of an embedding.
        number: Of training rows, for learned dropout.
        blocks: Numeric inputs that encode one column of the table together.
    """
    make = resolve("backbone", config.backbone, option="model.backbone")
    arguments: dict[str, Any] = {
        "width": config.width,
        "depth": config.depth,
        "dropout": config.dropout,
        "activation": config.activation,
    }
    if config.gates:
        from polytask.backbones import L0Gates

        columns = tuple(tuple(block) for block in blocks)
        arguments["gates"] = L0Gates(config.gates, columns=columns)
    if config.backbone == "tabm":
        arguments["members"] = config.members
        if config.embedding == "piecewise-linear" and rows is not None and numeric:
            from polytask.backbones import piecewise_bins

            arguments["bins"] = piecewise_bins(rows, config.bins)
            arguments["embedding"] = max(1, min(EMBEDDING, INPUT_WIDTH // numeric))
    else:
        arguments["normalization"] = config.normalization
        if config.concrete_dropout:
            arguments |= {"concrete_rows": number, "length_scale": config.concrete_length_scale}
        if config.drop_connect:
            arguments["drop_connect"] = config.drop_connect
    if config.backbone == "mlp" and config.skip:
        arguments["skip"] = True
    if config.backbone == "residual-mlp" and config.drop_path:
        arguments["drop_path"] = config.drop_path
    backbone: Backbone = make(numeric, cardinalities, **arguments)
    return backbone


def build_optimizer_spec(config: OptimizerConfig, *, gated: bool = False) -> "OptimizerSpec":
    """The optimizer as a value; the gradient clipping of ``[optimizer]`` belongs to the trainer.

    Args:
        config: ``[optimizer]``.
        gated: Whether the model has gates: they have `GATE_RATE`, if nothing else is said.
    """
    from polytask.optim import OptimizerSpec

    return OptimizerSpec(
        name=config.name,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        nesterov=config.nesterov,
        betas=config.betas,
        rates={**({"role:gate": GATE_RATE} if gated else {}), **config.rates},
    )


def build_schedule(config: ScheduleConfig) -> "Schedule":
    """The factor on the learning rate over the run; for plateau, its warm-up alone.

    Example:
        >>> build_schedule(ScheduleConfig(name="cosine", warmup=0.1))(0.05) < 0.5
        True
    """
    from polytask.optim import constant, warmed_up

    if config.name == "plateau":
        return warmed_up(constant(), config.warmup)
    return warmed_up(resolve("schedule", config.name)(), config.warmup)


def build_plateau(config: ScheduleConfig) -> "Plateau | None":
    """The factor that falls when the validation score stalls; None for other schedules."""
    from polytask.optim import Plateau

    if config.name != "plateau":
        return None
    return Plateau(factor=config.factor, patience=config.patience)


def build_stopping(config: TrainingConfig) -> "Stopping":
    """The stopping rule.

    Example:
        >>> build_stopping(TrainingConfig(patience=4)).patience
        4
    """
    rule = resolve("stopping", config.stopping, option="training.stopping")
    built: Stopping = rule() if config.stopping == "none" else rule(patience=config.patience)
    return built


def build_penalties(entries: Sequence[PenaltyConfig]) -> "list[Penalty | InputGradient]":
    """The penalties of a run.

    Args:
        entries: ``[[penalties]]``.

    Raises:
        UnknownName: For a penalty, or an option of one, that does not exist.
        InvalidArgument: For a value that the penalty refuses, or a selection it does not have.

    Example:
        >>> [penalty] = build_penalties([PenaltyConfig(name="l1", strength=0.1, names="heads.*")])
        >>> penalty.strength, penalty.selector.names
        (0.1, 'heads.*')
    """
    return [_penalty(entry) for entry in entries]


def _penalty(entry: PenaltyConfig) -> "Penalty | InputGradient":
    from dataclasses import replace

    from polytask.optim import Role
    from polytask.regularization.objective import InputGradient

    method = resolve("penalty", entry.name, option="penalties.name")
    parameters = inspect.signature(method).parameters
    valid = [name for name in parameters if name not in ("strength", "selector")]
    option = f"penalties.{entry.name}.options"
    for name in entry.options:
        if name not in valid:
            if valid:
                raise unknown(option, name, valid)
            raise InvalidArgument(
                f"`{option}.{name}` does not exist: there are none. Leave it out."
            )
    arguments = dict(entry.options)
    if "edges" in arguments:
        arguments["edges"] = _edges(option, arguments["edges"])
    lacking = [
        name
        for name in valid
        if parameters[name].default is inspect.Parameter.empty
        and name not in arguments
        and name != "limit"
    ]
    if lacking:
        raise InvalidArgument(
            f"`{option}.{lacking[0]}` must be given: the penalty has no default for it."
        )
    first = "strength" if "strength" in parameters else "limit"
    if first == "limit" and "limit" in entry.options:
        raise InvalidArgument(f"`{option}.limit` is the strength of {entry.name!r}; give it there.")
    chosen = [key for key in ("roles", "names", "group") if key in entry.model_fields_set]
    if chosen and "selector" not in parameters:
        raise InvalidArgument(
            f"`penalties.{entry.name}.{chosen[0]}` has no effect here: the penalty does not act on "
            "weights. Leave it out."
        )
    arguments[first] = entry.strength
    built: Penalty | InputGradient = construct(
        method, arguments, option=option, name=entry.name, options=entry.options
    )
    if not chosen or isinstance(built, InputGradient):
        return built
    own = built.selector
    selector = replace(
        own,
        roles=frozenset(Role(role) for role in entry.roles) if entry.roles else own.roles,
        names=entry.names,
        group=entry.group or own.group,
    )
    selected: Penalty = method(selector=selector, **arguments)
    return selected


def _edges(option: str, edges: object) -> dict[tuple[str, str], float]:
    """``[["age", "sex", 1.0], …]`` as pairs of tasks and weights."""
    pairs: dict[tuple[str, str], float] = {}
    for edge in edges if isinstance(edges, list | tuple) else [edges]:
        if not (
            isinstance(edge, list | tuple)
            and len(edge) == 3
            and isinstance(edge[0], str)
            and isinstance(edge[1], str)
            and isinstance(edge[2], int | float)
        ):
            raise InvalidArgument(
                f"`{option}.edges` must be a list of [task, task, weight]; got {edges!r}."
            )
        pairs[edge[0], edge[1]] = float(edge[2])
    return pairs


def build_inputs(
    config: InputsConfig,
    groups: "Sequence[TaskGroup]",
    layers: int = 1,
    blocks: Sequence[Sequence[int]] = (),
) -> "list[InputRegularizer]":
    """What is done to the rows of training batches, in the order in which it is done.

    Args:
        config: ``[inputs]``.
        groups: Task groups; C-Mixup looks at the targets of the regression tasks.
        layers: Hidden layers of the backbone, for manifold mixup.
        blocks: Numeric inputs that encode one column of the table together.
    """
    from polytask.regularization.inputs import (
        CMixup,
        CutMix,
        Cutout,
        FeatureDropout,
        InputNoise,
        ManifoldMixup,
        Mixup,
    )

    built: list[InputRegularizer] = []
    if config.mixup:
        built.append(Mixup(config.mixup))
    if config.c_mixup:
        numbers = tuple(g.name for g in groups if g.tasks[0].spec.kind == "regression")
        if not numbers:
            raise InvalidArgument(
                "`inputs.c_mixup` needs a regression target, whose distances choose the partners; "
                "there is none. Use inputs.mixup."
            )
        built.append(CMixup(config.c_mixup, config.c_mixup_bandwidth, groups=numbers))
    if config.manifold_mixup:
        built.append(ManifoldMixup(config.manifold_mixup, layers=layers))
    if config.cutmix:
        built.append(CutMix(config.cutmix, blocks))
    if config.noise:
        built.append(InputNoise(config.noise))
    if config.cutout:
        built.append(Cutout(config.cutout, config.cutout_share, blocks))
    if config.feature_dropout:
        built.append(FeatureDropout(config.feature_dropout))
    return built


def build_defence(
    run: RunConfig, groups: "Sequence[TaskGroup]", blocks: Sequence[Sequence[int]] = ()
) -> "Defence":
    """Everything against overfitting besides penalties, stopping and the model's own layers.

    Args:
        run: Decided (`decide`).
        groups: Task groups.
        blocks: Numeric inputs that encode one column of the table together.

    Example:
        >>> run = RunConfig(targets=({"name": "y"},), update={"sam": 0.05})
        >>> build_defence(run, []).sam.rho
        0.05
    """
    from polytask.optim import flat_cosine
    from polytask.regularization.inputs import Adversarial
    from polytask.regularization.outputs import Distillation
    from polytask.regularization.update import ASAM, SAM, GradientNoise, Lookahead, TaskSAM
    from polytask.training import Defence

    update, averaging, distillation = run.update, run.averaging, run.distillation
    inputs = run.inputs
    average = None
    if averaging.name == "ema":
        average = resolve("averaging", "ema")(averaging.decay)
    elif averaging.name == "swa":
        average = resolve("averaging", "swa")(averaging.start)
    return Defence(
        inputs=tuple(build_inputs(inputs, groups, _hidden_layers(run.model), blocks)),
        adversarial=Adversarial(inputs.adversarial, inputs.adversarial_share)
        if inputs.adversarial
        else None,
        sam=SAM(update.sam) if update.sam else ASAM(update.asam) if update.asam else None,
        task_sam=TaskSAM(update.task_sam) if update.task_sam else None,
        noise=GradientNoise(update.noise, update.noise_decay) if update.noise else None,
        lookahead=Lookahead(update.lookahead, update.lookahead_share) if update.lookahead else None,
        averaging=average,
        dropout=flat_cosine() if run.model.dropout_schedule == "flat-cosine" else None,
        decay=flat_cosine() if run.optimizer.decay_schedule == "flat-cosine" else None,
        distillation=Distillation(
            distillation.weight, distillation.temperature, distillation.annealed
        )
        if distillation.teacher != "none"
        else None,
    )


def _hidden_layers(config: ModelConfig) -> int:
    """Where rows may be mixed: after every layer; of residual blocks also before the first."""
    return config.depth + (config.backbone == "residual-mlp")


def target_spec(
    config: TargetConfig,
    kind: str,
    *,
    name: str | None = None,
    columns: Sequence[str] | None = None,
    center: float | None = None,
    scale: float | None = None,
    classes: Sequence[Any] | None = None,
) -> "TaskSpec":
    """The specification of one task.

    Args:
        config: One ``[[targets]]`` entry.
        kind: Its kind; the inferred one where the entry says ``auto``.
        name: Name of the task, where it is not the target's (long tables: one task per level).
        columns: Columns of the task, where they are not the target's.
        center: Shared centre of a regression target.
        scale: Shared scale of a regression target.
        classes: Shared classes.

    Raises:
        InvalidArgument: If an option of the entry does not apply to the kind.

    Example:
        >>> target_spec(TargetConfig(name="age", loss="huber"), "regression").loss
        'huber'
    """
    from polytask.tasks import build_spec

    if config.kind not in ("auto", kind):
        raise InvalidArgument(
            f"Target {config.name!r} is declared {config.kind} and was asked to be {kind}."
        )
    find("task", kind, option=f"kind of target {config.name!r}")
    return build_spec(
        kind,
        config.name if name is None else name,
        columns=config.columns if columns is None else tuple(columns),
        weight=config.weight,
        loss=config.loss,
        delta=config.delta,
        center=center,
        scale=scale,
        class_weight=config.class_weight,
        label_smoothing=config.label_smoothing,
        confidence_penalty=config.confidence_penalty,
        positive=config.positive,
        classes=classes,
    )
