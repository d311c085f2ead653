"""The kept weights: sizes, decay, exact zeros, rank of the heads, selected inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polytask.optim.groups import GroupSummary
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.objective import PenaltySummary, Zeros

MAX_SIDE = 2048
"""Stacked heads of which both sides are longer have no spectrum: it would take too long."""


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
        rows: Number of rows; 0 for what is no matrix.
        columns: Number of columns.
        penalties: Names of the penalties on it.
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
class PenaltyRow:
    """One penalty and what it did.

    Args:
        name: Its name.
        words: What it is, with its strength.
        acts: ``prox`` or ``gradient``.
        parameters: On how many parameters it acts.
        entries: Weights under it that are exactly zero; None: not counted.
        of_entries: Weights under it.
        groups: Groups of which every weight is exactly zero.
        of_groups: Groups under it.
    """

    name: str
    words: str
    acts: str
    parameters: int
    entries: int | None = None
    of_entries: int | None = None
    groups: int | None = None
    of_groups: int | None = None


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
    """

    name: str
    norm: float


@dataclass(frozen=True)
class Structure:
    """What the kept weights look like.

    Args:
        layers: One row per parameter.
        heads: One spectrum per width of representation.
        features: Inputs with the size of their weights, where some are exactly zero.
        penalties: The penalties, with the exact zeros under them.
    """

    layers: tuple[LayerRow, ...]
    heads: tuple[HeadSpectrum, ...] = ()
    features: tuple[SelectedFeature, ...] = ()
    penalties: tuple[PenaltyRow, ...] = ()


@torch.no_grad()
def measure_structure(
    infos: Sequence[ParameterInfo],
    *,
    tasks: Sequence[str] = (),
    decay: Sequence[GroupSummary] = (),
    penalties: Sequence[PenaltySummary] = (),
    zeros: Mapping[str, Zeros] | None = None,
    features: Sequence[str] = (),
) -> Structure:
    r"""Norms, decay, exact zeros, and the spectrum of the stacked heads.

    The effective rank is :math:`\exp(-\sum_i p_i \ln p_i)` with the shares
    :math:`p_i = \sigma_i / \sum_j \sigma_j` of the singular values: between 1 and the rank.

    Args:
        infos: The model's parameters (``model.roles()``), holding the kept weights.
        tasks: Names in the user's order, in which heads are listed.
        decay: `polytask.optim.describe_groups` of the optimizer.
        penalties: `BoundPenalties.describe` of the run.
        zeros: `BoundPenalties.zeros` of the kept weights.
        features: Names of the encoded inputs, in the order of the first layer's columns.

    Example:
        >>> from torch import nn
        >>> weight = nn.Parameter(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
        >>> info = ParameterInfo("w", weight, Role.BACKBONE, Kind.WEIGHT, frozenset({"y"}))
        >>> found = measure_structure([info], features=["age", "city"])
        >>> found.layers[0].norm, found.layers[0].zero_columns, found.features[1]
        (5.0, 1, SelectedFeature(name='city', norm=0.0))

    Reference:
        O. Roy and M. Vetterli, "The Effective Rank: A Measure of Effective Dimensionality",
        EUSIPCO 2007, https://ieeexplore.ieee.org/document/7098875
    """
    summaries = {name: group for group in decay for name in group.names}
    acting: dict[str, list[str]] = {}
    for penalty in penalties:
        for name in penalty.parameters:
            acting.setdefault(name, []).append(penalty.name)
    layers = tuple(
        _layer(info, summaries.get(info.name), tuple(acting.get(info.name, ()))) for info in infos
    )
    rows = tuple(_penalty(penalty, (zeros or {}).get(penalty.name)) for penalty in penalties)
    return Structure(layers, _heads(infos, tasks), _features(infos, features), rows)


