"""Any module of the user as a multi-task model."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from polytask._checks import unknown
from polytask.data.batch import Batch
from polytask.errors import InvalidArgument, PolytaskError, PolytaskWarning, Unsupported
from polytask.tasks.groups import TaskGroup

from .base import ModelOutput, Shared
from .choose import chosen_tasks
from .dropouts import Call, warn_of_dropout
from .hard import HardSharing
from .heads import Heads
from .model import MultiTaskModel
from .parting import Part, parted
from .rows import check_rows, count_rows
from .unpriced import refuse_gates, refuse_learned_dropout

_TRIAL_ROWS = 8


@final
class AdaptedModel(nn.Module):
    """A user's module that answers like a multi-task model; made by `adapt`.

    State keys are the module's own behind ``module.``, and with polytask's heads on top
    ``heads.stacks.0.weight`` and so on.

    Args:
        module: Returns features ``[rows, width]``, or outputs by task name.
        groups: Task groups.
        width: Width of the features, or None if the module has heads of its own.
    """

    def __init__(self, module: nn.Module, groups: Sequence[TaskGroup], width: int | None) -> None:
        super().__init__()
        self.module = module
        self.groups = tuple(groups)
        self.tasks = tuple(task.name for group in groups for task in group.tasks)
        self.sharing = None if width is None else HardSharing(self.tasks, width)
        self.heads = None if self.sharing is None else Heads(groups, self.sharing)

    def forward(
        self,
        inputs: Mapping[str, Tensor] | Tensor,
        tasks: Sequence[str] | None = None,
        *,
        part: Part | None = None,
    ) -> ModelOutput:
        """Raw outputs of `tasks` (None: all) per group, as `MultiTaskModel` gives them.

        Of a module with heads of its own, `part` copies the outputs themselves.
        """
        if tasks is not None:
            tasks = chosen_tasks(self.tasks, tasks)
        result = self.module(inputs)
        if self.sharing is not None and self.heads is not None:
            width = self.sharing.width(self.tasks[0])
            shared = self.sharing(_as_features(result, inputs, self.module, width), tasks)
            shared = shared._replace(representations=parted(shared.representations, part))
            return ModelOutput(self.heads(shared, tasks), shared)
        outputs = parted(_as_outputs(result, inputs, self.module, self.groups), part)
        asked = set(self.tasks if tasks is None else tasks)
        stacked: dict[str, Tensor] = {}
        for group in self.groups:
            parts = [outputs[task.name] for task in group.tasks if task.name in asked]
            if parts:
                stacked[group.name] = torch.stack(parts, dim=1)
        return ModelOutput(stacked, Shared({}, (), {}, {}))


def adapt(module: nn.Module, groups: Sequence[TaskGroup], example: Batch) -> nn.Module:
    """A model that returns `ModelOutput`, from any module.

    The module is called with the batch's inputs, once for trial: in eval mode, without gradients,
    with buffers and random state given back. What it returns decides:

    - a tensor ``[rows, width]``: features; polytask puts its heads on top;
    - a mapping of task name → ``[rows, outputs]`` (``[rows]`` if a task has one output): the
      outputs of the module's own heads, raw, before any link function.

    Args:
        module: A `MultiTaskModel` or an adapted model (comes back as it is), or any module.
        groups: Task groups.
        example: Some rows on the module's device.

    Raises:
        InvalidArgument: If rows are mixed, a task's output is missing or has another width.
        UnknownName: If the mapping holds a name that is no task.
        Unsupported: If the module returns something else, cannot take the batch's inputs, or has
            learned dropout or gates, whose term nobody would add.

    Example:
        >>> import numpy as np
        >>> from polytask.tasks import Regression, group_tasks
        >>> groups = group_tasks([Regression("y").fit(np.arange(4.0))])
        >>> table = Batch(torch.zeros(4, 3), {}, {}, None, torch.arange(4))
        >>> model = adapt(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), groups, table)
        >>> tuple(model(table.inputs).outputs["y"].shape)
        (4, 1, 1)
    """
    if isinstance(module, MultiTaskModel | AdaptedModel):
        names = tuple(task.name for group in groups for task in group.tasks)
        if module.tasks != names:
            raise InvalidArgument(
                "`module` must be made for the given tasks in the given groups; it has "
                f"{', '.join(module.tasks)}, asked for are {', '.join(names)}. Pass its own groups."
            )
        return module
    refuse_learned_dropout(module)
    refuse_gates(module)
    inputs = first_rows(example)
    calls: list[Call] = []
    handles = [
        leaf.register_forward_hook(
            lambda leaf, given, output: calls.append(
                Call(leaf, given[0] if given else None, output)
            )
        )
        for leaf in module.modules()
        if not list(leaf.children())
    ]
    try:
        with trial(module, inputs), torch.no_grad():
            result = _called(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    width: int | None = None
    if isinstance(result, Tensor):
        width = _as_features(result, inputs, module, None).shape[1]
        if any(isinstance(call.layer, nn.Linear) and call.result is result for call in calls):
            warnings.warn(
                f"The features of {type(module).__name__} come straight from a Linear layer, and "
                "linear heads follow: that layer is redundant. End the module with an activation.",
                PolytaskWarning,
                stacklevel=2,
            )
    else:
        _as_outputs(result, inputs, module, groups)
    warn_of_dropout(calls, result, groups)
    reference = next((p for p in module.parameters()), None)
    model = AdaptedModel(module, groups, width)
    if model.heads is not None and reference is not None:
        model.heads.to(reference)
    return model


def first_rows(example: Batch) -> Mapping[str, Tensor] | Tensor:
    """The inputs of a few rows.

    Args:
        example: At least one row.
    """
    if isinstance(example.inputs, Tensor):
        return example.inputs[:_TRIAL_ROWS]
    return {name: tensor[:_TRIAL_ROWS] for name, tensor in example.inputs.items()}


@contextmanager
def trial(module: nn.Module, inputs: Mapping[str, Tensor] | Tensor) -> Iterator[None]:
    """Eval mode inside; modes, buffers and random state are as before afterwards.

    Args:
        module: What is tried.
        inputs: They say which device's random state to keep.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    devices = sorted({t.device.index or 0 for t in tensors if t.device.type == "cuda"})
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(b, b.detach().clone()) for b in module.buffers() if not is_lazy(b)]
    # cuDNN's recurrent layers refuse a backward pass in eval mode; torch's own kernels do not.
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=False):
        module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


