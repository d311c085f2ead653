"""Batch normalisation and a batch of one row."""

import pytest
import torch
from torch import nn

from polytask.backbones import MLP


def test_batch_norm_trains_on_a_single_row():
    """The last batch of an epoch may hold one row; torch's own layer refuses it."""
    backbone = MLP(3, width=8, depth=1, dropout=0.0, normalization="batch").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    row = torch.randn(1, 3)
    alone = backbone(row)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert torch.equal(alone, backbone.eval()(row))
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm1d(3).train()(row)
