"""What a trainer is given, checked before anything is built."""

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.utils.data import DataLoader

from polytask._checks import sentence
from polytask.balancing import LossBalancer
from polytask.errors import InvalidArgument, Unsupported
from polytask.optim import OptimizerSpec
from polytask.tasks import Task, TaskSpec


def check_arguments(tasks: Sequence[object], optimizer: object, balance: object) -> None:
    """Requires fitted tasks, an optimizer and a balancer of losses; None stands for a default.

    Args:
        tasks: What was given for tasks.
        optimizer: What was given for the optimizer.
        balance: What was given for the balancer.

    Raises:
        InvalidArgument: For something else.
        Unsupported: For a method that combines gradients.
    """
    for task in tasks:
        if isinstance(task, TaskSpec):
            raise InvalidArgument(
                f"`tasks` must be fitted; {task.name!r} is a specification. Pass "
                f"{type(task).__name__}({task.name!r}).fit(values) with its training values."
            )
        if not isinstance(task, Task):
            raise InvalidArgument(
                sentence("tasks", "hold fitted tasks", task, "See polytask.Regression.")
            )
    if optimizer is not None and not isinstance(optimizer, Optimizer | OptimizerSpec):
        raise InvalidArgument(
            sentence("optimizer", "be an OptimizerSpec or a torch optimizer", optimizer,
                     'Pass OptimizerSpec("adamw", learning_rate=1e-3), for instance.')
        )  # fmt: skip
    if balance is not None and not isinstance(balance, LossBalancer):
        raise Unsupported(
            f"`balance` must be a loss balancer such as EqualWeights(2); got {balance!r}. Methods "
            "that combine gradients are driven by MultiTaskBackward in a loop by hand."
        )


def check_batches(argument: str, batches: object) -> None:
    """Requires batches that can be resumed, and says how a loader becomes them.

    Args:
        argument: ``train`` or ``valid``.
        batches: What was given.

    Raises:
        InvalidArgument: For a loader, a tensor, a data set.
    """
    if isinstance(batches, DataLoader):
        raise InvalidArgument(
            f"`{argument}` must be batches with targets per task; got a DataLoader. Wrap it: "
            "LoaderBatches(loader, group_tasks(tasks)) from polytask.data."
        )
    if not all(hasattr(batches, name) for name in ("windows", "epoch", "num_rows", "num_windows")):
        raise InvalidArgument(
            f"`{argument}` must be ResidentBatches or LoaderBatches; got "
            f"{type(batches).__name__}. See polytask.data."
        )
