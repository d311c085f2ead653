"""The typed run file: everything that decides a run, in one value, written beside the model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

TargetKind = Literal["auto", "regression", "binary", "multiclass", "multilabel", "count"]
ColumnKindName = Literal[
    "numeric", "boolean", "category", "datetime", "identifier", "constant", "ignore"
]


class Section(BaseModel):
    """Base of every table of the run file: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TargetConfig(Section):
    """One ``[[targets]]`` entry."""

    name: str
    kind: TargetKind = "auto"
    columns: tuple[str, ...] = ()
    """Columns of a multilabel group; empty: the column called `name`."""
    weight: NonNegative = 1.0
    loss: Literal["squared", "absolute", "huber"] = "squared"
    """Regression only."""
    delta: Positive = 1.0
    """Huber threshold, in standard deviations of the target."""
    class_weight: Literal["none", "balanced"] = "none"
    label_smoothing: Fraction = 0.0
    positive: str | None = None
    """Binary only: the class whose probability is reported; default: the last in sort order."""


class DataConfig(Section):
    """``[data]``: what the columns are."""

    task_column: str | None = None
    """Long form: each row belongs to the task named in this column."""
    group: str | None = None
    """Rows of one group never stand on both sides of a split."""
    time: str | None = None
    """The split keeps this column's order: validation is later than training."""
    split: str | None = None
    """A column with the words train, valid and test."""
    weight: str | None = None
    id: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    kinds: dict[str, ColumnKindName] = Field(default_factory=dict)
    """Overrides of the inferred column kinds."""
    numeric_scaling: Literal["robust", "standard", "none"] = "robust"
    one_hot_up_to: Annotated[int, Field(ge=0)] = 9
    """Categories with more levels become embeddings."""
    separator: str | None = None
    encoding: str | None = None


class SplitConfig(Section):
    """``[split]``: which rows decide; used when no separate files are given."""

    valid: Fraction = 0.2
    test: Fraction = 0.0
    stratify: bool = True


class ModelConfig(Section):
    """``[model]``."""

    backbone: Literal["mlp", "residual-mlp"] = "mlp"
    width: Count = 256
    depth: Count = 2
    dropout: Fraction = 0.1
    activation: Literal["relu", "gelu", "silu", "mish", "selu", "tanh"] = "relu"
    normalization: Literal["none", "layer", "batch"] = "none"


class OptimizerConfig(Section):
    """``[optimizer]``."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 3e-4
    momentum: Fraction = 0.9
    """SGD only."""
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    rates: dict[str, NonNegative] = Field(default_factory=dict)
    """Factors on the learning rate: ``"role:head" = 2.0``, ``"task:sex" = 0.5``."""
    clip_norm: NonNegative = 1.0
    """Global gradient norm; 0 switches clipping off."""


class ScheduleConfig(Section):
    """``[schedule]``: the learning rate over the run."""

    name: Literal["constant", "cosine", "flat-cosine", "plateau"] = "constant"
    warmup: Fraction = 0.0
    """Fraction of the run with a linear rise."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Plateau only."""
    patience: Count = 5
    """Plateau only, in epochs."""


class BalanceConfig(Section):
    """``[balance]``: how the tasks share the update."""

    name: str = "auto"
    """``auto``: fixed or scheduled where weights are given, pooled for long tables, else equal."""
    weights: dict[str, NonNegative] = Field(default_factory=dict)
    """Fixed weights by task name; missing names weigh 1."""
    schedule: dict[str, list[tuple[float, NonNegative]]] = Field(default_factory=dict)
    """Scheduled weights by task name: points (epoch, weight)."""
    interpolation: Literal["step", "linear"] = "step"
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the method."""


class TrainingConfig(Section):
    """``[training]``."""

    epochs: Count = 256
    batch_size: Annotated[int, Field(ge=0)] = 0
    """0: 256, less for small tables."""
    accumulate: Count = 1
    stopping: Literal["regret", "mean", "none"] = "regret"
    patience: Count = 16
    device: str = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    """Of the CPU while training; 0: one for a small network, which more would slow down, else all
    that torch has."""
    checkpoint_seconds: NonNegative = 30.0
    """A checkpoint at the end of an epoch if the last is older than this, 0: every epoch."""


class RunConfig(Section):
    """One complete run: the command line, the run file and Python build the same value."""

    targets: tuple[TargetConfig, ...]
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    balance: BalanceConfig = BalanceConfig()
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