def as_matrix(info: ParameterInfo) -> Tensor | None:
    """A weight as ``[outputs, inputs]``; stacked heads (of members) count as rows, one by one."""
    weight = info.parameter.detach()
    if info.kind is not Kind.WEIGHT or weight.ndim < 2:
        return None
    if info.role is Role.HEAD and weight.ndim > 2:
        return weight.flatten(0, -2)
    return weight if weight.ndim == 2 else weight.movedim(1, -1).flatten(1, -2).flatten(0, 1)


def _layer(info: ParameterInfo, group: GroupSummary | None, penalties: tuple[str, ...]) -> LayerRow:
    weight = info.parameter.detach()
    norm = float(torch.linalg.vector_norm(weight, dtype=torch.float64))
    matrix = as_matrix(info)
    empty = matrix == 0 if matrix is not None else None
    return LayerRow(
        name=info.name,
        role=str(info.role),
        kind=str(info.kind),
        shape=tuple(weight.shape),
        norm=norm,
        rms=norm / max(weight.numel(), 1) ** 0.5,
        rate=None if group is None else group.learning_rate,
        decay_per_step=None if group is None else group.learning_rate * group.weight_decay,
        half_life=None if group is None else group.half_life,
        zeros=int((weight == 0).sum()),
        zero_rows=0 if empty is None else int(empty.all(1).sum()),
        zero_columns=0 if empty is None else int(empty.all(0).sum()),
        rows=0 if matrix is None else matrix.shape[0],
        columns=0 if matrix is None else matrix.shape[1],
        penalties=penalties,
    )


def _penalty(penalty: PenaltySummary, zeros: Zeros | None) -> PenaltyRow:
    counts = (
        (None,) * 4
        if zeros is None
        else (zeros.entries, zeros.of_entries, zeros.groups, zeros.of_groups)
    )
    return PenaltyRow(penalty.name, penalty.words, penalty.acts, len(penalty.parameters), *counts)


def _heads(infos: Sequence[ParameterInfo], tasks: Sequence[str]) -> tuple[HeadSpectrum, ...]:
    place = {name: index for index, name in enumerate(tasks)}
    widths: dict[int, list[ParameterInfo]] = {}
    for info in infos:
        matrix = as_matrix(info)
        if info.role is Role.HEAD and matrix is not None:
            widths.setdefault(matrix.shape[1], []).append(info)
    found = []
    for heads in widths.values():
        matrices = [matrix for info in heads if (matrix := as_matrix(info)) is not None]
        stacked = torch.cat(matrices).double().cpu()
        if min(stacked.shape) < 2 or min(stacked.shape) > MAX_SIDE:
            continue
        values = torch.linalg.svdvals(stacked)
        smallest = max(stacked.shape) * torch.finfo(torch.float32).eps * values[0]
        shares = values[values > 0] / values.sum()
        names = sorted(
            {name for info in heads for name in info.tasks}, key=lambda n: (place.get(n, 0), n)
        )
        found.append(
            HeadSpectrum(
                tuple(names),
                (stacked.shape[0], stacked.shape[1]),
                tuple(float(f"{value:.5g}") for value in values.tolist()),
                int((values > smallest).sum()),
                float(torch.exp(-(shares * shares.log()).sum())) if len(shares) else 0.0,
            )
        )
    return tuple(found)


def _features(
    infos: Sequence[ParameterInfo], features: Sequence[str]
) -> tuple[SelectedFeature, ...]:
    """The inputs of the first layer, or of the heads where these read the inputs directly."""
    first = [info for info in infos if info.role is Role.BACKBONE and as_matrix(info) is not None]
    readers = first[:1] or [info for info in infos if info.role is Role.HEAD]
    matrices = [
        matrix
        for info in readers
        if (matrix := as_matrix(info)) is not None and matrix.shape[1] == len(features)
    ]
    if not matrices or not features:
        return ()
    norms = torch.linalg.vector_norm(torch.cat(matrices).double(), dim=0).tolist()
    if all(norms):
        return ()
    return tuple(SelectedFeature(name, norm) for name, norm in zip(features, norms, strict=True))
