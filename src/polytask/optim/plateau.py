"""A learning-rate factor that drops when the validation score stops improving."""

import math
from typing import Any, final

from polytask._checks import require


@final
class Plateau:
    """Multiplies the rate by `factor` after `patience` epochs without a better score.

    Unlike the pure schedules it has state, and therefore a `state_dict`. After a drop the waiting
    starts again. A score that is NaN is an epoch without improvement.

    Args:
        factor: Multiplier of one drop, in (0, 1).
        patience: Epochs in a row without a better score that cause a drop, at least 1.
        minimum: The rate factor never falls below this.

    Example:
        >>> plateau = Plateau(factor=0.5, patience=2)
        >>> [plateau.observe(score) for score in (3.0, 2.0, 2.0, 2.5, 1.0)]
        [1.0, 1.0, 1.0, 0.5, 0.5]

    Note:
        torch's ``ReduceLROnPlateau(patience=p, threshold=0)`` drops after p + 1 such epochs.
    """

    def __init__(self, factor: float = 0.5, patience: int = 5, minimum: float = 0.0) -> None:
        require(0 < factor < 1, "factor", "be above 0 and below 1", factor)
        require(patience >= 1, "patience", "be at least 1", patience)
        require(0 <= minimum <= 1, "minimum", "be in [0, 1]", minimum)
        self.factor = factor
        self.patience = patience
        self.minimum = minimum
        self.rate = 1.0
        self._best = math.inf
        self._waited = 0

    def observe(self, score: float) -> float:
        """Takes the score of one epoch (lower is better) and returns the rate factor.

        Args:
            score: The quantity that early stopping watches.
        """
        if score < self._best:
            self._best = score
            self._waited = 0
            return self.rate
        self._waited += 1
        if self._waited >= self.patience:
            self.rate = max(self.minimum, self.rate * self.factor)
            self._waited = 0
        return self.rate

    def state_dict(self) -> dict[str, Any]:
        """Everything that `observe` changes."""
        return {"rate": self.rate, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        require(
            set(state_dict) == {"rate", "best", "waited"},
            "state_dict",
            "hold exactly rate, best and waited",
            sorted(state_dict),
        )
        self.rate = float(state_dict["rate"])
        self._best = float(state_dict["best"])
        self._waited = int(state_dict["waited"])
