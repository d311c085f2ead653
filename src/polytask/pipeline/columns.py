"""What each column of the table is used for."""

from collections.abc import Sequence
from dataclasses import dataclass

from polytask._checks import unknown
from polytask.config.run import RunConfig
from polytask.errors import DataError, InvalidArgument


@dataclass(frozen=True)
class ColumnUses:
    """Every column of the table with its use.

    Args:
        uses: Column → ``input``, ``target``, ``weight``, ``id``, ``group``, ``time``, ``split``,
            ``task`` or ``ignored``, in the table's order.
    """

    uses: dict[str, str]

    def of(self, use: str) -> tuple[str, ...]:
        """The columns of one use."""
        return tuple(name for name, value in self.uses.items() if value == use)


def assign_columns(columns: Sequence[str], run: RunConfig) -> ColumnUses:
    """Gives every column its use; the group, time, split and id columns are never inputs.

    Args:
        columns: Names in the table.
        run: What the user said.

    Raises:
        DataError: If a named column does not exist (with the nearest name), or none is left as
            input.
        InvalidArgument: If one column has two uses.
    """
    named: list[tuple[str, str, str]] = []
    for target in run.targets:
        named += [("targets", column, "target") for column in target.columns or (target.name,)]
    data = run.data
    single = {
        "task_column": (data.task_column, "task"),
        "weight": (data.weight, "weight"),
        "group": (data.group, "group"),
        "time": (data.time, "time"),
        "split": (data.split, "split"),
    }
    named += [(f"data.{k}", name, use) for k, (name, use) in single.items() if name is not None]
    named += [("data.id", name, "id") for name in data.id]
    named += [("data.ignore", name, "ignored") for name in data.ignore]
    named += [("data.kinds", n, "ignored") for n, kind in data.kinds.items() if kind == "ignore"]
    uses = dict.fromkeys(columns, "input")
    for option, name, use in named:
        if name not in uses:
            raise unknown(option, name, list(columns), DataError)
        if uses[name] not in ("input", use) and {uses[name], use} != {"id", "group"}:
            raise InvalidArgument(
                f"The column {name!r} cannot be {uses[name]} and {use} at once; keep one of them."
            )
        uses[name] = use
    for name in data.kinds:
        if name not in uses:
            raise unknown("data.kinds", name, list(columns), DataError)
    if "input" not in uses.values():
        raise DataError("The table has no input column left: every column has another use.")
    return ColumnUses(uses)
