"""Exact linear relations between targets and features, proven on rows they were not found on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

EXACT = 1e-6
"""Share of the variance that may be left unexplained: numbers are stored with few digits."""
SUSPICIOUS = 1e-3
"""Up to here a relation counts if the rounding of its columns explains every residual."""
VARYING_ROWS = 5
"""A column must differ from its most frequent value in so many rows of either half."""
FEW_GAPS = 0.2
MAX_STEPS = 6
MAX_COMBINED = 5
MAX_IN_PAIRS = 1500
MAX_LEAST_SQUARES = 400
ZERO = 1e-5
"""Coefficients below this share of the largest, in units of deviation, are zero."""


@dataclass(frozen=True)
class Relation:
    """``Σ targets + Σ features + constant = 0`` in every row that was checked.

    Args:
        targets: Position → coefficient; at least one.
        features: Position → coefficient; at least one.
        constant: The rest.
        rows: Rows the relation was checked on without having been fitted to them.
    """

    targets: dict[int, float]
    features: dict[int, float]
    constant: float
    rows: int


def find_relations(targets: Floats, features: Floats, *, seed: int = 0) -> list[Relation]:
    r"""All linear relations that hold exactly and involve a target and a feature.

    Relations among features alone are collinearity and no leak; they are not reported. With fewer
    rows than columns everything fits, so what was found on one half of the rows must hold on the
    other half: with residual r of a combination t of targets,
    :math:`\sum r^2 / \sum (t - \bar t)^2 < 10^{-6}`, or every residual is within what the
    rounding of the columns explains.

    1. each feature against each target, on the rows that have both;
    2. each feature against all targets together (casual + registered = count);
    3. all features against the best combination of targets (smallest canonical residual), or with
       many columns every pair of features, and a forward selection of a few.

    Args:
        targets: ``[rows, targets]``, NaN for gaps.
        features: ``[rows, features]``, NaN for gaps.
        seed: Of the halves.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    halves = (order[: len(order) // 2], order[len(order) // 2 :])
    t_used = [k for k in range(targets.shape[1]) if _varies(targets[:, k], halves)]
    x_used = [j for j in range(features.shape[1]) if _varies(features[:, j], halves)]
    if not t_used or not x_used:
        return []
    scaled_t, scaled_x = _standardised(targets), _standardised(features)
    search = _Search(targets, features, scaled_t, scaled_x, halves)
    found = _pairs(search, t_used, x_used)
    x_used = _without(x_used, found)
    found += _features_of_targets(search, t_used, x_used)
    x_used = _without(x_used, found)
    complete = ~np.isnan(targets[:, t_used]).any(1)
    blocks = [t_used] if complete.mean() > 0.5 else [[k] for k in t_used]
    for block in blocks:
        left = list(x_used)
        for _ in range(MAX_COMBINED):
            relation = _combined(search, block, left) if left else None
            if relation is None:
                break
            found.append(relation)
            # The weightiest feature goes, the others may be part of another relation.
            spread = {j: abs(w) * np.nanstd(features[:, j]) for j, w in relation.features.items()}
            left.remove(max(spread, key=spread.__getitem__))
    return found


@dataclass(frozen=True)
class _Search:
    targets: Floats
    features: Floats
    scaled_targets: Floats
    scaled_features: Floats
    halves: tuple[Ints, Ints]

    def relation(self, ts: Sequence[int], xs: Sequence[int]) -> Relation | None:
        """The relation between exactly these columns, if it is exact on the second half."""
        xs = sorted(xs)
        t, x = self.scaled_targets[:, ts], self.scaled_features[:, xs]
        known = _complete(t) & _complete(x)
        first, second = (half[known[half]] for half in self.halves)
        size = len(ts) + len(xs)
        if min(len(first), len(second)) < max(10, 2 * size):
            return None
        columns = np.concatenate([t, x], axis=1)
        # One column against the others; which one does not matter for an exact relation, except
        # that a target must be involved: with one feature the feature is explained.
        pivot = size - 1 if len(xs) == 1 else 0
        others = [c for c in range(size) if c != pivot]
        weights, constant = _fit(columns[first][:, others], columns[first][:, [pivot]])
        residual = (
            columns[second][:, pivot] - columns[second][:, others] @ weights[:, 0] - constant[0]
        )
        variance = columns[second][:, pivot].var()
        coefficients = np.zeros(size)
        coefficients[pivot], coefficients[others] = -1.0, weights[:, 0]
        raw = np.concatenate([self.targets[:, ts], self.features[:, xs]], axis=1)
        centers, units = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
        unexplained = (residual**2).mean() / variance if variance > 0 else 1.0
        if unexplained > EXACT:
            slack = (np.abs(coefficients) * _quanta(raw[known]) / units).sum() / 2
            if unexplained > SUSPICIOUS or np.abs(residual).max() > slack * (1 + 1e-9):
                return None
        in_units = coefficients / units
        shift = float(constant[0] - (in_units * centers).sum())
        kept = np.abs(coefficients) > ZERO * np.abs(coefficients).max()
        with_t = {k: float(in_units[i]) for i, k in enumerate(ts) if kept[i]}
        with_x = {j: float(in_units[len(ts) + i]) for i, j in enumerate(xs) if kept[len(ts) + i]}
        if not with_t or not with_x:
            return None
        return Relation(with_t, with_x, shift, len(second))


def _pairs(search: _Search, ts: Sequence[int], xs: Sequence[int]) -> list[Relation]:
    """Affine copies of one target, on the rows that have both."""
    t, x = search.scaled_targets[:, ts], search.scaled_features[:, xs]
    t_known, x_known = (~np.isnan(t)).astype(float), (~np.isnan(x)).astype(float)
    t0, x0 = np.nan_to_num(t), np.nan_to_num(x)
    count = np.maximum(x_known.T @ t_known, 1)
    mean_x, mean_t = (x0.T @ t_known) / count, (x_known.T @ t0) / count
    var_x = (x0**2).T @ t_known / count - mean_x**2
    var_t = x_known.T @ t0**2 / count - mean_t**2
    covariance = (x0.T @ t0) / count - mean_x * mean_t
    scale = var_x * var_t
    share = np.divide(covariance**2, scale, out=np.zeros_like(scale), where=scale > 1e-12)
    found, taken = [], set()
    for place, k in np.argwhere(share > 1 - SUSPICIOUS):
        if place not in taken:
            relation = search.relation([ts[k]], [xs[place]])
            if relation is not None:
                taken.add(place)
                found.append(relation)
    return found


def _features_of_targets(search: _Search, ts: Sequence[int], xs: Sequence[int]) -> list[Relation]:
    """Features that all targets together determine."""
    if len(ts) < 2:
        return []
    t = search.scaled_targets[:, ts]
    rows = np.flatnonzero(~np.isnan(t).any(1))
    if len(rows) < 10 * (len(ts) + 1):
        return []
    found = []
    for gappy in (False, True):
        block = [j for j in xs if np.isnan(search.features[rows, j]).any() == gappy]
        for own in [[j] for j in block] if gappy else [block] * bool(block):
            x = search.scaled_features[rows][:, own]
            known = _complete(x)
            if known.sum() < 10 * (len(ts) + 1):
                continue
            weights, constant = _fit(t[rows][known], x[known])
            residual = x[known] - t[rows][known] @ weights - constant
            variance = np.maximum(x[known].var(0), 1e-30)
            for place in np.flatnonzero(residual.var(0) / variance < SUSPICIOUS):
                used = np.abs(weights[:, place]) > ZERO * np.abs(weights[:, place]).max()
                relation = search.relation(
                    [k for k, keep in zip(ts, used, strict=True) if keep], [own[place]]
                )
                if relation is not None:
                    found.append(relation)
    return found


def _combined(search: _Search, ts: Sequence[int], xs: Sequence[int]) -> Relation | None:
    """One relation between several features and a combination of targets."""
    x = search.scaled_features[:, xs]
    few = np.isnan(x).mean(0) <= FEW_GAPS
    known = _complete(search.scaled_targets[:, ts])
    complete = known & _complete(x[:, few])
    if complete.sum() >= 0.5 * known.sum():
        known = complete
    first, second = (half[known[half]] for half in search.halves)
    if min(len(first), len(second)) < 20:
        return None
    x = np.nan_to_num(x)  # the mean of a standardised column
    t = search.scaled_targets[:, ts]
    if len(xs) > MAX_LEAST_SQUARES or len(xs) + len(ts) > 0.7 * len(first):
        return _two(search, ts, xs, x, first) or _forward(search, ts, xs, x, first)
    weights, constant = _fit(x[first], t[first])
    residual = t[second] - x[second] @ weights - constant
    mixture = _best_mixture(residual, t[second] - t[second].mean(0))
    if mixture is None:
        return None
    feature_weights = weights @ mixture
    keep_t = np.abs(mixture) > ZERO * np.abs(mixture).max()
    keep_x = np.abs(feature_weights) > ZERO * max(np.abs(feature_weights).max(), 1e-12)
    own_t = [k for k, keep in zip(ts, keep_t, strict=True) if keep]
    own_x = [j for j, keep in zip(xs, keep_x, strict=True) if keep]
    # Fewer columns tell more: where features are collinear, least squares spreads the weights.
    sparse = _forward(search, own_t, own_x, x[:, keep_x], first)
    return sparse or search.relation(own_t, own_x)


def _best_mixture(residual: Floats, centered: Floats) -> Floats | None:
    """Combination of targets with the smallest unexplained share, if that is suspicious."""
    spread, axes = np.linalg.eigh(centered.T @ centered)
    usable = spread > 1e-8 * spread.max()  # targets may determine each other
    if not usable.any():
        return None
    whiten = axes[:, usable] / np.sqrt(spread[usable])
    shares, directions = np.linalg.eigh(whiten.T @ (residual.T @ residual) @ whiten)
    if shares[0] > SUSPICIOUS:
        return None
    return np.asarray(whiten @ directions[:, 0])


def _two(
    search: _Search, ts: Sequence[int], xs: Sequence[int], x: Floats, first: Ints
) -> Relation | None:
    r"""A target from two features, every pair tried.

    With correlations a, b of the two with the target and c between them, the pair explains
    :math:`(a^2 + b^2 - 2abc) / (1 - c^2)` of it. A forward selection misses pairs of which one
    feature alone is not correlated with the target.
    """
    if len(xs) > MAX_IN_PAIRS:
        return None
    columns = _standardised(x[first])
    between = columns.T @ columns / len(first)
    for own in ts:
        target = _standardised(search.scaled_targets[first][:, [own]])[:, 0]
        single = columns.T @ target / len(first)
        both = single[:, None] ** 2 + single**2 - 2 * np.outer(single, single) * between
        rest = 1 - between**2
        share = np.divide(both, rest, out=np.zeros_like(both), where=rest > 1e-6)
        for i, j in np.argwhere(np.triu(share, 1) > 1 - SUSPICIOUS)[:10]:
            relation = search.relation([own], [xs[i], xs[j]])
            if relation is not None:
                return relation
    return None


def _forward(
    search: _Search, ts: Sequence[int], xs: Sequence[int], x: Floats, first: Ints
) -> Relation | None:
    """Adds the most correlated column step by step; for each target in turn."""
    t = search.scaled_targets
    for own in ts:
        others = [k for k in ts if k != own]
        candidates = np.concatenate([t[:, others], x], axis=1)[first]
        chosen: list[int] = []
        residual = t[first, own] - t[first, own].mean()
        for _ in range(min(MAX_STEPS, len(first) // 4, candidates.shape[1])):
            gain = np.abs(candidates.T @ residual)
            gain[chosen] = -1.0
            chosen.append(int(gain.argmax()))
            weights, constant = _fit(candidates[:, chosen], t[first][:, [own]])
            residual = t[first, own] - candidates[:, chosen] @ weights[:, 0] - constant[0]
            if (residual**2).mean() < SUSPICIOUS:
                relation = (
                    search.relation(
                        [own, *(others[c] for c in chosen if c < len(others))],
                        [xs[c - len(others)] for c in chosen if c >= len(others)],
                    )
                    if any(c >= len(others) for c in chosen)
                    else None
                )
                if relation is not None:
                    return relation
    return None


def _fit(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Least squares with a constant; the shortest solution where there are many."""
    center_x, center_y = x.mean(0), y.mean(0)
    weights = np.linalg.lstsq(x - center_x, y - center_y, rcond=1e-10)[0]
    return weights, center_y - center_x @ weights


def _standardised(values: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        known = ~np.isnan(values)
        count = np.maximum(known.sum(0), 1)
        center = np.where(known, values, 0).sum(0) / count
        spread = np.sqrt(np.where(known, (values - center) ** 2, 0).sum(0) / count)
        return np.asarray((values - center) / np.where(spread > 0, spread, 1.0))


def _complete(values: Floats) -> NDArray[np.bool_]:
    """Rows without a gap."""
    return np.asarray(~np.isnan(values).any(axis=1), dtype=np.bool_)


def _varies(values: Floats, halves: tuple[Ints, Ints]) -> bool:
    for half in halves:
        own = values[half]
        own = own[~np.isnan(own)]
        if len(own) < 2 * VARYING_ROWS or not np.isfinite(own).all():
            return False
        if len(own) - np.unique(own, return_counts=True)[1].max() < VARYING_ROWS:
            return False
    return True


def _quanta(values: Floats) -> Floats:
    """The unit of the last decimal place of each column, 0 if there are more than four."""
    quanta = np.zeros(values.shape[1])
    for column in range(values.shape[1]):
        for digits in range(5):
            scaled = values[:, column] * 10.0**digits
            if np.abs(scaled - np.round(scaled)).max() < 1e-6:
                quanta[column] = 10.0**-digits
                break
    return quanta


def _without(xs: Sequence[int], found: Sequence[Relation]) -> list[int]:
    taken = {j for relation in found for j in relation.features}
    return [j for j in xs if j not in taken]
