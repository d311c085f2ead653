"""The optimizer as a value: what the user says, and the torch optimizer made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from polytask._checks import at_least, one_of, positive, probability, require, unknown
from polytask.errors import InvalidArgument

from .roles import Kind, ParameterInfo, Role

_DECAYED_KINDS = frozenset({Kind.WEIGHT, Kind.EMBEDDING})
_NEVER_DECAYED_ROLES = frozenset({Role.BALANCE, Role.GATE})
_FUSED_DTYPES = frozenset({torch.float32, torch.float64})
_FUSED_DEVICES = frozenset({"cpu", "cuda"})


@final
@dataclass(frozen=True)
class OptimizerSpec:
    """SGD, Adam or AdamW with groups by role, kind and task.

    Weight decay acts on weights and embeddings only: never on biases, normalisation parameters,
    the rows that stand for "missing", scalars, gates, or learned task weights.

    What the decay λ means depends on the optimizer:

    - ``"sgd"``: coupled, g ← g + λw. It minimises loss + (λ/2)‖w‖²: this is ridge.
    - ``"adam"``: coupled too, with the same stationary point, but the second moment rescales it
      on the way.
    - ``"adamw"``: decoupled, w ← (1 − ηλ)w. Its fixed point is *not* ridge.

    Args:
        name: ``"sgd"``, ``"adam"`` or ``"adamw"``.
        learning_rate: η, positive.
        weight_decay: λ, at least 0.
        momentum: SGD only, in [0, 1). PyTorch's rule v ← μv + g: the effective step is η / (1 − μ).
        nesterov: SGD only; needs momentum.
        betas: Adam and AdamW only: decay of the first and second moments.
        rates: Factors on the learning rate: ``"role:head"`` acts on a role, ``"task:sex"`` on the
            parameters that only this task reaches. Factors that meet on a parameter multiply; 0
            freezes.

    Raises:
        InvalidArgument: If a value breaks its rule.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 1)
        >>> infos = [
        ...     ParameterInfo("w", layer.weight, Role.HEAD, Kind.WEIGHT, frozenset({"sex"})),
        ...     ParameterInfo("b", layer.bias, Role.HEAD, Kind.BIAS, frozenset({"sex"})),
        ... ]
        >>> optimizer = OptimizerSpec(rates={"task:sex": 0.5}).build(infos)
        >>> [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
        [(0.0005, 0.0003), (0.0005, 0.0)]

    Reference:
        Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
        https://arxiv.org/abs/1711.05101
    """

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 3e-4
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, ("sgd", "adam", "adamw"))
        positive("optimizer.learning_rate", self.learning_rate)
        at_least("optimizer.weight_decay", self.weight_decay, 0)
        probability("optimizer.momentum", self.momentum)
        require(len(self.betas) == 2, "optimizer.betas", "be a pair", self.betas)
        for beta in self.betas:
            probability("optimizer.betas", beta)
        require(
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            "optimizer.nesterov",
            "be off unless the optimizer is sgd with momentum",
            self.nesterov,
        )
        for key, factor in self.rates.items():
            at_least(f"optimizer.rates[{key!r}]", factor, 0)

    @property
    def separate_tasks(self) -> tuple[str, ...]:
        """Tasks with a learning rate of their own: give these to ``group_tasks(separate=…)``."""
        return tuple(key.partition(":")[2] for key in self.rates if key.startswith("task:"))

    def build(self, infos: Sequence[ParameterInfo]) -> Optimizer:
        """The torch optimizer of the trainable parameters among `infos`.

        Groups are formed by (decayed or not, rate factor); each stores ``initial_lr``, and the
        names of its parameters under ``param_names``. The fused implementation is used if every
        parameter allows it (float32 or float64, on CPU or CUDA).

        Args:
            infos: Every parameter once, as ``model.roles()`` gives them; frozen ones are skipped.

        Raises:
            InvalidArgument: If nothing is trainable, a parameter occurs twice, or a task with a
                rate of its own shares its head with others.
            UnknownName: If a rate names a role or a task that the model does not have.
        """
        trainable = [info for info in infos if info.parameter.requires_grad]
        require(len(trainable) > 0, "infos", "hold a trainable parameter", [i.name for i in infos])
        doubled = len({id(info.parameter) for info in trainable}) < len(trainable)
        require(not doubled, "infos", "hold every parameter once", [i.name for i in trainable])
        self._check_rates(trainable)

        members: dict[tuple[bool, float], list[ParameterInfo]] = {}
        for info in trainable:
            members.setdefault((_decays(info), self._factor(info)), []).append(info)
        groups: list[dict[str, Any]] = [
            {
                "params": [(info.name, info.parameter) for info in group],
                "lr": self.learning_rate * factor,
                "initial_lr": self.learning_rate * factor,
                "weight_decay": self.weight_decay if decayed else 0.0,
            }
            for (decayed, factor), group in members.items()
        ]
        fused = all(
            info.parameter.dtype in _FUSED_DTYPES and info.parameter.device.type in _FUSED_DEVICES
            for info in trainable
        )
        if self.name == "sgd":
            return SGD(
                groups,
                lr=self.learning_rate,
                momentum=self.momentum,
                nesterov=self.nesterov,
                fused=fused,
            )
        kind = Adam if self.name == "adam" else AdamW
        return kind(groups, lr=self.learning_rate, betas=self.betas, weight_decay=0.0, fused=fused)

    def _factor(self, info: ParameterInfo) -> float:
        factor = float(self.rates.get(f"role:{info.role}", 1.0))
        if len(info.tasks) == 1:
            (task,) = info.tasks
            factor *= float(self.rates.get(f"task:{task}", 1.0))
        return factor

    def _check_rates(self, infos: Sequence[ParameterInfo]) -> None:
        roles = dict.fromkeys(f"role:{info.role}" for info in infos)
        tasks = dict.fromkeys(f"task:{task}" for info in infos for task in sorted(info.tasks))
        for key in self.rates:
            if key not in roles and key not in tasks:
                raise unknown("optimizer.rates", key, [*roles, *tasks])
            task = key.removeprefix("task:")
            if key in tasks and not any(info.tasks == {task} for info in infos):
                partners = min(
                    (info.tasks - {task} for info in infos if task in info.tasks), key=len
                )
                raise InvalidArgument(
                    f"`optimizer.rates` gives the task {task!r} a rate of its own, but it shares "
                    f"every parameter with other tasks ({_shown(partners)}). Give it a head of "
                    f"its own: group_tasks(tasks, separate=[{task!r}])."
                )


def _decays(info: ParameterInfo) -> bool:
    return info.kind in _DECAYED_KINDS and info.role not in _NEVER_DECAYED_ROLES


def _shown(names: frozenset[str]) -> str:
    first = ", ".join(repr(name) for name in sorted(names)[:4])
    return first if len(names) <= 4 else f"{first}, … ({len(names)} in all)"
