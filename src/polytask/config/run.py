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
    confidence_penalty: NonNegative = 0.0
    """Classes only: strength of a term against certainty in training; 0: off, usual 0.1."""
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

    backbone: Literal["mlp", "residual-mlp", "tabm"] = "mlp"
    width: Count = 256
    depth: Count = 2
    dropout: Fraction = 0.1
    dropout_schedule: Literal["constant", "flat-cosine"] = "constant"
    """The dropout probabilities over the run."""
    head_dropout: Fraction = 0.0
    """On the features that each head reads, with a mask of its own per task."""
    dropout_samples: Count = 1
    """Head dropout only: masks per row, whose losses are averaged; usual 4 to 8."""
    drop_path: Fraction = 0.0
    """Residual MLP only: probability of dropping its last block, rising linearly with depth."""
    concrete_dropout: bool = False
    """MLPs only: probabilities after hidden activations are learned, each from `dropout` on."""
    concrete_length_scale: Positive = 0.01
    """Concrete dropout only: length-scale of the prior of the weights."""
    drop_connect: Fraction = 0.0
    """MLPs only: probability of dropping a single weight of the backbone's linear layers."""
    members: Annotated[int, Field(ge=2)] = 32
    """TabM only: networks that share their weights and learn separately."""
    gates: NonNegative = 0.0
    """Price of every input column that is read, with gates that learn which (L0); 0: off."""
    embedding: Literal["none", "piecewise-linear"] = "none"
    """TabM only: of every numeric column."""
    bins: Annotated[int, Field(ge=2)] = 48
    """Piecewise-linear embedding only: at most so many per column."""
    skip: bool = False
    """MLP only: heads read the inputs too: a linear model and a network in one."""
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
    decay_schedule: Literal["constant", "flat-cosine"] = "constant"
    """The weight decay over the run."""
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
    preference: dict[str, Positive] = Field(default_factory=dict)
    """How much each task counts, for methods that take a preference; missing names count 1."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the method."""
    at: Literal["parameters", "representation"] = "parameters"
    """Where task gradients are measured: as in the papers, or cheaply at the shared features."""
    heads: Literal["one", "weighted"] = "one"
    """Weight of what only one task reaches, where task gradients are combined."""
    every: Count = 1
    """New weights every so many updates, reused in between."""
    smoothing: Fraction = 0.0
    """Share of the past in the weights: a moving average over the updates; 0: off."""
    clip: NonNegative = 0.0
    """Largest length of one task's gradient before they are combined; 0: off."""
    equalize: Literal["none", "mean", "minimum", "one"] = "none"
    """Common length of the task gradients before they are combined."""
    gradient_memory: Annotated[int, Field(ge=1)] = 2048
    """Mebibytes for task gradients; beyond, methods are driven with more passes or refused."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows set aside for a method that measures how well each task does."""


class PenaltyConfig(Section):
    """One ``[[penalties]]`` entry: a term on the weights."""

    name: str
    strength: NonNegative
    roles: tuple[Literal["backbone", "trunk", "expert", "head"], ...] = ()
    """Which parts of the network; empty: all of them, or those that the penalty is made for."""
    names: str = ".*"
    """Regular expression on the full name of a parameter."""
    group: Literal["entry", "row", "column", "tasks", "layer"] | None = None
    """What one penalised group is; None: what the penalty is made for."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the penalty."""


class InputsConfig(Section):
    """``[inputs]``: what is done to the rows of a training batch."""

    mixup: NonNegative = 0.0
    """Alpha of the Beta distribution; 0: off, usual 0.2."""
    c_mixup: NonNegative = 0.0
    """Alpha; partners are rows with near targets. 0: off, usual 2."""
    c_mixup_bandwidth: Positive = 1.0
    """In standard deviations of the targets."""
    manifold_mixup: NonNegative = 0.0
    """Alpha; mixes a hidden layer or the inputs, drawn per batch. 0: off, usual 2."""
    cutmix: Fraction = 0.0
    """Probability per batch of copying columns from other rows."""
    cutout: Fraction = 0.0
    """Probability per batch of blanking columns of every row; 0: off, usual 0.2."""
    cutout_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of the columns that are blanked."""
    noise: NonNegative = 0.0
    """Standard deviation of normal noise on the scaled numeric inputs."""
    feature_dropout: Fraction = 0.0
    """Probability of dropping an input column."""
    adversarial: NonNegative = 0.0
    """Rows count a second time, their scaled numbers moved by this against the model; 0: off."""
    adversarial_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Part of the loss that stays with the rows as they are."""


