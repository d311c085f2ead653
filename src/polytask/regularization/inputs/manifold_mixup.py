"""Manifold mixup: rows are mixed at a layer that is drawn anew for every batch."""

from typing import ClassVar, final

import torch
from torch import Tensor

from polytask._checks import at_least
from polytask.backbones.base import Mix
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .mixup import SMALLEST_ALPHA, Mixup
from .parts import draw_share, first_part


@final
class ManifoldMixup(InputRegularizer):
    """Mixes the hidden representations of two rows, and their losses in the same proportion.

    h̃_s,i = l h_s,i + (1 − l) h_s,j at one layer s, from there on as usual, and loss
    l L(ỹ_i, y_i) + (1 − l) L(ỹ_i, y_j); with one s ~ U{0, …, S}, one l ~ Beta(a, a) and one
    random permutation i → j per batch, for all tasks. Layer 0 is the input: there it is `Mixup`.

    Args:
        alpha: a, at least 0.01.
        layers: S, at least 1: hidden layers that may be drawn besides the input; at most those of
            the backbone (`Backbone.mixable`).

    Raises:
        InvalidArgument: If a number is out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> batch = Batch(torch.eye(4), {}, {}, None, torch.arange(4))
        >>> changed, mixing = ManifoldMixup(layers=2)(batch)
        >>> mixing.layer, changed.inputs is batch.inputs  # the model will mix, not the batch
        (2, True)
        >>> mix = hidden_mix(mixing)
        >>> mix(1, batch.inputs) is batch.inputs, mix(2, batch.inputs) is batch.inputs
        (True, False)

    Note:
        A batch of one row is left alone.

    Reference:
        Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz & Bengio, Manifold Mixup: Better
        Representations by Interpolating Hidden States, ICML 2019. https://arxiv.org/abs/1806.05236
    """

    mixes: ClassVar[bool] = True

    def __init__(self, alpha: float = 2.0, *, layers: int) -> None:
        at_least("alpha", alpha, SMALLEST_ALPHA)
        at_least("layers", layers, 1)
        self.alpha = alpha
        self.layers = layers
        self._inputs = Mixup(alpha)
        self._concentration = torch.full((2,), alpha, dtype=torch.float64)

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The batch, with mixed inputs if layer 0 is drawn; and what the model is to mix."""
        part = first_part(batch.inputs)
        rows = len(part)
        if rows < 2:
            return batch, None
        layer = int(torch.randint(self.layers + 1, ()))
        if layer == 0:
            return self._inputs(batch)
        share = draw_share(self._concentration)
        partner = torch.randperm(rows, device=part.device)
        return batch, Mixing(partner, share, layer)

    def describe(self) -> str:
        """The layers and the distribution of l, in words."""
        return (
            f"mixup at the inputs or at one of {self.layers} hidden layers, drawn per batch, "
            f"shares from Beta({self.alpha:g}, {self.alpha:g})"
        )


def hidden_mix(mixing: Mixing | None) -> Mix | None:
    """What a model is given so that it mixes its hidden layer; None if there is nothing to mix.

    Args:
        mixing: What `ManifoldMixup` drew; layer 0 was mixed already.

    Example:
        >>> mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.75, 0.75]), layer=1)
        >>> hidden_mix(mixing)(1, torch.tensor([[0.0], [4.0]])).flatten().tolist()
        [1.0, 3.0]
    """
    if mixing is None or mixing.layer == 0:
        return None

    def mix(layer: int, hidden: Tensor) -> Tensor:
        if layer != mixing.layer:
            return hidden
        other = hidden.index_select(0, mixing.partner)
        return torch.lerp(other, hidden, mixing.share_for(hidden))

    return mix
