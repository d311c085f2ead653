"""Parameter roles, optimizer groups, schedules, and the optimizer's proximal metric."""

from .adam import adam_step
from .binding import check_binding
from .groups import GroupSummary, apply_decay, apply_rate, describe_groups, undecayed
from .kinds import DeclaresKinds, parameter_kinds
from .metric import proximal_steps
from .plateau import Plateau
from .roles import Kind, ParameterInfo, Role, Selector
from .schedules import (
    Points,
    Schedule,
    constant,
    cosine,
    coslog4,
    flat_cosine,
    linear,
    piecewise,
    product,
    warmed_up,
)
from .spec import OptimizerSpec

__all__ = [
    "DeclaresKinds",
    "GroupSummary",
    "Kind",
    "OptimizerSpec",
    "ParameterInfo",
    "Plateau",
    "Points",
    "Role",
    "Schedule",
    "Selector",
    "adam_step",
    "apply_decay",
    "apply_rate",
    "check_binding",
    "constant",
    "cosine",
    "coslog4",
    "describe_groups",
    "flat_cosine",
    "linear",
    "parameter_kinds",
    "piecewise",
    "product",
    "proximal_steps",
    "undecayed",
    "warmed_up",
]
