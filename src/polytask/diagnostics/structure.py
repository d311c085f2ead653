"""The kept weights: sizes, decay, exact zeros, rank of the heads, selected inputs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerRow:
    """One parameter.

    Args:
        name: Qualified name.
        role: Its place in the network.
        kind: What it does there.
        shape: Its shape.
        norm: Euclidean norm.
        rms: Root of the mean square of its entries.
        rate: Learning rate at the start; None: not known.
        decay_per_step: Learning rate × weight decay; None: not known.
        half_life: Updates after which decay alone halves a weight; None: it does not.
        zeros: Entries that are exactly zero.
        zero_rows: Rows (units, outputs) that are exactly zero.
        zero_columns: Columns (inputs) that are exactly zero.
        rows: Number of rows.
        columns: Number of columns.
        penalties: The penalties on it, in words.
    """

    name: str
    role: str
    kind: str
    shape: tuple[int, ...]
    norm: float
    rms: float
    rate: float | None = None
    decay_per_step: float | None = None
    half_life: float | None = None
    zeros: int = 0
    zero_rows: int = 0
    zero_columns: int = 0
    rows: int = 0
    columns: int = 0
    penalties: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeadSpectrum:
    """Singular values of the heads of equal width, one above the other.

    Args:
        names: The tasks.
        shape: ``(outputs of all tasks, width)``.
        values: Singular values, the largest first.
        rank: How many are above rounding error.
        effective: Their effective rank, exp of the entropy of their shares.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    values: tuple[float, ...]
    rank: int
    effective: float


@dataclass(frozen=True)
class SelectedFeature:
    """One input of a layer whose weights are exactly zero for some inputs.

    Args:
        name: The encoded input.
        norm: Norm of its column; 0 means left out.
        tasks: Tasks whose head uses it, where heads read the inputs directly.
    """

    name: str
    norm: float
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Structure:
    """What the kept weights look like.

    Args:
        layers: One row per parameter.
        heads: One spectrum per width of representation.
        features: Inputs with the size of their weights, where some are exactly zero.
    """

    layers: tuple[LayerRow, ...]
    heads: tuple[HeadSpectrum, ...] = ()
    features: tuple[SelectedFeature, ...] = ()
