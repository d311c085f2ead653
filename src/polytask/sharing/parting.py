"""The place where tasks part: a tensor that several tasks read becomes one copy per task."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Part = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
"""One representation and the tasks that read it → one copy per task, such as `polytask.branch`."""


def parted(representations: Mapping[str, Tensor], part: Part | None) -> Mapping[str, Tensor]:
    """Every task's own copy of its representation; without `part` the representations as they are.

    Tasks that read the same tensor get copies from one call, so that what they share is seen as
    shared.

    Args:
        representations: Task → representation.
        part: Makes the copies.

    Example:
        >>> import torch
        >>> z = torch.zeros(2, 3)
        >>> calls = []
        >>> def part(tensor, tasks):
        ...     calls.append(list(tasks))
        ...     return {task: tensor.clone() for task in tasks}
        >>> list(parted({"a": z, "b": torch.ones(2, 3), "c": z}, part)), calls
        (['a', 'b', 'c'], [['a', 'c'], ['b']])
    """
    if part is None:
        return representations
    readers: dict[int, list[str]] = {}
    for task, representation in representations.items():
        readers.setdefault(id(representation), []).append(task)
    copies: dict[str, Tensor] = {}
    for tasks in readers.values():
        copies |= part(representations[tasks[0]], tasks)
    return {task: copies[task] for task in representations}
