"""One entry of the catalogue of methods."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Method:
    """One entry of the catalogue.

    Args:
        name: As it is typed.
        family: ``balancing``, ``backbone``, ``sharing``, ``optimizer``, ``schedule``,
            ``stopping``, ``task`` or ``split``.
        target: ``module:Name`` of the class or function.
        one_line: What it does, as a sentence.
        cost: What it costs besides the plain training step.
        reference: Where it comes from; empty for common knowledge.
    """

    name: str
    family: str
    target: str
    one_line: str
    cost: str = "none"
    reference: str = ""
