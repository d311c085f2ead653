"""Hard sharing: every task reads the same features."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import require
from polytask.optim.roles import ParameterInfo

from .base import Shared, SharingArchitecture
from .choose import chosen_tasks


@final
class HardSharing(SharingArchitecture):
    """One representation for all tasks; only the heads are private.

    z = f(x), ŷ_k = h_k(z): the backbone f is shared, and nothing is added between it and the
    heads. This is the baseline of multi-task learning, and hard to beat with related tasks.

    Args:
        tasks: Names of the tasks.
        width: Width of the backbone's features.

    Shapes:
        features: ``[rows, width]``, or ``[rows, members, width]``.
        representations: the same tensor for every task.

    Raises:
        UnknownName: If a task is asked for that does not exist.

    Example:
        >>> import torch
        >>> shared = HardSharing(["a", "b"], 4)(torch.zeros(3, 4))
        >>> shared.representations["a"] is shared.representations["b"]
        True

    Reference:
        Caruana, Multitask Learning, Machine Learning 28, 1997.
        https://doi.org/10.1023/A:1007379606734
    """

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        require(len(tasks) > 0, "tasks", "name at least one task", list(tasks))
        require(width >= 1, "width", "be at least 1", width)
        self.tasks = tuple(tasks)
        self._width = width

    def forward(
        self, features: Float[Tensor, "rows *members width"], tasks: Sequence[str] | None = None
    ) -> Shared:
        """The features themselves, once per task."""
        names = chosen_tasks(self.tasks, tasks)
        return Shared(dict.fromkeys(names, features), (features,), {}, {})

    def width(self, task: str) -> int:
        """The width of the features, for every task."""
        (name,) = chosen_tasks(self.tasks, [task])
        assert name == task
        return self._width

    def roles(self) -> Sequence[ParameterInfo]:
        """Hard sharing has no parameters of its own."""
        return ()
