"""The weights a run keeps: those of the best compromise, and of every task's own best epoch."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


@final
class Kept:
    """Copies of the model's weights at the epochs that matter.

    Args:
        model: Its present weights are the first compromise.
        per_task: Whether to keep every task's own best epoch too; tasks that share one share the
            copy.
    """

    def __init__(self, model: nn.Module, *, per_task: bool) -> None:
        self.per_task = per_task
        self.compromise = snapshot(model)
        self.of_epoch: dict[int, State] = {}

    def epoch(
        self, model: nn.Module, epoch: int, *, best: bool, best_epochs: Sequence[int]
    ) -> None:
        """Looks at the weights after an epoch.

        Args:
            model: With the weights that were measured.
            epoch: 1 for the first.
            best: Whether this is the best compromise so far.
            best_epochs: Per task, its own best epoch so far.
        """
        mine = self.per_task and epoch in best_epochs
        if not (best or mine):
            return
        weights = snapshot(model)
        if best:
            self.compromise = weights
        if mine:
            self.of_epoch[epoch] = weights
            wanted = set(best_epochs)
            self.of_epoch = {e: state for e, state in self.of_epoch.items() if e in wanted}

    def state_dict(self) -> dict[str, Any]:
        """All copies."""
        return {
            "compromise": self.compromise,
            "of_epoch": {str(epoch): state for epoch, state in self.of_epoch.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """The inverse of `state_dict`."""
        self.compromise = _moved(state_dict["compromise"], device)
        self.of_epoch = {
            int(epoch): _moved(state, device) for epoch, state in state_dict["of_epoch"].items()
        }


def snapshot(model: nn.Module) -> State:
    """A copy of the model's state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _moved(state: Mapping[str, Tensor], device: torch.device) -> State:
    return {name: value.to(device) for name, value in state.items()}
