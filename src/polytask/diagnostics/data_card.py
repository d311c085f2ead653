"""The data in figures: labels, duplicates across the split, drift of the targets."""

from dataclasses import dataclass

DRIFT = 0.25
"""Standardised mean difference, or total variation, from which a drift is flagged."""


@dataclass(frozen=True)
class TaskCard:
    """The labels of one task.

    Args:
        name: Its name.
        labels: Set of rows → labelled rows.
        ratio: Trainable parameters per labelled training row; None without labels.
        drift: Distance between training and validation targets; None: not measured.
        measure: ``standardised mean difference`` or ``total variation``.
        flagged: Whether the drift is larger than chance and `DRIFT`.
    """

    name: str
    labels: dict[str, int]
    ratio: float | None
    drift: float | None
    measure: str
    flagged: bool


@dataclass(frozen=True)
class DataCard:
    """What the model was fed with.

    Args:
        rows: Set of rows → its rows.
        parameters: Trainable parameters.
        duplicates: Set of rows → how many of its rows have exactly the inputs of a training row.
        same_labels: Set of rows → how many of those have its labels too.
        tasks: One card per task.
    """

    rows: dict[str, int]
    parameters: int
    duplicates: dict[str, int]
    same_labels: dict[str, int]
    tasks: tuple[TaskCard, ...]