class UpdateConfig(Section):
    """``[update]``: what is done to the gradient."""

    sam: NonNegative = 0.0
    """Radius of sharpness-aware minimisation; 0: off, usual 0.05. Doubles the cost."""
    asam: NonNegative = 0.0
    """The same in units of every weight's own size; 0: off, usual 0.5."""
    task_sam: NonNegative = 0.0
    """Radius around the weights in which every task looks for its own worst point; 0: off, usual
    0.05. Two passes per task; for methods that combine task gradients."""
    noise: NonNegative = 0.0
    """Variance of gradient noise at the first update; 0: off, usual 0.01 to 1."""
    noise_decay: NonNegative = 0.55
    """Its variance falls with (1 + updates) to the minus this."""
    lookahead: Annotated[int, Field(ge=0)] = 0
    """Every so many updates the weights step back towards where they were; 0: off, usual 5."""
    lookahead_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the way that is kept."""


class AveragingConfig(Section):
    """``[averaging]``: averaged weights are measured, kept and predicted with."""

    name: Literal["none", "ema", "swa"] = "none"
    decay: Fraction = 0.999
    """EMA only."""
    start: Fraction = 0.75
    """SWA only: fraction of the run after which the average begins."""


class DistillationConfig(Section):
    """``[distillation]``: the outputs of a teacher beside the labels."""

    teacher: Literal["none", "single-task"] = "none"
    """``single-task``: one network per task is trained first."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the teacher in the loss."""
    temperature: Positive = 2.0
    annealed: bool = False
    """The share of the labels rises from 0 to 1 over the run, whatever `weight` is."""


class TrainingConfig(Section):
    """``[training]``."""

    epochs: Count = 256
    batch_size: Annotated[int, Field(ge=0)] = 0
    """0: 256, less for small tables."""
    accumulate: Count = 1
    stopping: Literal["regret", "mean", "any", "all", "freeze-head", "distil", "none"] = "regret"
    patience: Count = 16
    keep: Literal["compromise", "per-task"] = "compromise"
    """``per-task``: every task predicts with the weights of its own best epoch."""
    refit: bool = False
    """Train once more on all rows, validation rows included, for as many epochs as were best."""
    splits: Annotated[int, Field(ge=0)] = 1
    """Refit only: random splits whose best epochs are averaged; 0: five for a table of fewer than
    2,000 rows, else one."""
    calibrate: bool = False
    """Choose the epoch by what calibration cannot mend, then fit one temperature per classification
    task on the validation rows."""
    device: str = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    """Of the CPU while training; 0: one for a small network, which more would slow down, else all
    that torch has."""
    checkpoint_seconds: NonNegative = 30.0
    """A checkpoint at the end of an epoch if the last is older than this, 0: every epoch."""


class RunConfig(Section):
    """One complete run: the command line, the run file and Python build the same value."""

    targets: tuple[TargetConfig, ...]
    defence: Literal["off", "safe", "strong", "small", "linear"] = "safe"
    """Preset against overfitting; it changes defaults, what is set explicitly wins."""
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    balance: BalanceConfig = BalanceConfig()
    penalties: tuple[PenaltyConfig, ...] = ()
    inputs: InputsConfig = InputsConfig()
    update: UpdateConfig = UpdateConfig()
    averaging: AveragingConfig = AveragingConfig()
    distillation: DistillationConfig = DistillationConfig()
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
