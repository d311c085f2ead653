"""The losses of one training batch: on labels, on mixed labels, and on a teacher's outputs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from polytask.data.batch import Batch
from polytask.data.batches import label_counts
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
    if mixing is None or batch.masks.keys() <= batch.complete:
        return Example(batch, mixing)
    masks = {
        name: mask if name in batch.complete else known_pairs(mask, mixing)
        for name, mask in batch.masks.items()
    }
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
        mask = None if group.name in batch.complete else batch.masks[group.name]
        loss = own_loss(group, output, target)
        if mixing is not None:
            partner = own_loss(group, output, target.index_select(0, mixing.partner))
            sums.append(pair_sum(loss, partner, mask, batch.row_weights, mixing))
            continue
        if teaching is not None:
            loss = teaching.blend(group, loss, output, batch.rows)
        sums.append(masked_sum(loss, mask, batch.row_weights))
    return sums


def label_counts_of(
    examples: Sequence[Example], unmixed: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Per group, the label counts ``[k]`` that stand behind the sums of a window.

    Args:
        examples: The micro-batches of the window.
        unmixed: The counts before any rows were mixed.
    """
    if not any(map(_counted_anew, examples)):
        return unmixed
    first, *others = map(_label_counts, examples)
    return {name: sum((c[name] for c in others), first[name]) for name in first}


def _counted_anew(example: Example) -> bool:
    """Whether mixing may have changed the counts: without gaps and weights it does not."""
    batch, mixing = example
    alike = batch.row_weights is None and batch.masks.keys() <= batch.complete
    return mixing is not None and not alike


def _label_counts(example: Example) -> dict[str, Tensor]:
    batch, mixing = example
    if mixing is None:
        return label_counts(batch)
    return {
        name: pair_counts(mask, batch.row_weights, mixing) for name, mask in batch.masks.items()
    }
