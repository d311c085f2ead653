"""Averaged weights in the place of the model's own while they are measured and kept."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from polytask.data.batch import Batches
from polytask.regularization.weights import WeightAverage, update_batch_norm


@contextmanager
def measured_weights(
    model: nn.Module, averaging: WeightAverage | None, train: Batches
) -> Iterator[None]:
    """Inside, the model holds the weights that count: averaged or slow ones once there are any.

    Args:
        model: Gets its own weights and running statistics back afterwards.
        averaging: What stands for the weights of the run, or None.
        train: Rows on which running statistics of averaged weights are measured anew.
    """
    if averaging is None or not averaging.active:
        yield
        return
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with averaging.swapped(model):
        try:
            if averaging.needs_batch_norm_update:
                update_batch_norm(model, train.epoch())
            yield
        finally:
            for buffer, value in statistics:
                buffer.copy_(value)
