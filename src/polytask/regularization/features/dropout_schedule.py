"""Dropout whose probability changes during the run."""

from typing import final

from torch import nn

from polytask._checks import require
from polytask.backbones.drop_connect import DropConnect
from polytask.backbones.layers import DropPath
from polytask.optim.schedules import Schedule

from .layers import dropout_attribute


@final
class DropoutSchedule:
    """Multiplies every dropout probability of a model by a factor that a schedule gives.

    p(t) = s(t) · p₀ for the fraction t of the run, with p₀ the probability when this object was
    made. It acts on dropout layers, on `DropPath`, on `DropConnect` and on modules with dropout of
    their own, such as heads with a mask each.

    Args:
        model: Its modules are changed in place.
        schedule: s, for instance `polytask.optim.schedules.flat_cosine`.

    Example:
        >>> from polytask.optim.schedules import linear
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2))
        >>> schedule = DropoutSchedule(model, linear([(0.0, 1.0), (1.0, 0.0)]))
        >>> schedule.apply(0.5)
        >>> model[1].p
        0.1
        >>> schedule.restore()
        >>> model[1].p
        0.2

    Reference:
        Holzmüller, Grinsztajn & Steinwart, Better by Default: Strong Pre-Tuned MLPs and Boosted
        Trees on Tabular Data, NeurIPS 2024, appendix on scheduling. https://arxiv.org/abs/2407.04491
    """

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        self.schedule = schedule
        self._initial: list[tuple[nn.Module, str, float]] = []
        for module in model.modules():
            known = isinstance(module, DropPath | DropConnect)
            attribute = "p" if known else dropout_attribute(module)
            if attribute is not None:
                self._initial.append((module, attribute, float(getattr(module, attribute))))

    def apply(self, fraction: float) -> None:
        """Sets the probabilities for a fraction of the run.

        Args:
            fraction: t, in [0, 1].

        Raises:
            InvalidArgument: If the schedule gives a factor that makes a probability negative or
                one; then none is changed.
        """
        factor = self.schedule(fraction)
        largest = max((probability for _, _, probability in self._initial), default=0.0)
        require(
            factor >= 0 and factor * largest < 1,
            "schedule",
            f"be at least 0 and keep the largest dropout ({largest:g}) below 1 at {fraction:g}",
            factor,
        )
        for module, attribute, probability in self._initial:
            setattr(module, attribute, probability * factor)

    def restore(self) -> None:
        """Puts the probabilities back that the model had at first."""
        for module, attribute, probability in self._initial:
            setattr(module, attribute, probability)
