"""Measuring what an aggregation method does."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polytask.aggregation import Aggregator, GramianAggregator

from .problems import losses_for


def output_of(
    method: Aggregator,
    jacobian: Tensor,
    losses: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """What `forward` returns: weights, or the update."""
    given = jacobian @ jacobian.T if isinstance(method, GramianAggregator) else jacobian
    known = losses_for(jacobian) if losses is None else losses
    result = method(given, known.to(given.dtype), present)
    assert isinstance(result, Tensor)
    return result


def update_of(
    method: Aggregator,
    jacobian: Tensor,
    losses: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """The update, whichever kind of method it is."""
    output = output_of(method, jacobian, losses, present)
    if not isinstance(method, GramianAggregator):
        return output
    rows = jacobian if present is None else torch.where(present[:, None], jacobian, 0.0)
    return output @ rows


def weights_of(method: Aggregator, jacobian: Tensor) -> Tensor:
    """The task weights, whichever kind of method it is."""
    output = output_of(method, jacobian)
    if isinstance(method, GramianAggregator):
        return output
    weights = method.weights
    assert isinstance(weights, Tensor), "promises about weights need the attribute `weights`"
    return weights


def rounding_scale(jacobian: Tensor, direction: Tensor) -> float:
    """Natural size of the rounding errors of an update."""
    return float(torch.linalg.vector_norm(jacobian, dim=1).sum()) + float(direction.abs().max())


def sine(one: Tensor, two: Tensor) -> float:
    """Sine of the angle between two lines, without a loss of digits near zero."""
    if not one.any() and not two.any():
        return 0.0
    u, v = (vector / vector.abs().max() for vector in (one, two))
    u, v = u / torch.linalg.vector_norm(u), v / torch.linalg.vector_norm(v)
    return min(float(torch.linalg.vector_norm(u - v)), float(torch.linalg.vector_norm(u + v)))


def assert_close(
    one: Tensor, two: Tensor, natural: float, what: str, tolerance: float = 1e-9
) -> None:
    """Fails with `what` unless both agree to `tolerance` on their natural scale."""
    worst = float((one - two).abs().max())
    assert worst <= tolerance * natural, f"{what}: differs by {worst} on a scale of {natural}"


def global_generators() -> dict[str, bytes]:
    """State of every global random generator."""
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (it is watched, not used)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": numpy_state["state"]["key"].tobytes() + bytes([numpy_state["state"]["pos"] % 256]),
        "Python": repr(random.getstate()).encode(),
    }


def same_state(one: dict[str, object], two: dict[str, object]) -> bool:
    """Whether two states are equal bit by bit (NaN equals NaN)."""
    if one.keys() != two.keys():
        return False
    for key, value in one.items():
        other = two[key]
        if isinstance(value, Tensor) and isinstance(other, Tensor):
            if value.shape != other.shape or not torch.equal(
                torch.nan_to_num(value) if value.is_floating_point() else value,
                torch.nan_to_num(other) if other.is_floating_point() else other,
            ):
                return False
        elif value != other:
            return False
    return True
