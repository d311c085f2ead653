"""Closed forms: numbers as labels under a quadratic penalty."""

from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np

from .data_term import DataTerm
from .penalty import ConvexPenalty
from .problem import Array
from .relations import MeanRegularised
from .shrinkage import Ridge

_FLOOR = 1e-12
"""Eigenvalues below this share of the largest are directions without data."""


@final
class ClosedForm:
    """Ridge and mean-regularised weights from one eigendecomposition per set of rows.

    Args:
        data: A data term made of Gram matrices only.
    """

    def __init__(self, data: DataTerm) -> None:
        self.data = data

    @staticmethod
    def serves(data: DataTerm, penalty: ConvexPenalty) -> bool:
        """Whether there is a closed form."""
        return data.only_numbers and isinstance(penalty, Ridge | MeanRegularised)

    @cached_property
    def _spectra(self) -> list[tuple[Array, Array]]:
        return [tuple(np.linalg.eigh(p.gram)) for p in self.data.patterns]  # type: ignore[misc]

    def weights(self, penalty: ConvexPenalty) -> Array:
        """The minimiser W, of least norm where it is not unique."""
        if isinstance(penalty, MeanRegularised):
            return self._mean_regularised(penalty)
        moments = [pattern.moment for pattern in self.data.patterns]
        return self._solve(np.full(self.data.problem.outputs, penalty.strength), moments)

    def ridge(self, strengths: Array) -> Array:
        """Ridge with a λ for every output."""
        return self._solve(strengths, [pattern.moment for pattern in self.data.patterns])

    def leave_one_out(self, strengths: Sequence[float]) -> Array:
        """Ridge's loss on every row by a model without this row, ``[λ, outputs]``.

        The residual of such a model is the residual divided by 1 − h_i, with the leverage h_i: no
        model has to be fitted again (the free intercept is part of h_i).

        Args:
            strengths: λ; the same for all models of an output.
        """
        problem = self.data.problem
        result = np.zeros((len(strengths), problem.outputs))
        for pattern, (values, vectors) in zip(self.data.patterns, self._spectra, strict=True):
            weights = problem.weights[:, pattern.columns[0]]
            rows = np.flatnonzero(weights > 0)
            weights = weights[rows]
            turned = (problem.inputs[rows] - pattern.center) @ vectors
            targets = problem.targets[rows][:, pattern.columns] - pattern.level
            moment = vectors.T @ pattern.moment
            for index, strength in enumerate(strengths):
                inverse = _inverse(values.clip(0.0) + strength, values[-1])
                leverage = weights * (1.0 / weights.sum() + (turned**2) @ inverse)
                residuals = targets - turned @ (inverse[:, None] * moment)
                residuals /= (1.0 - leverage).clip(1e-9)[:, None]
                result[index, pattern.columns] = 0.5 * weights @ residuals**2
        return result

    def _solve(self, strengths: Array, moments: list[Array]) -> Array:
        """(Gram + λI)⁻¹ moment for every column."""
        result = np.zeros((self.data.problem.features, self.data.problem.outputs))
        for pattern, (values, vectors), moment in zip(
            self.data.patterns, self._spectra, moments, strict=True
        ):
            diagonal = values.clip(0.0)[:, None] + strengths[pattern.columns]
            inverse = _inverse(diagonal, values[-1])
            result[:, pattern.columns] = vectors @ (inverse * (vectors.T @ moment))
        return result

    def _mean_regularised(self, penalty: MeanRegularised) -> Array:
        r"""w_t = (G_t + aI)⁻¹ (m_t + λ w̄), a = λ(1 + ρ); averaged, a small system for w̄."""
        outputs, features = self.data.problem.outputs, self.data.problem.features
        pull = np.full(outputs, penalty.strength * (1.0 + penalty.ridge))
        own = self._solve(pull, [pattern.moment for pattern in self.data.patterns])
        member = np.array(penalty.families or (0,) * outputs)
        result = own.copy()
        for family in set(member.tolist()):
            chosen = np.flatnonzero(member == family)
            mixing = np.zeros((features, features))
            for pattern, (values, vectors) in zip(self.data.patterns, self._spectra, strict=True):
                count = int(np.isin(pattern.columns, chosen).sum())
                if count:
                    inverse = _inverse(values.clip(0.0) + pull[0], values[-1])
                    mixing += count * penalty.strength * (vectors * inverse) @ vectors.T
            matrix = np.eye(features) - mixing / len(chosen)
            mean = np.linalg.lstsq(matrix, own[:, chosen].mean(1), rcond=1e-11)[0]
            for pattern, (values, vectors) in zip(self.data.patterns, self._spectra, strict=True):
                mine = pattern.columns[np.isin(pattern.columns, chosen)]
                if len(mine):
                    inverse = _inverse(values.clip(0.0) + pull[0], values[-1])
                    shift = penalty.strength * (vectors @ (inverse * (vectors.T @ mean)))
                    result[:, mine] = own[:, mine] + shift[:, None]
        return result


def _inverse(diagonal: Array, largest: float) -> Array:
    empty = diagonal <= _FLOOR * max(largest, 0.0)
    return np.asarray(np.where(empty, 0.0, 1.0 / np.where(empty, 1.0, diagonal)))
