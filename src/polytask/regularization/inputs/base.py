"""The contract of an input regularizer: a batch in, a changed batch out."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from polytask.data.batch import Batch


class Mixing(NamedTuple):
    """Which rows were mixed; the losses are mixed in the same way, never the labels.

    Args:
        partner: Row j that was mixed into row i.
        share: Weight l_i of the row's own label; its partner's label weighs 1 − l_i. A number if
            it is the same for all rows.
        layer: Hidden layer at which the model is to mix; 0 if the inputs are mixed already.
    """

    partner: Int[Tensor, " rows"]
    share: Float[Tensor, " rows"] | float
    layer: int = 0

    def share_for(self, values: Tensor) -> Tensor | float:
        """l_i in a form that multiplies `values`, whose first axis is the rows."""
        if isinstance(self.share, Tensor):
            return self.share.to(values.dtype).view((-1,) + (1,) * (values.ndim - 1))
        return self.share


class InputRegularizer(ABC):
    """Changes the inputs of training batches; draws from torch's global generator.

    The step that uses it computes per task, over the rows i where both i and its partner j have a
    label, Σ l_i w_i L(f(x̃_i), y_i) + (1 − l_i) w_j L(f(x̃_i), y_j), with w the row weights.
    """

    mixes: ClassVar[bool] = False
    """Whether it mixes rows, and with them their losses."""

    layers: int = 0
    """Hidden layers of the model at which it mixes, besides the inputs."""

    @abstractmethod
    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The batch with new inputs, and how its rows were mixed (None: they were not).

        Targets, masks and row weights stay as they are: the labels of an update are counted before.
        """

    @abstractmethod
    def describe(self) -> str:
        """The technique with its strength, in words for the report."""
