"""Dropout whose probability is learned with the weights."""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from polytask._checks import positive, require


@final
class ConcreteDropout(nn.Module):
    """Dropout with a learned probability p, one for the layer.

    While training y = x ⊙ k/(1 − p) with k = 1 − σ((logit p + logit u)/t), u ~ U(0, 1) for every
    entry: as t → 0 the factors k become 0 with probability p, else 1, and for t > 0 they have a
    gradient with respect to p. In evaluation y = x.

    The gradient of the loss alone would drive p to 0: `term` belongs into the objective.

    Args:
        p: Probability at the start, in (0, 1).
        temperature: t, positive.

    Shapes:
        logit: ``[]``, the parameter; p = σ(logit). It is a scalar, so weight decay leaves it alone.
        features: ``[…, units]``, to the same shape.

    Raises:
        InvalidArgument: If a number is out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> layer = ConcreteDropout(0.5, temperature=0.001)
        >>> layer(torch.ones(8)).round().tolist()  # kept units count twice
        [2.0, 0.0, 2.0, 2.0, 2.0, 0.0, 2.0, 0.0]
        >>> layer.eval()(torch.ones(2)).tolist()
        [1.0, 1.0]

    Reference:
        Gal, Hron & Kendall, Concrete Dropout, NeurIPS 2017. https://arxiv.org/abs/1705.07832
    """

    def __init__(self, p: float = 0.1, *, temperature: float = 0.1) -> None:
        super().__init__()
        require(0 < p < 1, "p", "be above 0 and below 1", p)
        positive("temperature", temperature)
        self.temperature = temperature
        self.logit = nn.Parameter(torch.tensor(math.log(p) - math.log1p(-p)))

    @property
    def p(self) -> Tensor:
        """The probability of now, a detached scalar."""
        return self.logit.detach().sigmoid()

    def forward(self, features: Float[Tensor, "*rows units"]) -> Float[Tensor, "*rows units"]:
        """The features, in train mode with relaxed masks."""
        if not self.training:
            return features
        noise = torch.logit(torch.rand_like(features))
        kept = torch.sigmoid(-(self.logit + noise) / self.temperature)
        return features * kept * (1 + self.logit.exp())

    def term(self, readers: Sequence[Tensor], rows: int, length_scale: float) -> Tensor:
        """What the layer adds to a mean loss over rows, a scalar: KL/N of weights and masks.

        R = (1/N) [(l²/2) Σ_W ‖W‖²/(1 − p) − K H(p)], H(p) = −p log p − (1 − p) log(1 − p): the
        weights W that read the K dropped units want p small if they are large, the entropy H draws
        p to 1/2, and both fade against the loss as rows are added.

        Args:
            readers: Weights W ``[…, outputs, K]``, each once.
            rows: N, the rows of the training table.
            length_scale: l of the prior of the weights.

        Raises:
            InvalidArgument: If there are no readers.

        Example:
            >>> layer = ConcreteDropout(0.5)
            >>> layer.term([torch.ones(3, 4)], rows=1, length_scale=1.0).item()  # 12 − 4 log 2
            9.22741...

        Note:
            The loss is read as a negative log-likelihood per row; that of several tasks is a
            weighted mean here, of which the term is no part. The authors' code writes twice this
            beside a loss of twice the log-likelihood.
        """
        require(len(readers) > 0, "readers", "hold the weights that read the units", readers)
        logit = self.logit
        kept = torch.sigmoid(-logit)
        squares = sum((weight.square().sum() for weight in readers), logit.new_zeros(()))
        # −p log p − (1 − p) log(1 − p), without the logarithm of a rounded 0
        entropy = softplus(-logit) * torch.sigmoid(logit) + softplus(logit) * kept
        units = readers[0].shape[-1]
        total: Tensor = 0.5 * length_scale**2 * squares / kept - units * entropy
        return total / rows


class Concrete(NamedTuple):
    """A learned dropout and who reads what it drops.

    Args:
        layer: The dropout.
        reader: The weight ``[outputs, units]`` of the next layer; None for the heads.
    """

    layer: ConcreteDropout
    reader: Tensor | None


def concrete_term(
    dropouts: Sequence[Concrete], heads: Sequence[Tensor], rows: int, length_scale: float
) -> dict[str, Tensor]:
    """The sum of the terms of all learned dropouts, by name; nothing if there are none.

    Args:
        dropouts: The layers and their readers.
        heads: Weights of all heads ``[…, outputs, units]``.
        rows: N.
        length_scale: l.

    Raises:
        InvalidArgument: If the heads read a dropout and there are none.
    """
    require(
        len(heads) > 0 or all(reader is not None for _, reader in dropouts),
        "heads",
        "hold the weights that read the features, for learned dropout",
        list(heads),
    )
    terms = [
        layer.term(heads if reader is None else [reader], rows, length_scale)
        for layer, reader in dropouts
    ]
    return {"concrete dropout": torch.stack(terms).sum()} if terms else {}


def learned_dropout(module: nn.Module) -> list[float]:
    """The learned probabilities of all layers of a module, in order.

    Args:
        module: Any module.

    Example:
        >>> [round(p, 4) for p in learned_dropout(nn.Sequential(ConcreteDropout(0.2)))]
        [0.2]
    """
    return [float(layer.p) for layer in module.modules() if isinstance(layer, ConcreteDropout)]
