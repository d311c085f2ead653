"""The losses of one training batch: on labels, on mixed labels, and on a teacher's outputs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from polytask.data.batch import Batch
from polytask.regularization.inputs import Mixing
from polytask.regularization.inputs.mixing import known_pairs, pair_counts, pair_sum
from polytask.tasks.base import masked_sum
from polytask.tasks.groups import TaskGroup

from .measure import own_loss
from .teaching import Teaching

Outputs = Mapping[str, Tensor]


class Example(NamedTuple):
    """A batch as the model sees it in training, and how its rows were mixed.

    The masks of a mixed batch are True where a row and its partner both have a label.
    """

    batch: Batch
    mixing: Mixing | None


def example_of(batch: Batch, mixing: Mixing | None) -> Example:
    """The example of a batch whose inputs were mixed, or were not (None)."""
    if mixing is None:
        return Example(batch, None)
    masks = {name: known_pairs(mask, mixing) for name, mask in batch.masks.items()}
    return Example(batch._replace(masks=masks), mixing)


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
            sums.append(pair_sum(loss, partner, mask, batch.row_weights, mixing))
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
        name: pair_counts(mask, batch.row_weights, mixing) for name, mask in batch.masks.items()
    }
