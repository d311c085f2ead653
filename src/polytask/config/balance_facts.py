"""What every balancing method needs, promises and costs, read from the methods themselves."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from polytask import aggregation, balancing
from polytask._checks import require
from polytask.aggregation import Aggregator, GradientAggregator, GramianAggregator
from polytask.balancing import LossBalancer
from polytask.gradients import Balance
from polytask.optim import constant

from .catalogue import methods, resolve

RATE: Mapping[str, str] = {
    "mean": "1",
    "sum": "K",
    "fixed-norm": "fixed length",
    "logarithm": "as of log L",
}
"""Scale → effective learning rate in units of that of the mean of the gradients."""

_MEASURED: Mapping[str, str] = {
    "none": "nothing",
    "norms": "gradient norms",
    "gramian": "inner products of gradients",
    "cross": "inner products across two batches",
}
_COST: Mapping[str, str] = {
    "one-backward": "one backward",
    "one-backward-and-forward": "one backward, one more forward",
    "task-gradients": "a backward per task",
    "task-gradients-kept": "a backward per task, all gradients kept",
}


@final
@dataclass(frozen=True)
class BalanceFacts:
    """One row of the table.

    Args:
        name: Of the class.
        one_line: First sentence of its documentation.
        needs: What it reads.
        promises: Keys of the `GUARANTEES` of its room, in their order there.
        rate: Effective learning rate, relative to the mean of the gradients.
        cost: What an update costs.
        paper: Authors, year and link, or "" for a baseline.
    """

    name: str
    one_line: str
    needs: str
    promises: tuple[str, ...]
    rate: str
    cost: str
    paper: str

    def words(self) -> str:
        """What stands beside the method in a terminal.

        Example:
            >>> facts_of_name("mgda").words()
            'needs inner products of gradients · rate 1 · a backward per task · non-conflicting, \
non-negative-weights, weights-sum-to-one, homogeneous'
        """
        parts = [f"needs {self.needs}", f"rate {self.rate}", self.cost]
        parts += [", ".join(self.promises)] if self.promises else []
        return " · ".join(parts)


def balance_classes() -> tuple[type[Any], ...]:
    """All methods that need no other method: loss level first, by name within a level."""
    levels: Sequence[type[Any]] = (LossBalancer, GramianAggregator, GradientAggregator)
    found = [
        value
        for room in (balancing, aggregation)
        for value in (getattr(room, name) for name in sorted(room.__all__))
        if inspect.isclass(value)
        and issubclass(value, LossBalancer | Aggregator)
        and not inspect.isabstract(value)
        and "aggregator" not in inspect.signature(value).parameters
    ]
    return tuple(cls for level in levels for cls in found if issubclass(cls, level))


def with_defaults(cls: type[Any], num_tasks: int) -> Balance:
    """A fresh method with its defaults; what has none gets equal values for all tasks.

    Raises:
        InvalidArgument: If an argument without default is not known here.

    Example:
        >>> from polytask.aggregation import MGDA
        >>> with_defaults(MGDA, 3).normalization
        'none'
    """
    equal: Mapping[str, object] = {
        "num_tasks": num_tasks,
        "weights": [1.0] * num_tasks,
        "schedules": [constant()] * num_tasks,
        "forms": ["regression"] * num_tasks,
    }
    open_ones = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    for name in open_ones:
        require(name in equal, name, f"have a default in {cls.__name__}, or a value here", "none")
    made: Balance = cls(*(equal[name] for name in open_ones))
    return made


def facts_of(method: Balance) -> BalanceFacts:
    """The row of one method.

    Example:
        >>> from polytask.aggregation import UPGrad
        >>> row = facts_of(UPGrad())
        >>> row.needs, row.rate, row.promises[0]
        ('inner products of gradients', '1', 'non-conflicting')
    """
    if isinstance(method, LossBalancer):
        known = balancing.GUARANTEES
        needs = ["losses"]
        needs += ["losses again after the update"] * method.observes
        needs += ["losses of held-out training rows"] * method.held_out
        needs += ["an optimizer for its scalars"] * any(True for _ in method.parameters())
    else:
        known = aggregation.GUARANTEES
        measured = _MEASURED[method.needs] if isinstance(method, GramianAggregator) else "gradients"
        needs = [measured] + ["losses"] * method.needs_losses
    needs += ["random numbers"] * method.draws
    return BalanceFacts(
        name=type(method).__name__,
        one_line=(type(method).__doc__ or "").splitlines()[0],
        needs=", ".join(needs),
        promises=tuple(name for name in known if name in method.guarantees),
        rate=RATE[method.scale],
        cost=_COST[method.cost],
        paper=method.paper,
    )


def facts_of_name(name: str) -> BalanceFacts:
    """The row of a method by its name on the command line.

    Raises:
        UnknownName: If there is no such method.
    """
    return facts_of(with_defaults(resolve("balancing", name, option="balance"), 2))


def balance_table() -> str:
    """All methods as a table in Markdown."""
    typed = {resolve("balancing", entry.name): entry.name for entry in methods("balancing")}
    head = [
        "method", "`--balance`", "what it does", "needs", "promises", "effective rate",
        "cost of an update", "paper",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for cls in balance_classes():
        row = facts_of(with_defaults(cls, 2))
        words, _, link = row.paper.rpartition(", https://")
        paper = f"[{words}](https://{link})" if words else row.paper
        cells = (
            f"`{row.name}`", f"`{typed[cls]}`", row.one_line, row.needs,
            ", ".join(row.promises) or "none",
            row.rate, row.cost, paper or "–",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def promises_table() -> str:
    """What the promises mean, as a table in Markdown."""
    rooms: Sequence[tuple[str, Mapping[str, str]]] = (
        ("losses", balancing.GUARANTEES),
        ("gradients", aggregation.GUARANTEES),
    )
    lines = ["| promise | of methods on | in full |", "| --- | --- | --- |"]
    for of, known in rooms:
        lines += [f"| {name} | {of} | {text} |" for name, text in known.items()]
    return "\n".join(lines) + "\n"
