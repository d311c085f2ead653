"""One network per task, same rows and same settings: what the multi-task model must beat."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from polytask.config.run import RunConfig
from polytask.data import LongForm
from polytask.diagnostics.run_report import RunReport
from polytask.errors import Unsupported
from polytask.export import Bundle
from polytask.pipeline.fit import FitResult, fit_table
from polytask.pipeline.per_task import PerTask
from polytask.pipeline.report import make_report
from polytask.sharing import MultiTaskModel

if TYPE_CHECKING:
    from pandas import DataFrame


def fit_single_tasks(
    frame: "DataFrame", result: FitResult, *, progress: Callable[[str], None] | None = None
) -> dict[str, Bundle]:
    """Fits one network for each target of a multi-task run, on the same rows.

    The other targets are neither inputs nor outputs of the network; everything else is the same:
    architecture, optimizer, stopping rule, seed.

    Args:
        frame: The table of the multi-task run.
        result: What the multi-task run gave.
        progress: Called with each target's name before its fit.

    Raises:
        Unsupported: For a long table, whose tasks are not columns.
    """
    prepared, run = result.prepared, result.run
    if isinstance(prepared.form, LongForm):
        raise Unsupported(
            "One network per task needs a wide table; the tasks of a long table are rows of one "
            f"column ({prepared.form.task_column!r})."
        )
    bundles = {}
    for target in run.targets:
        if progress is not None:
            progress(target.name)
        alone = _alone(run, target.name)
        split, frames = prepared.split, prepared.frames
        own = fit_table(
            frame,
            alone,
            valid=frames.get("valid") if not len(split.valid) else None,
            test=frames.get("test") if not len(split.test) else None,
            split=split,
            baselines=False,
        )
        bundles[target.name] = own.bundle
    return bundles


def compare_with_single_tasks(
    frame: "DataFrame", result: FitResult, *, progress: Callable[[str], None] | None = None
) -> RunReport:
    """The report of a multi-task run with one network per task beside it.

    Args:
        frame: The table of the multi-task run.
        result: What the multi-task run gave.
        progress: Called with each target's name before its fit.
    """
    bundles = fit_single_tasks(frame, result, progress=progress)
    outputs: dict[str, dict[str, Tensor]] = {}
    for part, rows in result.prepared.frames.items():
        outputs[part] = {name: bundle.outputs(rows)[name] for name, bundle in bundles.items()}
    serves = result.bundle.serves
    members = [m for m in result.bundle.members if isinstance(m, MultiTaskModel)]
    return make_report(
        result.prepared,
        result.run,
        result.model,
        result.history,
        seconds=result.seconds,
        baselines=True,
        title=result.report.title,
        single=outputs,
        predictor=PerTask(members, serves) if serves else None,
        earlier=result.report,
    )


def _alone(run: RunConfig, name: str) -> RunConfig:
    """The run with one target; the other targets are ignored columns."""
    (target,) = [target for target in run.targets if target.name == name]
    others = {
        column
        for other in run.targets
        if other.name != name
        for column in other.columns or (other.name,)
    }
    data = run.data.model_copy(update={"ignore": (*run.data.ignore, *sorted(others))})
    balance = run.balance.model_copy(
        update={"name": "equal", "weights": {}, "schedule": {}, "options": {}}
    )
    target = target.model_copy(update={"weight": 1.0})
    return run.model_copy(update={"targets": (target,), "data": data, "balance": balance})
