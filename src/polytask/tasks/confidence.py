"""How sure probabilities are: what the confidence penalty adds to a training loss."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .base import full_precision


def confidence(logits: Float[Tensor, "*rows classes"]) -> Float[Tensor, "*rows"]:
    r"""How far the probabilities of exclusive classes are from not knowing: log C − H(p).

    With p = softmax(logits) and C classes this is :math:`\log C + \sum_k p_k \log p_k`, the
    divergence of p from the uniform distribution: 0 where all classes are equally probable, log C
    where one is certain. Its gradient with respect to logit i is :math:`p_i (\log p_i + H(p))`,
    that of −H(p).

    Args:
        logits: Raw outputs.

    Example:
        >>> confidence(torch.tensor([[0.0, 0.0], [0.0, 90.0]]))
        tensor([0.0000, 0.6931])

    Reference:
        G. Pereyra, G. Tucker, J. Chorowski, Ł. Kaiser and G. Hinton, "Regularizing Neural Networks
        by Penalizing Confident Output Distributions", ICLR workshop 2017, section 3.1,
        https://arxiv.org/abs/1701.06548
    """
    chances = torch.log_softmax(full_precision(logits), -1)
    return math.log(logits.shape[-1]) + (chances.exp() * chances).sum(-1)


def two_class_confidence(logit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""`confidence` of two classes from their one logit z: log 2 − H(p), p = σ(z), entry by entry.

    :math:`\log 2 + \sigma(z)\log\sigma(z) + \sigma(-z)\log\sigma(-z)`: no term cancels, however
    large z is. The derivative is :math:`z\,\sigma(z)\,\sigma(-z)`.

    Args:
        logit: Raw outputs.

    Example:
        >>> two_class_confidence(torch.tensor([0.0, -90.0]))
        tensor([0.0000, 0.6931])
    """
    z = full_precision(logit)
    positive = torch.sigmoid(z) * functional.logsigmoid(z)
    negative = torch.sigmoid(-z) * functional.logsigmoid(-z)
    return math.log(2) + positive + negative
