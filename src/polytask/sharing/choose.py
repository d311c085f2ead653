"""Which tasks a call asks for."""

from collections.abc import Sequence

from polytask._checks import require, unknown


def chosen_tasks(known: Sequence[str], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The asked tasks, each once and in the model's order; None means all.

    Args:
        known: The model's tasks.
        asked: Names, or None.

    Raises:
        UnknownName: If a name is not among the known ones.
        InvalidArgument: If nothing is asked for.

    Example:
        >>> chosen_tasks(["a", "b", "c"], ["c", "a"])
        ('a', 'c')
    """
    if asked is None:
        return tuple(known)
    require(len(asked) > 0, "tasks", "name at least one task", list(asked))
    for name in asked:
        if name not in known:
            raise unknown("tasks", name, known)
    wanted = set(asked)
    return tuple(name for name in known if name in wanted)
