"""Every method by name: what it is, where it lives, what it costs. A static table, no imports."""

import importlib
from dataclasses import dataclass
from typing import Any, final

from polytask._checks import unknown


@final
@dataclass(frozen=True)
class Method:
    """One entry of the catalogue.

    Args:
        name: As it is typed.
        family: ``balancing``, ``backbone``, ``sharing``, ``optimizer``, ``schedule``,
            ``stopping``, ``task`` or ``split``.
        target: ``module:Name`` of the class or function.
        one_line: What it does, as a sentence.
        cost: What it costs besides the plain training step.
        reference: Where it comes from; empty for common knowledge.
    """

    name: str
    family: str
    target: str
    one_line: str
    cost: str = "none"
    reference: str = ""


FAMILIES = {
    "task": "kinds of targets: --target NAME:KIND",
    "balancing": "task losses to one objective: --balance NAME",
    "backbone": "features in, vector out: --set model.backbone=NAME",
    "sharing": "what the tasks share",
    "optimizer": "--set optimizer.name=NAME",
    "schedule": "the learning rate over the run: --set schedule.name=NAME",
    "stopping": "which epoch is kept: --set training.stopping=NAME",
    "penalty": "terms on the weights: --penalty NAME=STRENGTH, or [[penalties]]",
    "input": "what is done to training rows: --set inputs.NAME=STRENGTH",
    "update": "what is done to the gradient: --set update.NAME=STRENGTH",
    "averaging": "averaged weights are kept: --set averaging.name=NAME",
    "split": "which rows validate: --group, --time, --valid, --set data.split=COLUMN",
}
"""Family → how a method of it is chosen."""

_ADAMW = "Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101"

