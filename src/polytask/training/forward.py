"""Forward passes of an update: the sums of the task losses, with or without a trace."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polytask.data.batch import Inputs
from polytask.regularization.inputs import hidden_mix
from polytask.sharing.base import ModelOutput
from polytask.sharing.parting import Part
from polytask.tasks.groups import TaskGroup

from .losses import Example, training_sums
from .measure import user_order
from .moving import Moving
from .seeding import Replay
from .teaching import Teaching


class Passed(NamedTuple):
    """One example after the forward pass.

    Args:
        sums: Sums of the losses ``[tasks]``, in the user's order.
        penalties: Those of the sharing architecture.
        inputs: What the model was called with.
    """

    sums: Tensor
    penalties: Sequence[Tensor]
    inputs: Inputs


@final
class Forward:
    """Calls the model on training examples.

    Args:
        model: Returns `ModelOutput`.
        groups: Task groups.
        moving: Running statistics that a look must not move.
        teaching: A teacher's part in the losses.
        device: Of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        moving: Moving,
        teaching: Teaching | None,
        device: torch.device,
    ) -> None:
        self.model = model
        self.groups = groups
        self.moving = moving
        self.teaching = teaching
        self.device = device
        order = user_order(groups)
        trivial = order == list(range(len(order)))
        self._order = None if trivial else torch.tensor(order, device=device)

    def __call__(
        self,
        example: Example,
        part: Part | None = None,
        *,
        watched: bool = False,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Passed:
        """One forward pass.

        Args:
            example: The batch, perhaps mixed.
            part: Copies for the tasks, where their gradients are told apart.
            watched: The gradient with respect to the inputs will be asked for.
            weights: Stand for the parameters of these names.
        """
        inputs = example.batch.inputs
        inputs = _watched(inputs) if watched else inputs
        mix = hidden_mix(example.mixing)
        options: dict[str, Any] = {} if mix is None else {"mix": mix}
        if part is not None:
            options["part"] = part
        output: ModelOutput = (
            self.model(inputs, **options)
            if weights is None
            else functional_call(self.model, dict(weights), (inputs,), options)
        )
        sums = training_sums(output.outputs, example, self.groups, self.teaching)
        return Passed(self.in_user_order(sums), [*output.shared.penalties.values()], inputs)

    def replay(self) -> Replay:
        """The random streams of now, to draw the same dropout masks once more."""
        return Replay(self.device)

    @torch.no_grad()
    def look(self, examples: Sequence[Example], replay: Replay) -> Tensor:
        """Sums of the losses of a window ``[tasks]`` without a trace: no gradient, no statistics
        moved, the masks of `replay`, no random number used up.
        """
        statistics = self.moving.statistics()
        with replay.again():
            total = torch.stack([self(example).sums for example in examples]).sum(0)
        self.moving.restore(statistics)
        return total

    def in_user_order(self, pieces: Sequence[Tensor]) -> Tensor:
        """One vector ``[k]`` per group → ``[tasks]``."""
        vector = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))
        return vector if self._order is None else vector[self._order]


def _watched(inputs: Inputs) -> Inputs:
    """The inputs, floating ones as leaves that get a gradient."""
    if isinstance(inputs, Tensor):
        return inputs.detach().requires_grad_(inputs.is_floating_point())
    return {
        name: part.detach().requires_grad_(part.is_floating_point())
        for name, part in inputs.items()
    }
