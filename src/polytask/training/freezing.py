"""Heads that no longer move, although other heads of the same stacked tensor do."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from polytask.optim.roles import ParameterInfo
from polytask.sharing import AdaptedModel, MultiTaskModel


@final
class FrozenHeads:
    """Keeps the weights that only settled tasks use where they were when the tasks settled.

    Equal tasks share one stacked tensor, so a frozen head is a slice of it: neither the optimizer's
    momentum, nor weight decay, nor a proximal step may move it. The slices are copied when a task
    settles and put back after every update.

    Args:
        model: With stacked heads, or a module with parameters of its own for each task.
        infos: Its parameters.
        tasks: Names in the user's order.
        device: Of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        infos: Sequence[ParameterInfo],
        tasks: Sequence[str],
        device: torch.device,
    ) -> None:
        self._tasks = tuple(tasks)
        self._slices = {task: _private(model, infos, task) for task in tasks}
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._settled: tuple[bool, ...] = (False,) * len(self._tasks)
        self._learning = torch.ones(len(self._tasks), dtype=torch.bool, device=device)

    def learning(self, present: Tensor) -> Tensor:
        """The tasks ``[tasks]`` that have labels and still learn."""
        return present & self._learning

    @torch.no_grad()
    def freeze(self, settled: Sequence[bool]) -> None:
        """Freezes the tasks that are settled now, at the weights of now."""
        for task, before, now in zip(self._tasks, self._settled, settled, strict=True):
            if now and not before:
                self._kept += [(piece, piece.clone()) for piece in self._slices[task]]
        self._settled = tuple(settled)
        self._learning.copy_(~torch.tensor(self._settled))

    @torch.no_grad()
    def put_back(self) -> None:
        """Undoes what an update did to frozen heads."""
        for piece, value in self._kept:
            piece.copy_(value)


def _private(model: nn.Module, infos: Sequence[ParameterInfo], task: str) -> list[Tensor]:
    """Views of the weights that this task alone uses."""
    views = [info.parameter.detach() for info in infos if info.tasks == {task}]
    heads = model.heads if isinstance(model, MultiTaskModel | AdaptedModel) else None
    if heads is None:
        return views
    stacked = any(task in (m.name for m in g.tasks) and len(g.tasks) > 1 for g in heads.groups)
    return [*views, *heads.of(task)] if stacked else views
