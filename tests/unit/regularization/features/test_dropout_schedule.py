"""Dropout over the run: every probability is scaled from its first value, and comes back."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.backbones import ResidualMLP
from polytask.errors import InvalidArgument
from polytask.optim.schedules import constant, flat_cosine, linear
from polytask.regularization.features import DropoutSchedule
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression

FADE = linear([(0.0, 1.0), (1.0, 0.0)])


def network() -> MultiTaskModel:
    task = Regression("a").fit(np.arange(4.0))
    backbone = ResidualMLP(3, width=16, depth=2, dropout=0.2, drop_path=0.4)
    return MultiTaskModel.hard(backbone, [task], head_dropout=0.5)


def probabilities(model: nn.Module) -> list[float]:
    return [
        value
        for module in model.modules()
        for name in ("p", "dropout")
        if isinstance(value := getattr(module, name, None), float)
    ]


def test_layers_paths_and_heads_are_scaled_from_their_first_values():
    model = network()
    first = probabilities(model)
    assert first == [0.2, 0.2, 0.2, 0.4, 0.2, 0.5]
    schedule = DropoutSchedule(model, FADE)
    for fraction in (0.75, 0.5, 0.5, 0.25):  # not multiplied up
        schedule.apply(fraction)
        expected = [p * (1.0 - fraction) for p in first]
        assert probabilities(model) == pytest.approx(expected, abs=1e-15)
    schedule.restore()
    assert probabilities(model) == first


def test_the_forward_pass_obeys():
    """At the end of the run train mode computes what eval mode does; before, it does not."""
    model = network().train()
    schedule = DropoutSchedule(model, flat_cosine())
    rows = torch.randn(4, 3)

    def same() -> bool:
        train = model.train()(rows).outputs["a"]
        return torch.allclose(train, model.eval()(rows).outputs["a"])

    schedule.apply(0.5)
    assert not same()
    schedule.apply(1.0)
    assert same()


def test_torch_modules_with_dropout_inside():
    model = nn.ModuleList(
        [
            nn.MultiheadAttention(4, 2, dropout=0.3),
            nn.GRU(2, 2, 2, dropout=0.1),
            nn.AlphaDropout(0.2),
        ]
    )
    DropoutSchedule(model, constant(0.5)).apply(0.0)
    assert probabilities(model) == pytest.approx([0.15, 0.05, 0.1])


def test_a_factor_that_makes_certain_is_refused_and_changes_nothing():
    model = network()
    schedule = DropoutSchedule(model, constant(2.0))
    with pytest.raises(InvalidArgument, match="largest dropout"):
        schedule.apply(0.1)
    assert probabilities(model) == [0.2, 0.2, 0.2, 0.4, 0.2, 0.5]


def test_a_model_without_dropout_is_fine():
    DropoutSchedule(nn.Linear(2, 2), FADE).apply(0.5)
