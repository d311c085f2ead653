"""Lookahead: k steps forward, one step back."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import torch
from torch import nn

from polytask._checks import require
from polytask.errors import InvalidArgument
from polytask.regularization.weights import WeightAverage
from polytask.regularization.weights.average import AveragedWeights


@final
class Lookahead(WeightAverage):
    """Slow weights follow the fast ones of the optimizer, which begin anew from them.

    After every k-th update of the optimizer, with θ the fast weights and φ the slow ones,

        φ ← φ + α (θ − φ) ,   θ ← φ

    where φ begins as the initial weights. The optimizer keeps its state (the paper's "maintain").
    The slow weights are the result: they are measured, kept and predicted with, and change once
    in k updates. Unlike an average, this changes the weights that train.

    Args:
        every: k, at least 1; the paper's default is 5.
        share: α, above 0 and at most 1 (the optimizer alone); the paper's default is 0.5.

    Raises:
        InvalidArgument: If a value breaks its rule.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(0.0)
        >>> lookahead = Lookahead(every=2, share=0.5)
        >>> lookahead.start(model)
        >>> for update in (1, 2, 3):  # an optimizer that adds 1
        ...     _ = model.weight.data.add_(1.0)
        ...     lookahead.update(model, update)
        >>> model.weight.item()
        2.0
        >>> with lookahead.swapped(model):
        ...     model.weight.item()
        1.0

    Note:
        A coordinate that a proximal step has set to zero is no zero between φ and θ; the trainer
        refuses penalties that promise zeros. Parameters of a balancing method are left alone.

    Reference:
        Zhang, Lucas, Hinton & Ba, Lookahead Optimizer: k steps forward, 1 step back, NeurIPS 2019,
        algorithm 1. https://arxiv.org/abs/1907.08610
    """

    def __init__(self, every: int = 5, share: float = 0.5) -> None:
        whole = isinstance(every, int) and every >= 1
        require(whole, "every", "be a whole number, at least 1", every)
        require(0 < share <= 1, "share", "be above 0 and at most 1", share)
        self.every = every
        self.share = share
        self.taken = 0
        """Steps that the slow weights have made."""
        self._slow: AveragedWeights | None = None

    @property
    def active(self) -> bool:
        """Whether the slow weights have moved; before, the model's own are meant."""
        return self.taken > 0

    def start(self, model: nn.Module) -> None:
        """The slow weights begin where the model is."""
        self._slow = AveragedWeights(model)
        self.taken = 0

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int, fraction: float = 0.0) -> None:
        """After every k-th update, moves the slow weights and puts them into the model.

        Args:
            model: With the fast weights.
            updates: Updates done, this one included; skipped ones do not count.
            fraction: Not used.
        """
        if updates % self.every:
            return
        slow = self._started()
        slow.move_towards(model, self.share)
        torch._foreach_copy_(list(model.parameters()), slow.tensors)
        self.taken += 1

    def swapped(self, model: nn.Module) -> AbstractContextManager[None]:
        """The model holds the slow weights inside, and the fast ones again afterwards."""
        return self._started().swapped(model) if self.active else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The slow weights, and how often they have moved."""
        return {"slow": self._started().state_dict(), "taken": self.taken}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._started().load_state_dict(state_dict["slow"])
        self.taken = int(state_dict["taken"])

    def describe(self) -> str:
        """Both numbers, in words."""
        return f"every {self.every} updates back to {self.share:g} of the way they made"

    def _started(self) -> AveragedWeights:
        if self._slow is None:
            raise InvalidArgument("`start(model)` must be called before slow weights are used.")
        return self._slow
