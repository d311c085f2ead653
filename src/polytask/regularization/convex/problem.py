"""Linear models of several tasks on one matrix of inputs, and what each task's labels are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from polytask._checks import one_of, require

Array = NDArray[np.float64]
Kind = Literal["squared", "logistic", "multinomial", "poisson"]
KINDS = ("squared", "logistic", "multinomial", "poisson")


@final
@dataclass(frozen=True)
class Family:
    """Columns of the outputs that one loss reads.

    - ``"squared"``: ½ (z − y)² per column.
    - ``"logistic"``: log(1 + exp z) − y z per column, y between 0 and 1.
    - ``"multinomial"``: log Σ exp z_c − Σ y_c z_c over all its columns, Σ y_c = 1.
    - ``"poisson"``: exp z − y z + y log y − y per column (half the deviance), y at least 0.

    Args:
        kind: The loss.
        columns: Positions of its outputs.
    """

    kind: Kind
    columns: tuple[int, ...]


@final
@dataclass(frozen=True)
class Problem:
    r"""The data term :math:`\sum_c \sum_i \omega_{ic}\, \ell_c(x_i W_c + b_c,\, y_{ic})`.

    A weight of 0 means that the label is missing, so tasks with different rows (gaps, a table in
    long form) need no form of their own. The scale of the objective lies in the weights: 1/n gives
    scikit-learn's (1/2n) ‖Y − XW‖², 1 the plain sum.

    Args:
        inputs: X, ``[rows, features]``.
        targets: y, ``[rows, outputs]``; any finite number where the weight is 0.
        weights: ω, ``[rows, outputs]``, at least 0; equal within a multinomial family.
        families: The losses; together they hold every output once.

    Raises:
        InvalidArgument: If shapes do not fit, numbers are not finite, or an output has no label.

    Example:
        >>> problem = Problem.wide(np.eye(3), np.ones((3, 2)))
        >>> problem.features, problem.outputs, float(problem.weights[0, 0])
        (3, 2, 0.3333333333333333)
    """

    inputs: Array
    targets: Array
    weights: Array
    families: tuple[Family, ...]

    def __post_init__(self) -> None:
        rows = len(self.inputs)
        require(self.inputs.ndim == 2, "inputs", "be a matrix", list(self.inputs.shape))
        for name in ("targets", "weights"):
            shape = getattr(self, name).shape
            require(len(shape) == 2 and shape[0] == rows, name, f"have {rows} rows", list(shape))
        outputs = self.targets.shape[1]
        shape = list(self.weights.shape)
        require(shape == [rows, outputs], "weights", "have the shape of the targets", shape)
        for name in ("inputs", "targets", "weights"):
            require(bool(np.isfinite(getattr(self, name)).all()), name, "be finite", "NaN or inf")
        require(bool((self.weights >= 0).all()), "weights", "be at least 0", self.weights.min())
        for family in self.families:
            one_of("families", family.kind, KINDS)
        held = sorted(column for family in self.families for column in family.columns)
        require(held == list(range(outputs)), "families", "hold every output once", held)
        empty = np.flatnonzero(self.weights.sum(0) <= 0).tolist()
        require(not empty, "weights", "leave every output a label", empty)

    @classmethod
    def wide(
        cls,
        inputs: Array,
        targets: Array,
        *,
        kind: Kind = "squared",
        row_weights: Array | None = None,
    ) -> Self:
        """All tasks have the same rows; the scale is that of a mean over rows.

        Args:
            inputs: ``[rows, features]``.
            targets: ``[rows, outputs]``; NaN is a gap.
            kind: The loss.
            row_weights: ``[rows]``, at least 0, or None for ones.
        """
        inputs, targets = np.asarray(inputs, float), np.asarray(targets, float)
        seen = np.isfinite(targets)
        own = np.ones(len(inputs)) if row_weights is None else np.asarray(row_weights, float)
        weights = seen * own[:, None]
        sums = weights.sum(0)
        weights = weights / np.where(sums > 0, sums, 1.0)
        columns = tuple(range(targets.shape[1]))
        return cls(inputs, np.where(seen, targets, 0.0), weights, (Family(kind, columns),))

    @classmethod
    def separate(
        cls,
        inputs: Sequence[Array],
        targets: Sequence[Array],
        *,
        kind: Kind = "squared",
        mean: bool = False,
    ) -> Self:
        """Every task has rows of its own, as in a table in long form.

        Args:
            inputs: Per task ``[rows of the task, features]``.
            targets: Per task ``[rows of the task]``.
            kind: The loss; not "multinomial".
            mean: Whether each task's loss is the mean over its rows; otherwise it is the sum.
        """
        which = np.repeat(np.arange(len(inputs)), [len(part) for part in inputs])
        own = which[:, None] == np.arange(len(inputs))
        flat = np.concatenate([np.asarray(part, float) for part in targets])
        weights = own / own.sum(0).clip(1) if mean else own.astype(float)
        family = Family(kind, tuple(range(len(inputs))))
        return cls(np.concatenate(inputs), own * flat[:, None], weights, (family,))

    @property
    def features(self) -> int:
        """Number of inputs."""
        return int(self.inputs.shape[1])

    @property
    def outputs(self) -> int:
        """Number of columns of W."""
        return int(self.targets.shape[1])

    def take(self, rows: NDArray[np.int64]) -> "Problem":
        """The problem on some of the rows, every output's weights summing to what they did.

        Raises:
            InvalidArgument: If an output has no label there.
        """
        weights = self.weights[rows]
        sums = weights.sum(0)
        empty = np.flatnonzero(sums <= 0).tolist()
        require(not empty, "rows", "leave every output a label", empty)
        weights = weights * (self.weights.sum(0) / sums)
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows], weights=weights)
