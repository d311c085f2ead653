"""What a trainer is given, checked before anything is built."""

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.utils.data import DataLoader

from polytask._checks import require, sentence
from polytask.aggregation import GradientAggregator, GramianAggregator
from polytask.balancing import LossBalancer
from polytask.errors import InvalidArgument
from polytask.optim import OptimizerSpec
from polytask.tasks import Task, TaskSpec


def check_arguments(tasks: Sequence[object], optimizer: object, balance: object) -> None:
    """Requires fitted tasks, an optimizer and a method; None stands for a default.

    Args:
        tasks: What was given for tasks.
        optimizer: What was given for the optimizer.
        balance: What was given for the method.

    Raises:
        InvalidArgument: For something else, or a method made for another number of tasks.
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
    if isinstance(balance, LossBalancer):
        made_for: object = balance.num_tasks
    elif isinstance(balance, GramianAggregator | GradientAggregator):
        preference = getattr(balance, "preference", None)
        made_for = len(tasks) if preference is None else len(preference)
    elif balance is None:
        return
    else:
        raise InvalidArgument(
            sentence("balance", "be a method of polytask.balancing or polytask.aggregation",
                     balance, "Pass EqualWeights(2) or UPGrad(), for instance.")
        )  # fmt: skip
    require(made_for == len(tasks), "balance", f"be made for {len(tasks)} tasks", made_for)


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


def check_balancing(balance: object, balancing: object | None) -> None:
    """Requires rows for balancing exactly where the method measures something on them.

    Args:
        balance: The method.
        balancing: Rows that were set aside, or None.

    Raises:
        InvalidArgument: If they are missing, or would be ignored.
    """
    wanted = isinstance(balance, LossBalancer) and balance.held_out
    name = type(balance).__name__
    if wanted and balancing is None:
        raise InvalidArgument(
            f"`balancing` must hold training rows that are set aside for {name}, which weighs the "
            "tasks by their losses there; got None. Take them out of the training rows."
        )
    if balancing is not None:
        check_batches("balancing", balancing)
        if not wanted:
            raise InvalidArgument(
                f"`balancing` must be None with {name}, which measures nothing on rows set aside. "
                "Leave them among the training rows."
            )
