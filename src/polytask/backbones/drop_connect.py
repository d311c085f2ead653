"""Linear layers that lose some of their weights while training."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from polytask._checks import at_least, probability

from .dropout import dropout


@final
class DropConnect(nn.Linear):
    """A linear layer whose single weights, not its inputs, are dropped while training.

    y = ((M ⊙ W)/(1 − p)) x + b with M_ij ~ Bernoulli(1 − p): E y = W x + b. One mask is drawn per
    call, for all rows of the batch; the gradient of W is masked with it. In evaluation y = W x + b.

    The parameter is W itself, under the name and with the start values of ``nn.Linear``:
    penalties, weight decay, checkpoints and bundles see the weights that predict. A mask is drawn
    from torch's global generator, so that a second pass from the same random state (SAM) has the
    same mask.

    Args:
        inputs: Width of the input, at least 1.
        outputs: Width of the output, at least 1.
        p: Probability of dropping a weight, in [0, 1).
        bias: Whether there is a bias; it is never dropped.

    Shapes:
        weight: ``[outputs, inputs]``.
        rows: ``[…, inputs]``, to ``[…, outputs]``.

    Raises:
        InvalidArgument: If a number is out of range.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(3)
        >>> layer = DropConnect(2, 1, 0.5, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> [layer(torch.ones(1, 2)).item() for _ in range(4)]  # none, one or both, twice as large
        [4.0, 0.0, 2.0, 0.0]
        >>> layer.eval()(torch.ones(1, 2)).item()
        2.0

    Note:
        The paper draws a mask for every row and drops biases too, and at prediction samples
        activations from a normal distribution. One mask per batch, whole biases and mean weights
        at prediction are what implementations in use do, those of the second reference first.

    Reference:
        Wan, Zeiler, Zhang, LeCun & Fergus, Regularization of Neural Networks using DropConnect,
        ICML 2013. https://proceedings.mlr.press/v28/wan13.html

        Merity, Keskar & Socher, Regularizing and Optimizing LSTM Language Models, ICLR 2018,
        section 2. https://arxiv.org/abs/1708.02182
    """

    def __init__(self, inputs: int, outputs: int, p: float, *, bias: bool = True) -> None:
        at_least("inputs", inputs, 1)
        at_least("outputs", outputs, 1)
        probability("drop_connect", p)
        super().__init__(inputs, outputs, bias=bias)
        self.p = p

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """The linear map, in train mode with another mask at every call."""
        weight = dropout(self.weight, self.p) if self.training else self.weight
        return linear(input, weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes and the probability."""
        return f"{super().extra_repr()}, p={self.p:g}"


def linear_layer(inputs: int, outputs: int, drop_connect: float) -> nn.Linear:
    """A new linear layer, an ordinary one if no weights are dropped.

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        drop_connect: Probability of dropping a weight, in [0, 1).

    Example:
        >>> linear_layer(2, 3, 0.0)
        Linear(in_features=2, out_features=3, bias=True)
    """
    probability("drop_connect", drop_connect)
    if drop_connect == 0:
        return nn.Linear(inputs, outputs)
    return DropConnect(inputs, outputs, drop_connect)
