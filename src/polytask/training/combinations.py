"""Techniques that do not go together, in one table; what cannot be honoured is refused."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from polytask.aggregation import Aggregator
from polytask.backbones import Backbone
from polytask.errors import InvalidArgument, Unsupported
from polytask.regularization.objective import (
    L2,
    GraphLaplacian,
    InputGradient,
    MaxNorm,
    MeanRegularised,
    SoftSharing,
    StartPoint,
    TaskCovariance,
)
from polytask.regularization.objective.conflicts import check_types
from polytask.regularization.weights import SWA
from polytask.sharing import MultiTaskModel

from .defence import Defence

if TYPE_CHECKING:
    from .plan import Plan


class Refusal(NamedTuple):
    """Two techniques that a run cannot have together.

    Args:
        one: The first, as a user calls it.
        other: The second.
        why: What would go wrong.
        instead: What to do.
        holds: Whether a plan has both.
    """

    one: str
    other: str
    why: str
    instead: str
    holds: "Callable[[Plan], bool]"

    @property
    def sentence(self) -> str:
        """The error."""
        return f"{self.one} cannot be combined with {self.other}: {self.why}. {self.instead}"


def _combines(plan: "Plan") -> bool:
    return isinstance(plan.balance, Aggregator)


def _mixing(plan: "Plan") -> int:
    return sum(technique.mixes for technique in plan.defence.inputs)


WITHOUT_ZEROS = (
    L2,
    StartPoint,
    MeanRegularised,
    GraphLaplacian,
    SoftSharing,
    TaskCovariance,
    MaxNorm,
)
"""Penalties whose proximal steps leave nothing behind that weights in between would lose."""


def _zeros(plan: "Plan") -> bool:
    steps = [penalty for penalty in plan.defence.penalties if penalty.acts == "prox"]
    return not all(isinstance(penalty, WITHOUT_ZEROS) for penalty in steps)


def _settles(plan: "Plan", action: str) -> bool:
    return plan.stopping.when_settled == action


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "The input-gradient penalty",
        "a method that combines the gradients of the tasks",
        "it needs the objective before the backward pass, and such a method has none",
        "Use a method that weighs losses, or another penalty.",
        lambda plan: plan.defence.input_gradient is not None and _combines(plan),
    ),
    Refusal(
        "Adversarial training",
        "a method that combines the gradients of the tasks",
        "rows are moved up the objective, and such a method has none",
        "Use a method that weighs losses, or noise on the inputs.",
        lambda plan: plan.defence.adversarial is not None and _combines(plan),
    ),
    Refusal(
        "Adversarial training",
        "the input-gradient penalty",
        "the penalty would have a part in the direction in which rows are moved",
        "Keep one of them; both make the loss change little with the inputs.",
        lambda plan: (
            plan.defence.adversarial is not None and plan.defence.input_gradient is not None
        ),
    ),
    Refusal(
        "Task SAM",
        "a method that weighs losses",
        "its one backward pass takes the gradients of all tasks at one point",
        "Use a method that combines the gradients of the tasks, or SAM.",
        lambda plan: plan.defence.task_sam is not None and not _combines(plan),
    ),
    Refusal(
        "Task SAM",
        "SAM or ASAM",
        "both move the weights before the pass that counts",
        "Keep one of them.",
        lambda plan: plan.defence.task_sam is not None and plan.defence.sam is not None,
    ),
    Refusal(
        "Task SAM",
        '`at` = "representation"',
        "at worst points of their own the tasks have no representation in common",
        'Use at = "parameters".',
        lambda plan: plan.defence.task_sam is not None and plan.at == "representation",
    ),
    Refusal(
        "Task SAM",
        "`accumulate` above 1",
        "the worst point of a task depends on all rows of the update",
        "Use a larger batch size.",
        lambda plan: plan.defence.task_sam is not None and plan.accumulate > 1,
    ),
    Refusal(
        "`accumulate` above 1",
        '`at` = "representation"',
        "a representation belongs to the rows of one micro-batch",
        'Use at = "parameters", or a larger batch size.',
        lambda plan: plan.accumulate > 1 and plan.at == "representation",
    ),
    Refusal(
        '`at` = "representation" or `heads` = "weighted"',
        "a method that weighs losses",
        "its one backward pass measures no gradients, and its weights reach the heads anyway",
        "Leave them out.",
        lambda plan: (plan.at, plan.heads) != ("parameters", "one") and not _combines(plan),
    ),
    Refusal(
        "mixup, C-Mixup, cutmix or manifold mixup",
        "another of them",
        "a row has one partner, and its loss is shared with that one",
        "Keep one of them.",
        lambda plan: _mixing(plan) > 1,
    ),
    Refusal(
        "mixup, C-Mixup, cutmix or manifold mixup",
        "distillation",
        "the teacher's outputs are known for the rows of the table, not for mixtures of them",
        "Keep one of them.",
        lambda plan: _mixing(plan) > 0 and plan.defence.distillation is not None,
    ),
    Refusal(
        "mixup, C-Mixup, cutmix or manifold mixup",
        "the stopping rule distil",
        "a settled task follows its own outputs for the rows of the table, not for mixtures",
        "Use freeze-head, or leave the mixing out.",
        lambda plan: _mixing(plan) > 0 and _settles(plan, "distil"),
    ),
    Refusal(
        "Manifold mixup",
        "the input-gradient penalty",
        "the gradient at one row would hold the losses of two mixed rows",
        "Use mixup, or leave the penalty out.",
        lambda plan: (
            plan.defence.input_gradient is not None
            and any(technique.layers for technique in plan.defence.inputs)
        ),
    ),
    Refusal(
        "Distillation from a teacher",
        "the stopping rule distil",
        "a task would have two teachers",
        "Use the stopping rule all or regret.",
        lambda plan: plan.defence.distillation is not None and _settles(plan, "distil"),
    ),
    Refusal(
        "Lookahead",
        "a penalty that makes exact zeros or equal weights",
        "its slow weights lie between two iterates, and need not have what one of them has",
        "Leave one of them out, or take a penalty that only shrinks, such as L2.",
        lambda plan: plan.defence.lookahead is not None and _zeros(plan),
    ),
    Refusal(
        "SWA",
        "early stopping",
        "it averages the last part of a run of fixed length, which an early stop cuts off",
        'Set training.stopping = "none" (NoStopping()) and a number of epochs, or use EMA.',
        lambda plan: isinstance(plan.defence.averaging, SWA) and plan.stopping.patience is not None,
    ),
    Refusal(
        'keep = "per-task"',
        "a run without a stopping rule",
        "such a run keeps its last weights, whatever the tasks' own best epochs are",
        'Use the stopping rule all, or keep = "compromise".',
        lambda plan: plan.keep_per_task and plan.stopping.patience is None,
    ),
)
"""Checked before a run begins. Penalties that exclude each other or an optimizer are refused by
`BoundPenalties`, with the names of the parameters."""


def check_combination(plan: "Plan") -> None:
    """Raises for the first refused combination that a plan holds.

    Raises:
        Unsupported: With both techniques, the reason, and what to do.
    """
    for refusal in REFUSALS:
        if refusal.holds(plan):
            raise Unsupported(refusal.sentence)
    defence = plan.defence
    if (defence.distillation is None) != (defence.teacher is None):
        raise InvalidArgument(
            "`distillation` and `teacher` must be given together: the one says how the losses are "
            "shared, the other holds the outputs that are followed."
        )


def check_layers(defence: Defence, model: nn.Module) -> None:
    """Raises if rows are to be mixed at hidden layers that the model does not hand out.

    Raises:
        Unsupported: Naming the technique and what the model has.
    """
    asked = max((technique.layers for technique in defence.inputs), default=0)
    backbone = model.backbone if isinstance(model, MultiTaskModel) else model
    there = backbone.mixable if isinstance(backbone, Backbone) else 0
    if asked > there:
        raise Unsupported(
            f"ManifoldMixup mixes up to hidden layer {asked}, and {type(backbone).__name__} hands "
            f"out {there} of its layers. Use MLP (without skip), ResidualMLP or TabM with that "
            "many layers, fewer layers, or Mixup, which mixes the inputs."
        )


def check_without_validation(plan: "Plan") -> None:
    """Raises if a plan needs validation rows and there are none.

    Raises:
        InvalidArgument: Naming what watches them.
    """
    watchers = {
        "`plateau`": plan.plateau is not None,
        '`keep` = "per-task"': plan.keep_per_task,
        f"The stopping rule {type(plan.stopping).__name__}": plan.stopping.when_settled
        != "nothing",
    }
    for name, watches in watchers.items():
        if watches:
            raise InvalidArgument(f"{name} must have validation rows to watch; pass `valid`.")


def check_penalties(penalties: Sequence[object]) -> None:
    """Raises unless everything in the list is a penalty, and at most one acts on the inputs.

    Raises:
        InvalidArgument: A loss module compares predictions with targets and is no penalty.
    """
    check_types([penalty for penalty in penalties if not isinstance(penalty, InputGradient)])
    if sum(isinstance(penalty, InputGradient) for penalty in penalties) > 1:
        raise InvalidArgument("`penalties` must hold at most one InputGradient; keep one.")
