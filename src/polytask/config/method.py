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
            ``stopping``, ``task``, ``split``, ``layer`` …: the keys of `FAMILIES`.
        target: ``module:Name`` of the class or function.
        one_line: What it does, as a sentence.
        cost: What it costs besides the plain training step.
        reference: Where it comes from; empty for common knowledge.
        needs: Of a balancing method, what an update must measure for it: ``losses``, ``none``
            (weights known beforehand), ``norms``, ``gramian`` (inner products) or ``jacobian``
            (all coordinates) of the task gradients; else empty.
    """

    name: str
    family: str
    target: str
    one_line: str
    cost: str = "none"
    reference: str = ""
    needs: str = ""

    @property
    def combines(self) -> bool:
        """Whether it combines task gradients rather than weigh losses."""
        return self.needs not in ("", "losses")

    @property
    def weighs(self) -> bool:
        """Whether it answers with task weights, so that wrappers can change them."""
        return self.combines and self.needs != "jacobian"
