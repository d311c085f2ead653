"""Fitted tasks of several kinds, and a small table."""

import numpy as np
import pytest
import torch

from polytask.data.batch import Batch
from polytask.tasks import Binary, Multiclass, Regression


@pytest.fixture
def tasks():
    """Two regressions and two binaries interleaved, one multiclass: three groups."""
    values = np.arange(6.0)
    return [
        Regression("age", center=0.0, scale=1.0).fit(values),
        Binary("sex").fit(np.array([0, 1, 1, 1, 0, 1])),
        Regression("dose.mg").fit(values**2),
        Binary("ill").fit(np.array([0, 0, 0, 1, 0, 0])),
        Multiclass("stage").fit(np.array(["a", "b", "c", "a", "a", "b"])),
    ]


@pytest.fixture
def example():
    generator = torch.Generator().manual_seed(0)
    return Batch(torch.randn(16, 3, generator=generator), {}, {}, None, torch.arange(16))
