"""Raw label cells as they come from a table: which are missing, what number they hold."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require
from polytask.errors import DataError

Cells = NDArray[Any]
Numbers = NDArray[np.float64]


def missing_cells(values: Cells) -> NDArray[np.bool_]:
    """True where a cell is None, NaN, NaT or ``pandas.NA``."""
    import pandas

    return np.asarray(pandas.isna(values), dtype=bool)


def read_numbers(target: str, kind: str, values: Cells) -> Numbers:
    """Cells as float64, missing ones as NaN.

    Args:
        target: Name of the target, for the error.
        kind: Kind of the target, for the error.
        values: ``[rows]``; numbers, booleans, or texts that are numbers.

    Raises:
        DataError: If a cell is a text that is no number (the error shows it), or infinite.
    """
    require(values.ndim == 1, f"values of target {target!r}", "have one axis", values.shape)
    present = ~missing_cells(values)
    numbers = np.full(values.shape, np.nan)
    try:
        numbers[present] = values[present].astype(np.float64)
    except (TypeError, ValueError) as problem:
        example = next(cell for cell in values[present].tolist() if not is_number(cell))
        raise DataError(
            f"Target {target!r} cannot be a {kind} target: {example!r} is not a number. "
            f"Remove such cells, or type '{target}:multiclass' if the values are classes."
        ) from problem
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise DataError(
            f"Target {target!r} has {infinite} infinite value{'s' * (infinite > 1)}; "
            "replace them by numbers, or leave the cells empty."
        )
    return numbers


def require_labels(target: str, labelled: NDArray[np.bool_]) -> None:
    """Raises `DataError` if every label is missing."""
    if not labelled.any():
        raise DataError(
            f"Target {target!r} has no label in the training rows: every cell is missing. "
            "Check the column and how missing values are written in it."
        )


def weights_of_labels(
    target: str, labelled: NDArray[np.bool_], weights: NDArray[Any] | None
) -> Numbers:
    """Row weights as float64, zero where the label is missing, so that gaps drop out of sums.

    Raises:
        DataError: If no label is left, or none with a positive row weight.
    """
    require_labels(target, labelled)
    if weights is None:
        return labelled.astype(np.float64)
    kept = np.where(labelled, np.asarray(weights, dtype=np.float64), 0.0)
    if not kept.sum() > 0:
        raise DataError(
            f"Target {target!r} has no label with a positive row weight in the training rows."
        )
    return kept


def is_number(cell: object) -> bool:
    """Whether a cell is a number, a boolean or a text that is a number."""
    try:
        np.asarray([cell], dtype=object).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True