METHODS: tuple[Method, ...] = (
    Method(
        "regression",
        "task",
        "polytask.tasks:Regression",
        "A number; squared, absolute or Huber loss on the standardised target.",
    ),
    Method(
        "binary",
        "task",
        "polytask.tasks:Binary",
        "Two classes; one logit, the probability of the positive class.",
    ),
    Method(
        "multiclass",
        "task",
        "polytask.tasks:Multiclass",
        "Three or more classes that exclude each other; cross-entropy.",
    ),
    Method(
        "multilabel",
        "task",
        "polytask.tasks:Multilabel",
        "A group of yes-or-no columns; gaps inside rows are masked.",
    ),
    Method(
        "count", "task", "polytask.tasks:Count", "Counts of events; Poisson loss with log link."
    ),
    Method(
        "equal",
        "balancing",
        "polytask.balancing:EqualWeights",
        "The mean of the losses of the tasks that have labels: the default for wide tables.",
    ),
    Method(
        "fixed",
        "balancing",
        "polytask.balancing:FixedWeights",
        "Weights of your own: balance.weights, or weight of each target.",
    ),
    Method(
        "scheduled",
        "balancing",
        "polytask.balancing:ScheduledWeights",
        "Weights that move with the epochs, in steps or in straight lines: balance.schedule.",
    ),
    Method(
        "pooled",
        "balancing",
        "polytask.balancing:PooledLoss",
        "Tasks weigh by their labels in the update: the default for long tables.",
    ),
    Method(
        "mlp",
        "backbone",
        "polytask.backbones:MLP",
        "Layers of linear map, normalisation, activation, dropout: the default.",
    ),
    Method(
        "residual-mlp",
        "backbone",
        "polytask.backbones:ResidualMLP",
        "Blocks of two layers with a shortcut around each: for deeper networks.",
        "two linear maps per unit of depth",
        "Gorishniy et al., NeurIPS 2021, arXiv 2106.11959",
    ),
    Method(
        "tabm",
        "backbone",
        "polytask.backbones:TabM",
        "An ensemble of perceptrons that share weights and learn separately.",
        "up to ten plain steps",
        "Gorishniy, Kotelnikov & Babenko, ICLR 2025, arXiv 2410.24210",
    ),
    Method(
        "hard",
        "sharing",
        "polytask.sharing:HardSharing",
        "All tasks read the same features; only the heads differ.",
        reference="Caruana, Machine Learning 28, 1997",
    ),
    Method("sgd", "optimizer", "torch.optim:SGD", "Momentum and Nesterov; its decay is ridge."),
    Method(
        "adam",
        "optimizer",
        "torch.optim:Adam",
        "Adaptive steps; its decay is rescaled by them.",
        "two numbers per parameter",
        "Kingma & Ba, ICLR 2015, arXiv 1412.6980",
    ),
    Method(
        "adamw",
        "optimizer",
        "torch.optim:AdamW",
        "Adaptive steps with decoupled decay: the default.",
        "two numbers per parameter",
        _ADAMW,
    ),
    Method("constant", "schedule", "polytask.optim:constant", "The same rate all along."),
    Method(
        "cosine",
        "schedule",
        "polytask.optim:cosine",
        "Half a cosine from the full rate to 0.",
        reference="Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983",
    ),
    Method(
        "flat-cosine",
        "schedule",
        "polytask.optim:flat_cosine",
        "The full rate for half of the run, then half a cosine to 0.",
        reference="Holzmüller et al., NeurIPS 2024, arXiv 2407.04491",
    ),
    Method(
        "plateau",
        "schedule",
        "polytask.optim:Plateau",
        "The rate falls when the validation score stops improving.",
    ),
    Method(
        "regret",
        "stopping",
        "polytask.training.stopping:Regret",
        "Best compromise: mean validation loss in units of each task's baseline; the default.",
    ),
    Method(
        "mean",
        "stopping",
        "polytask.training.stopping:Mean",
        "Plain mean of the validation losses; the largest loss decides.",
    ),
    Method(
        "any",
        "stopping",
        "polytask.training.task_stopping:AnyTask",
        "Stops when the first task stops improving.",
    ),
    Method(
        "all",
        "stopping",
        "polytask.training.task_stopping:AllTasks",
        "Stops when every task has stopped improving.",
    ),
    Method(
        "freeze-head",
        "stopping",
        "polytask.training.task_stopping:FreezeHead",
        "A task that stops improving leaves the training; its head no longer moves.",
    ),
    Method(
        "distil",
        "stopping",
        "polytask.training.task_stopping:Distil",
        "A task that stops improving follows the outputs of its own best epoch from then on.",
        "one copy of the weights per task",
        "Lu et al., NAACL 2022 (industry track)",
    ),
    Method(
        "none",
        "stopping",
        "polytask.training.stopping:NoStopping",
        "All epochs run; the last weights are kept.",
    ),
    Method(
        "l1",
        "penalty",
        "polytask.regularization.objective:L1",
        "Lasso: exact zeros, entry by entry.",
        "none",
        "Tibshirani, JRSS B 58, 1996",
    ),
    Method(
        "l2",
        "penalty",
        "polytask.regularization.objective:L2",
        "Ridge: half the squared norm; in place of weight decay.",
        "none",
        "Hoerl & Kennard, Technometrics 12, 1970",
    ),
    Method(
        "elastic-net",
        "penalty",
        "polytask.regularization.objective:ElasticNet",
        "Lasso and ridge together.",
        "none",
        "Zou & Hastie, JRSS B 67, 2005",
    ),
    Method(
        "group-lasso",
        "penalty",
        "polytask.regularization.objective:GroupLasso",
        "Whole rows, columns or layers to zero.",
        "none",
        "Yuan & Lin, JRSS B 68, 2006",
    ),
    Method(
        "sparse-group-lasso",
        "penalty",
        "polytask.regularization.objective:SparseGroupLasso",
        "Whole groups to zero, and entries inside the others.",
        "none",
        "Simon et al., JCGS 22, 2013",
    ),
    Method(
        "joint-features",
        "penalty",
        "polytask.regularization.objective:JointFeatures",
        "L2,1 across tasks: a feature is used by all tasks or by none.",
        "none",
        "Obozinski, Taskar & Jordan, Statistics and Computing 20, 2010",
    ),
    Method(
        "nuclear",
        "penalty",
        "polytask.regularization.objective:Nuclear",
        "Heads of low rank; with sgd.",
        "none",
        "Argyriou, Evgeniou & Pontil, Machine Learning 73, 2008",
    ),
    Method(
        "mean-regularised",
        "penalty",
        "polytask.regularization.objective:MeanRegularised",
        "Every task's head near the mean of all heads.",
        "none",
        "Evgeniou & Pontil, KDD 2004",
    ),
    Method(
        "soft-sharing",
        "penalty",
        "polytask.regularization.objective:SoftSharing",
        "Networks of one task each, near each other layer by layer.",
        "none",
        "Duong et al., ACL 2015",
    ),
    Method(
        "graph-laplacian",
        "penalty",
        "polytask.regularization.objective:GraphLaplacian",
        "Heads of related tasks near each other.",
        "none",
        "Evgeniou, Micchelli & Pontil, JMLR 6, 2005",
    ),
    Method(
        "start-point",
        "penalty",
        "polytask.regularization.objective:StartPoint",
        "Weights near those the run began with (L2-SP).",
        "none",
        "Li, Grandvalet & Davoine, ICML 2018, arXiv 1802.01483",
    ),
    Method(
        "orthogonality",
        "penalty",
        "polytask.regularization.objective:Orthogonality",
        "Rows of a layer orthogonal to each other (SO).",
        "none",
        "Bansal, Chen & Wang, NeurIPS 2018, arXiv 1810.09102",
    ),
    Method(
        "srip",
        "penalty",
        "polytask.regularization.objective:SRIP",
        "Spectral form of orthogonality.",
        "none",
        "Bansal, Chen & Wang, NeurIPS 2018, arXiv 1810.09102",
    ),
    Method(
        "spectral",
        "penalty",
        "polytask.regularization.objective:Spectral",
        "Half the squared largest singular value of a layer.",
        "none",
        "Yoshida & Miyato, 2017, arXiv 1705.10941",
    ),
    Method(
        "max-norm",
        "penalty",
        "polytask.regularization.objective:MaxNorm",
        "No row of weights longer than the strength.",
        "none",
        "Srivastava et al., JMLR 15, 2014",
    ),
    Method(
        "input-gradient",
        "penalty",
        "polytask.regularization.objective:InputGradient",
        "A loss that changes little with the inputs.",
        "a second backward pass",
        "Drucker & LeCun, IEEE TNN 3, 1992",
    ),
    Method(
        "mixup",
        "input",
        "polytask.regularization.inputs:Mixup",
        "Mixes rows, and their losses in the same shares.",
        "the losses once more",
        "Zhang et al., ICLR 2018, arXiv 1710.09412",
    ),
    Method(
        "c_mixup",
        "input",
        "polytask.regularization.inputs:CMixup",
        "Mixup with partners of near targets, for regression.",
        "the losses once more",
        "Yao et al., NeurIPS 2022, arXiv 2210.05775",
    ),
    Method(
        "cutmix",
        "input",
        "polytask.regularization.inputs:CutMix",
        "Copies some columns from another row.",
        "the losses once more",
        "Yun et al., ICCV 2019, arXiv 1905.04899",
    ),
    Method(
        "noise",
        "input",
        "polytask.regularization.inputs:InputNoise",
        "Normal noise on scaled numeric inputs.",
        "none",
        "Bishop, Neural Computation 7, 1995",
    ),
    Method(
        "feature_dropout",
        "input",
        "polytask.regularization.inputs:FeatureDropout",
        "Drops input columns row by row.",
    ),
    Method(
        "sam",
        "update",
        "polytask.regularization.update:SAM",
        "The gradient at the worst point nearby.",
        "twice the passes",
        "Foret et al., ICLR 2021, arXiv 2010.01412",
    ),
    Method(
        "noise",
        "update",
        "polytask.regularization.update:GradientNoise",
        "Normal noise on the gradient, fading.",
        "none",
        "Neelakantan et al., 2015, arXiv 1511.06807",
    ),
    Method(
        "ema",
        "averaging",
        "polytask.regularization.weights:EMA",
        "Exponential moving average over the updates.",
        "one copy of the weights",
        "Polyak & Juditsky, 1992",
    ),
    Method(
        "swa",
        "averaging",
        "polytask.regularization.weights:SWA",
        "Mean over the last part of a run of fixed length.",
        "one copy of the weights",
        "Izmailov et al., UAI 2018, arXiv 1803.05407",
    ),
    Method(
        "stratified",
        "split",
        "polytask.data.split:split_table",
        "At random, every label on both sides as far as rows allow: the default.",
    ),
    Method(
        "random",
        "split",
        "polytask.data.split:split_table",
        "At random, without regard to labels: --set split.stratify=false.",
    ),
    Method(
        "group",
        "split",
        "polytask.data.split:split_table",
        "Rows of one group stay on one side: --group COLUMN.",
    ),
    Method(
        "time",
        "split",
        "polytask.data.split:split_table",
        "Validation rows are later than training rows: --time COLUMN.",
    ),
    Method(
        "column",
        "split",
        "polytask.data.split:split_table",
        "A column says train, valid or test: --set data.split=COLUMN.",
    ),
)


