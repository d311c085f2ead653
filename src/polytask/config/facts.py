"""What a balancing method declares about itself, read from its class."""

from dataclasses import dataclass
from typing import final

from .balance import build_balance
from .catalogue import find
from .run import BalanceConfig

NEEDS = {
    "losses": "losses",
    "none": "nothing",
    "norms": "gradient norms",
    "gramian": "inner products of gradients",
    "jacobian": "whole gradients",
}
"""What an update measures for a method, in words."""

SCALES = {
    "sum": "near 1",
    "mean": "near 1/K",
    "logarithm": "near 1/loss",
    "fixed-norm": "for an update of fixed length",
}
"""Size of the weights of K tasks: between 1/K and 1 the effective learning rate grows K-fold."""

PROMISES = {
    "non-conflicting": "never conflicts",
    "non-negative-weights": "weights ≥ 0",
    "weights-sum-to-one": "they sum to 1",
    "weights-sum-to-tasks": "they sum to K",
    "scale-invariant": "blind to each task's units",
    "line-invariant": "direction blind to each task's units",
    "linear-under-scaling": "linear in each task's units",
    "homogeneous": "direction blind to common units",
}
"""Guarantee → words, the strongest first."""


@final
@dataclass(frozen=True)
class BalancingFacts:
    """What can be said of a method without running it; with its default options.

    Args:
        needs: A key of `NEEDS`.
        scale: A key of `SCALES`.
        guarantees: Promises that hold for every input, sorted.
        cost: Cost class of the class.
        draws: Whether it draws random numbers.
        paper: Authors, year and link; empty for a baseline.
    """

    needs: str
    scale: str
    guarantees: tuple[str, ...]
    cost: str
    draws: bool
    paper: str

    @property
    def promises(self) -> list[str]:
        """The guarantees in words, the strongest first; what others say already is left out."""
        said = set(self.guarantees)
        if said & {"scale-invariant", "line-invariant"}:
            said -= {"homogeneous", "line-invariant"} if "scale-invariant" in said else {
                "homogeneous"
            }  # fmt: skip
        if "linear-under-scaling" in said:
            said -= {"homogeneous"}
        return [words for name, words in PROMISES.items() if name in said]

    def words(self) -> str:
        """One line for a terminal.

        Example:
            >>> balancing_facts("mgda").words()
            'from inner products of gradients · weights near 1/K · never conflicts, weights ≥ 0, \
they sum to 1, direction blind to common units'
        """
        parts = [f"from {NEEDS[self.needs]}", f"weights {SCALES[self.scale]}"]
        parts += ["random"] if self.draws else []
        parts += [", ".join(self.promises)] if self.guarantees else []
        return " · ".join(parts)


def balancing_facts(name: str) -> BalancingFacts:
    """The facts of a method as it comes, without options.

    Raises:
        UnknownName: If there is no such method.
    """
    schedule = {"a": [(0.0, 1.0)]} if name == "scheduled" else {}
    built = build_balance(BalanceConfig(name=name, schedule=schedule), ["a", "b"])
    return BalancingFacts(
        find("balancing", name, option="balance").needs,
        built.scale,
        tuple(sorted(built.guarantees)),
        built.cost,
        built.draws,
        built.paper,
    )
