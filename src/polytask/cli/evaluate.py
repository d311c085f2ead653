"""``polytask evaluate``: a trained model on rows with labels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pandas import DataFrame

    from polytask.diagnostics import Outputs
    from polytask.export import Bundle

DETAILED = 12
"""With more tasks, one metric of each is printed; --json has all."""


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a run, or its model.safetensors.")
    ],
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, TSV (also .gz) or Parquet file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a trained model on a table with labels.

    Each metric stands beside that of predicting the training average.
    Targets that the table lacks are left out.
    """
    from polytask.data import read_table
    from polytask.export import load

    bundle = load(model)
    data = bundle.run.get("data", {})
    frame = read_table(table, separator=data.get("separator"), encoding=data.get("encoding"))
    result = measure(bundle, frame)
    if as_json:
        print(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False))
        return
    _show(result, len(frame), table.name)


def measure(bundle: "Bundle", frame: "DataFrame") -> list[dict[str, Any]]:
    """Labels and metrics of every task, in the user's order; model and training average.

    Raises:
        DataError: If the table lacks a column, or a label column has no label at all.
    """
    from polytask.diagnostics import constant_outputs
    from polytask.diagnostics import evaluate as judge
    from polytask.errors import DataError

    outputs = _outputs(bundle, _with_gaps(bundle, frame))
    own = judge(outputs)
    if not any(found.labels for found in own):
        raise DataError("The table has no labels. Use polytask predict for rows without labels.")
    mean = judge(constant_outputs(outputs, bundle.tasks))
    directions = [
        {metric.name: metric.higher_is_better for metric in task.metrics().values()}
        for task in bundle.tasks
    ]
    return [
        {
            "task": task.name,
            "kind": task.spec.kind,
            "labels": found.labels,
            "loss": found.loss,
            "metrics": [
                {
                    "name": name,
                    "higher_is_better": higher[name],
                    "model": value,
                    "mean": base.metrics[name],
                }
                for name, value in found.metrics.items()
            ],
        }
        for task, found, base, higher in zip(bundle.tasks, own, mean, directions, strict=True)
    ]


def _with_gaps(bundle: "Bundle", frame: "DataFrame") -> "DataFrame":
    """The table with an empty column for every target that it lacks, if it has any target."""
    import warnings

    from polytask.errors import PolytaskWarning

    columns = bundle.form.target_columns
    missing = [name for name in columns if name not in frame.columns]
    if not missing or len(missing) == len(columns):
        return frame
    shown = ", ".join(repr(name) for name in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    warnings.warn(
        f"The table lacks {shown}{more}: nothing is measured there.",
        PolytaskWarning,
        stacklevel=3,
    )
    return frame.assign(**dict.fromkeys(missing))


def _outputs(bundle: "Bundle", frame: "DataFrame") -> "Outputs":
    """Raw outputs and labels of every row."""
    import torch

    from polytask.data import encode_targets, read_weights
    from polytask.diagnostics import Outputs

    raw = bundle.outputs(frame)
    targets, masks = encode_targets(frame, bundle.form, bundle.groups)
    weight = bundle.run.get("data", {}).get("weight")
    weights = None
    if weight is not None and weight in frame.columns:
        weights = torch.from_numpy(read_weights(frame[weight]))
    return Outputs(
        bundle.groups,
        {
            group.name: torch.stack([raw[task.name] for task in group.tasks], dim=1)
            for group in bundle.groups
        },
        targets,
        masks,
        weights,
    )


def _show(result: list[dict[str, Any]], rows: int, name: str) -> None:
    from rich.text import Text

    from polytask.reports.words import number

    from .console import output, short, table

    console = output()
    console.print(Text.assemble((name, "bold"), f"  {rows:,} rows"))
    made = table(
        "task", "labels", "metric", "model", "mean", numbers=("labels", "metric", "model", "mean")
    )
    for task in result:
        shown = task["metrics"] if len(result) <= DETAILED else task["metrics"][:1]
        for position, metric in enumerate(shown):
            first = position == 0
            arrow = "↑" if metric["higher_is_better"] else "↓"
            made.add_row(
                Text(short(task["task"]) if first else ""),
                f"{task['labels']:,}" if first else "",
                Text(f"{metric['name']} {arrow}", style="dim"),
                Text(number(metric["model"]), style="bold" if first else ""),
                number(metric["mean"]),
            )
    console.print(made)
    console.print(
        Text("mean: predicting the training average, whatever the inputs are.", style="dim")
    )