def methods(family: str | None = None) -> tuple[Method, ...]:
    """The catalogue, or one family of it.

    Raises:
        UnknownName: If there is no such family.

    Example:
        >>> [method.name for method in methods("stopping")]
        ['regret', 'mean', 'any', 'all', 'freeze-head', 'distil', 'none']
    """
    if family is None:
        return METHODS
    if family not in FAMILIES:
        raise unknown("family", family, list(FAMILIES))
    return tuple(method for method in METHODS if method.family == family)


def find(family: str, name: str, *, option: str | None = None) -> Method:
    """The entry of a method.

    Args:
        family: One of `FAMILIES`.
        name: Name of the method.
        option: The option that the user typed, for the sentence; default: the family.

    Raises:
        UnknownName: If there is none; the nearest name is given.
    """
    known = {method.name: method for method in methods(family)}
    if name not in known:
        raise unknown(option or family, name, list(known))
    return known[name]


def resolve(family: str, name: str, *, option: str | None = None) -> Any:
    """The class or function of a method, imported when it is asked for.

    Raises:
        UnknownName: As `find`.

    Example:
        >>> resolve("stopping", "mean").__name__
        'Mean'
    """
    module, _, attribute = find(family, name, option=option).target.partition(":")
    return getattr(importlib.import_module(module), attribute)
