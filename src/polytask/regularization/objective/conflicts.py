"""Combinations of penalties and optimizer that would solve another problem than the one asked."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from polytask.errors import InvalidArgument, PolytaskWarning, Unsupported
from polytask.optim.roles import ParameterInfo

from .base import Penalty
from .layout import Layout

_COMBINED = {
    frozenset({"L1", "L2"}): "ElasticNet",
    frozenset({"L1", "GroupLasso"}): "SparseGroupLasso",
    frozenset({"JointFeatures", "L2"}): "JointFeatures(strength, l1_ratio=…)",
    frozenset({"ElasticNet", "L1"}): "ElasticNet",
    frozenset({"ElasticNet", "L2"}): "ElasticNet",
}
_NOT_ADDITIVE = ("MCP", "SCAD")
"""Two of them are not one with the sum of the strengths."""


def check_types(penalties: Sequence[object]) -> None:
    """Refuses what is no penalty, above all a loss."""
    for penalty in penalties:
        if isinstance(penalty, nn.Module):
            kind = type(penalty).__name__
            twin = "L1" if "L1" in kind else "L2" if "MSE" in kind else "L1 or L2"
            raise InvalidArgument(
                f"{kind} compares predictions with targets; the penalty on weights is `{twin}`."
            )
        if not isinstance(penalty, Penalty):
            raise InvalidArgument(
                f"`penalties` must hold penalties such as L1(1e-4); got {type(penalty).__name__}."
            )


def check_overlap(bound: Sequence[tuple[Penalty, Layout]]) -> None:
    """Refuses two proximal steps on one weight: one after the other is no step of the sum."""
    owners: dict[tuple[int, int], tuple[Penalty, ParameterInfo]] = {}
    for penalty, layout in bound:
        if penalty.acts != "prox":
            continue
        for piece in (piece for block in layout.blocks for piece in block.pieces):
            info = layout.infos[piece.index]
            rows = range(len(info.parameter)) if piece.heads is None else piece.heads
            for row in rows:
                other, _ = owners.setdefault((id(info.parameter), row), (penalty, info))
                if other is not penalty:
                    _refuse(other, penalty, info)


def _refuse(first: Penalty, second: Penalty, info: ParameterInfo) -> None:
    names = {type(first).__name__, type(second).__name__}
    combined = _COMBINED.get(frozenset(names))
    if combined:
        advice = f"Use {combined}, whose step is exact for the sum."
    elif len(names) == 1 and names.isdisjoint(_NOT_ADDITIVE):
        advice = "Use one with the sum of the strengths, or selectors that do not overlap."
    else:
        advice = "Give them selectors that do not overlap."
    raise Unsupported(
        f"{type(first).__name__} and {type(second).__name__} both act on {info.name} by their "
        f"proximal steps, and one after the other is not the step of their sum. {advice}"
    )


def check_metric(penalty: Penalty, optimizer: object) -> None:
    """Refuses a penalty whose step is exact for one number only, in a metric per entry."""
    if penalty.acts == "prox" and penalty.metric == "scalar" and type(optimizer).__name__ != "SGD":
        raise Unsupported(
            f"{type(penalty).__name__} has no exact proximal step in the metric of "
            f"{type(optimizer).__name__}, a step per entry. Use SGD, or another penalty across "
            "tasks."
        )


def check_decay(
    penalty: Penalty, infos: Sequence[ParameterInfo], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Weight decay beside a ridge term counts twice; beside a lasso term it is an elastic net."""
    lasso, ridge = penalty.elastic()
    decayed = [
        (info.name, float(group["weight_decay"]))
        for info, group in zip(infos, groups, strict=True)
        if float(group["weight_decay"]) > 0
    ]
    if not decayed or not (lasso or ridge):
        return
    name, decay = decayed[0]
    if ridge:
        raise InvalidArgument(
            f"`penalties` must not hold a ridge term beside the optimizer's weight decay; got "
            f"{penalty.describe()} and weight_decay={decay:g} on {name}, which counts twice. Set "
            f"the optimizer's weight_decay to 0, or the strength of {type(penalty).__name__}'s "
            "ridge term to 0."
        )
    warnings.warn(
        f"{type(penalty).__name__} with weight decay on {name}: this is an elastic net, with "
        f"{lasso:g} Σ |w| and weight decay {decay:g}. Set weight_decay to 0 for a lasso.",
        PolytaskWarning,
        stacklevel=4,
    )