def _called(module: nn.Module, inputs: Mapping[str, Tensor] | Tensor) -> object:
    try:
        return module(inputs)
    except PolytaskError:
        raise
    except (TypeError, AttributeError, KeyError, RuntimeError, ValueError, IndexError) as error:
        if isinstance(inputs, Tensor):
            given = f"a tensor {list(inputs.shape)}"
        else:
            parts = ", ".join(f"{name!r} {list(t.shape)}" for name, t in inputs.items())
            given = f"a dictionary with {parts}"
        raise Unsupported(
            f"`{type(module).__name__}` cannot take a batch's inputs, {given}: "
            f"{type(error).__name__}: {error}. Its forward must accept exactly that."
        ) from error


def _as_features(
    result: object, inputs: Mapping[str, Tensor] | Tensor, module: nn.Module, width: int | None
) -> Tensor:
    if not isinstance(result, Tensor):
        raise Unsupported(_wrong_type(module, result))
    check_rows(inputs, result, module)
    if result.ndim != 2 or width not in (None, result.shape[1]):
        raise InvalidArgument(
            f"`{type(module).__name__}` must return features [rows, {width or 'width'}]; got "
            f"{list(result.shape)}. Pool or flatten(1) what is more than one vector per row."
        )
    return result


def _as_outputs(
    result: object,
    inputs: Mapping[str, Tensor] | Tensor,
    module: nn.Module,
    groups: Sequence[TaskGroup],
) -> dict[str, Tensor]:
    if not isinstance(result, Mapping):
        raise Unsupported(_wrong_type(module, result))
    rows = count_rows(inputs)
    tasks = {task.name: task.outputs for group in groups for task in group.tasks}
    source = type(module).__name__
    for name in result:
        if name not in tasks:
            raise unknown(f"{source} output", str(name), list(tasks))
    outputs: dict[str, Tensor] = {}
    for name, size in tasks.items():
        if name not in result:
            raise InvalidArgument(
                f"`{source}` must return an output for every task; {name!r} is not among "
                f"{', '.join(repr(key) for key in result)}. Add its head."
            )
        output = result[name]
        if not isinstance(output, Tensor):
            raise Unsupported(_wrong_type(module, output))
        check_rows(inputs, output, module, f"the output {name!r}")
        if output.ndim == 1 and size == 1:
            output = output.unsqueeze(1)
        if output.shape != (rows, size):
            raise InvalidArgument(
                f"`{source}` must return [rows, {size}] raw outputs for the task {name!r}; got "
                f"{list(output.shape)}. Change the width of its head."
            )
        outputs[name] = output
    return outputs


def _wrong_type(module: nn.Module, result: object) -> str:
    return (
        f"`{type(module).__name__}` must return features [rows, width] or a dictionary of outputs "
        f"by task name; got {type(result).__name__}. Return one of the two from its forward."
    )
