"""What a run follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from polytask.aggregation import Aggregator
from polytask.balancing import LossBalancer
from polytask.errors import Unsupported
from polytask.gradients import Balance, MultiTaskBackward
from polytask.optim import ParameterInfo, Plateau, Role, Schedule

from .callbacks import Callback
from .defence import Defence
from .stopping import Stopping


@dataclass(frozen=True)
class Plan:
    """What a run follows; the arguments of `Trainer` that the loop reads."""

    balance: Balance
    stopping: Stopping
    schedule: Schedule
    plateau: Plateau | None
    callbacks: Sequence[Callback]
    accumulate: int
    epochs: int
    clip_norm: float
    checkpoint: Path | None
    checkpoint_seconds: float
    defence: Defence = field(default_factory=Defence)
    keep_per_task: bool = False
    refine: bool = False
    identity: Mapping[str, str] = field(default_factory=dict)
    at: Literal["parameters", "representation"] = "parameters"
    heads: Literal["one", "weighted"] = "one"
    max_gradient_memory: int = 2**31

    def method(self) -> str:
        """The method in words; a resumed run must have the same."""
        names: list[str] = []
        inner: object = self.balance
        while inner is not None:
            names.append(type(inner).__name__)
            inner = getattr(inner, "aggregator", None)
        place = isinstance(self.balance, Aggregator) and f" at {self.at}, heads {self.heads}"
        return " of ".join(names) + (place or "")

    def driven(self, infos: Sequence[ParameterInfo]) -> LossBalancer | MultiTaskBackward:
        """The method, in an engine if it combines gradients.

        Args:
            infos: The parameters of the model; the engine learns from them what the tasks share.

        Raises:
            Unsupported: If gradients are to be combined and no shared parameter is trained.
        """
        if isinstance(self.balance, LossBalancer):
            return self.balance
        shared = [i.parameter for i in infos if i.shared and i.role is not Role.HEAD]
        if not any(parameter.requires_grad for parameter in shared):
            raise Unsupported(
                f"{type(self.balance).__name__} combines the gradients of the tasks at parameters "
                "that they share, and none of these is trained: the trunk is frozen, or there is "
                "none. Weigh the losses instead (EqualWeights() or another), or let the trunk "
                "learn."
            )
        engine = MultiTaskBackward(
            self.balance,
            at=self.at,
            heads=self.heads,
            max_gradient_memory=self.max_gradient_memory,
            # Passes of their own would make stacked heads look shared.
            shared=(shared or None) if self.defence.task_sam is not None else None,
        )
        engine.expect(shared)
        return engine
