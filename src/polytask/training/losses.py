"""The losses of one training batch: on labels, on mixed labels, and on a teacher's outputs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from polytask.data.batch import Batch
from polytask.regularization.inputs import Mixing, mixed_counts, mixed_sums
from polytask.tasks.base import masked_sum
from polytask.tasks.groups import TaskGroup

from .measure import own_loss
from .teaching import Teaching

Outputs = Mapping[str, Tensor]


class Example(NamedTuple):
    """A batch as the model sees it in training, and how its rows were mixed."""

    batch: Batch
    mixing: Mixing | None


def training_sums(
    outputs: Outputs, example: Example, groups: Sequence[TaskGroup], teaching: Teaching | None
) -> list[Tensor]:
    """The sums of the losses of an update, ``[k]`` per group.

    Args:
        outputs: Task group → raw outputs.
        example: The batch, perhaps mixed.
        groups: Task groups.
        teaching: The teacher's part in the losses, or None.
    """
    batch, mixing = example
    sums = []
    for group in groups:
        output, target = outputs[group.name], batch.targets[group.name]
        mask = batch.masks[group.name]
        loss = own_loss(group, output, target)
        if mixing is not None:
            partner = own_loss(group, output, target.index_select(0, mixing.partner))
            sums.append(mixed_sums(loss, partner, mask, batch.row_weights, mixing)[0])
            continue
        if teaching is not None:
            loss = teaching.blend(group, loss, output, batch.rows)
        sums.append(masked_sum(loss, mask, batch.row_weights))
    return sums


def counts_of_mixed(example: Example) -> dict[str, Tensor]:
    """Per group, the label counts ``[k]`` that stand behind the sums of a mixed batch."""
    batch, mixing = example
    assert mixing is not None
    return {
        name: mixed_counts(mask, batch.row_weights, mixing) for name, mask in batch.masks.items()
    }
