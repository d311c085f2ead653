"""Label smoothing: (1 − e)·CE + e·mean over classes of −log p, and torch's own criterion."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polytask.tasks import Binary, Multiclass

SMOOTHING = (0.0, 0.05, 0.1, 0.3)


def classes(e: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and classes, and the loss of a fitted task."""
    generator = torch.Generator().manual_seed(1)
    logits = 3.0 * torch.randn(40, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(40) % 4
    task = Multiclass("y", label_smoothing=e).fit(y.numpy())
    return logits, y, task.loss(logits, task.encode(y.numpy())[0])


def two_classes(e: float) -> tuple[Tensor, Tensor, Tensor]:
    """The logits (0, z) of the negative and the positive class, and the loss of the one logit z."""
    generator = torch.Generator().manual_seed(2)
    z = 3.0 * torch.randn(40, 1, generator=generator, dtype=torch.float64)
    y = torch.arange(40) % 2
    task = Binary("y", label_smoothing=e).fit(y.numpy())
    logits = torch.cat([torch.zeros_like(z), z], 1)
    return logits, y, task.loss(z, task.encode(y.numpy())[0])


def identity(logits: Tensor, y: Tensor, e: float) -> Tensor:
    surprise = -logits.log_softmax(1)
    return (1.0 - e) * surprise[torch.arange(len(y)), y] + e * surprise.mean(1)


def others_only(logits: Tensor, y: Tensor, e: float) -> Tensor:
    """Wrong: e is spread over the other classes, the true one gets nothing of it."""
    surprise = -logits.log_softmax(1)
    true = surprise[torch.arange(len(y)), y]
    return (1.0 - e) * true + e * (surprise.sum(1) - true) / (logits.shape[1] - 1)


def sum_of_classes(logits: Tensor, y: Tensor, e: float) -> Tensor:
    """Wrong: a sum where the mean belongs."""
    surprise = -logits.log_softmax(1)
    return (1.0 - e) * surprise[torch.arange(len(y)), y] + e * surprise.sum(1)


def close(ours: Tensor, other: Tensor) -> None:
    np.testing.assert_allclose(ours.numpy(), other.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("e", SMOOTHING)
@pytest.mark.parametrize("make", [classes, two_classes])
def test_the_identity(make, e):
    logits, y, ours = make(e)
    close(ours, identity(logits, y, e))


@pytest.mark.parametrize("e", SMOOTHING)
@pytest.mark.parametrize("make", [classes, two_classes])
def test_as_torch(make, e):
    logits, y, ours = make(e)
    close(ours, nn.CrossEntropyLoss(reduction="none", label_smoothing=e)(logits, y))


@pytest.mark.parametrize("wrong", [others_only, sum_of_classes])
@pytest.mark.parametrize("make", [classes, two_classes])
def test_a_wrong_spread_of_the_smoothing_fails(make, wrong):
    for e in SMOOTHING[1:]:
        logits, y, ours = make(e)
        with pytest.raises(AssertionError):
            close(ours, wrong(logits, y, e))


@pytest.mark.parametrize("e", SMOOTHING[1:])
def test_smoothing_raises_the_floor_of_the_loss(e):
    """The least loss of a smoothed target is its entropy: not comparable with a plain loss."""
    truth = torch.full((1, 4), e / 4, dtype=torch.float64)
    truth[0, 0] += 1.0 - e
    task = Multiclass("y", label_smoothing=e).fit(np.arange(4))
    floor = task.loss(truth.log(), torch.tensor([0]))
    close(floor, -(truth * truth.log()).sum(1))
    for factor in (0.9, 1.1):
        assert task.loss(factor * truth.log(), torch.tensor([0])) > floor
