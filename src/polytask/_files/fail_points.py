"""Named places where a test can kill the process or fill the disk.

Set ``POLYTASK_FAIL_POINT`` before Python starts:

* ``name`` or ``name:3``: the process ends at the first (third) hit, without clean-up, as after
  ``kill -9``;
* ``name!error`` or ``name!error:3``: that hit raises `OSError` with ``ENOSPC``, as on a full disk.

Without the variable a fail point is one comparison with None.
"""

import errno
import os
from dataclasses import dataclass, field
from typing import final

from polytask._checks import unknown
from polytask.errors import InvalidArgument

VARIABLE = "POLYTASK_FAIL_POINT"

FAIL_POINTS = (
    "atomic.before-fsync",
    "atomic.before-rename",
    "atomic.after-rename",
    "checkpoint.before-write",
    "step.before-optimizer",
    "step.after-optimizer",
    "epoch.end",
    "bundle.before-write",
)

KILLED = 137
"""Exit status of a process that a fail point killed: that of ``kill -9`` in a shell."""


@final
@dataclass
class Armed:
    """One fail point that will go off.

    Args:
        name: One of `FAIL_POINTS`.
        error: True raises `OSError`, False ends the process.
        nth: Which hit, 1 for the first.
        hits: Hits so far.
    """

    name: str
    error: bool
    nth: int
    hits: int = field(default=0)

    def hit(self, name: str) -> None:
        """Counts a hit of `name` and goes off when it is the one."""
        if name not in FAIL_POINTS:
            raise unknown("fail point", name, FAIL_POINTS, InvalidArgument)
        if name != self.name:
            return
        self.hits += 1
        if self.hits != self.nth:
            return
        if self.error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os._exit(KILLED)


def parse(text: str) -> Armed | None:
    """The value of the environment variable → what it arms; None for an empty text.

    Raises:
        InvalidArgument: If the name is not one of `FAIL_POINTS` or the number is not one.

    Example:
        >>> parse("epoch.end!error:2")
        Armed(name='epoch.end', error=True, nth=2, hits=0)
    """
    if not text:
        return None
    rest, _, count = text.partition(":")
    name, _, mode = rest.partition("!")
    if name not in FAIL_POINTS:
        raise unknown(VARIABLE, name, FAIL_POINTS, InvalidArgument)
    if mode not in ("", "error") or not (count == "" or (count.isdecimal() and int(count) > 0)):
        raise InvalidArgument(f"`{VARIABLE}` must look like name[!error][:nth]; got {text!r}.")
    return Armed(name, mode == "error", int(count or 1))


_ARMED = parse(os.environ.get(VARIABLE, ""))


def fail_point(name: str) -> None:
    """Marks a named place; does nothing unless the environment armed it.

    Example:
        >>> fail_point("epoch.end")
    """
    if _ARMED is not None:
        _ARMED.hit(name)
