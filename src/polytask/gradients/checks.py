"""What the engine refuses because it could not honour it, one sentence each."""

from collections.abc import Sequence

from torch import Tensor

from polytask._checks import require
from polytask.aggregation import Aggregator, GradientAggregator, GramianAggregator
from polytask.balancing import LossBalancer
from polytask.errors import InvalidArgument, Unsupported

from .branching import Branch
from .call import Call, Settings
from .reach import Reach

Balance = LossBalancer | GramianAggregator | GradientAggregator


def check_method(balance: Balance, settings: Settings, *, at: str, shared: bool) -> None:
    """Combinations that are known to be wrong before the first update."""
    name = type(balance).__name__
    if not isinstance(balance, LossBalancer | GramianAggregator | GradientAggregator):
        raise InvalidArgument(
            f"`balance` must be a LossBalancer, GramianAggregator or "
            f"GradientAggregator; got {name}."
        )
    if isinstance(balance, LossBalancer):
        if shared:
            raise Unsupported(
                f"`shared` must be None with {name}, whose objective is one backward pass for all "
                f"parameters; got some."
            )
        return
    if isinstance(balance, GramianAggregator) and balance.needs == "cross":
        raise Unsupported(
            f"{name} compares the gradients of two mini-batches, which one set of losses cannot "
            f"give."
        )
    if settings.heads == "weighted" and "non-negative-weights" not in balance.guarantees:
        raise Unsupported(
            f"`heads` must be 'one' with {name}, whose weights may be negative: a head would climb "
            f"its own loss; got 'weighted'."
        )
    if at == "representation" and shared:
        raise Unsupported(
            "`shared` must be None with at='representation', where the taps say what is shared."
        )
    if isinstance(balance, GradientAggregator):
        _check_coordinates(balance, settings, at)


def _check_coordinates(balance: Aggregator, settings: Settings, at: str) -> None:
    name = type(balance).__name__
    if settings.update == "backward":
        raise Unsupported(
            f"`update` must be 'auto' or 'assembled' with {name}, whose update is not a weighted "
            f"sum of the losses' gradients; got 'backward'."
        )
    if at == "representation" and any(True for _ in balance.buffers()):
        raise Unsupported(
            f"`at` must be 'parameters' with {name}, which remembers gradients from update to "
            f"update, while a representation belongs to the rows of one batch; got "
            f"'representation'."
        )


def check_branches(call: Call, found: Reach) -> list[Branch]:
    """The branches of the graph, whose tasks must be those of the losses."""
    branches = [branch for _, branch in found.branches]
    losses = call.losses
    for branch in branches:
        if losses.keyed:
            unknown = set(branch.tasks) - set(losses.names)
            require(
                not unknown,
                "losses",
                "name every task of the branch (None for one without labels)",
                sorted(unknown),
            )
        else:
            require(
                len(branch.tasks) == len(losses.names),
                "losses",
                f"be as many as the {len(branch.tasks)} tasks of the branch",
                len(losses.names),
                "Or pass them as a mapping by task.",
            )
    return branches


def check_apart(trunk: Sequence[Tensor], heads: Sequence[Tensor], place: str) -> None:
    """Refuses a parameter on both sides of a tap or branch: part of its gradient would be lost."""
    before = {id(leaf) for leaf in trunk}
    tied = [leaf for leaf in heads if id(leaf) in before]
    if tied:
        raise Unsupported(
            f"A parameter of shape {list(tied[0].shape)} is used before and behind the {place}, "
            f"so its task gradients cannot be told from there. Use at='parameters' without taps "
            f"and branches."
        )
