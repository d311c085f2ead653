"""An option that means something only beside another one."""

from collections.abc import Callable
from typing import NamedTuple

from .run import RunConfig


class Condition(NamedTuple):
    """An option that has a meaning only together with another one."""

    section: str
    key: str
    applies: Callable[[RunConfig], bool]
    needs: str
    """The option that gives it a meaning, as it is typed."""
