"""Norms, decay, exact zeros, spectra and selected inputs of kept weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from polytask.backbones import MLP
from polytask.diagnostics.structure import as_matrix, measure_structure
from polytask.optim import Kind, ParameterInfo, Role, describe_groups
from polytask.regularization.objective import PenaltySummary, Zeros
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression


@pytest.fixture
def model():
    torch.manual_seed(0)
    tasks = [Regression(name).fit(np.arange(4.0)) for name in ("b", "a")]
    return MultiTaskModel.hard(MLP(3, width=8, depth=2), tasks)


def info_of(weight, role=Role.BACKBONE, name="w"):
    return ParameterInfo(name, nn.Parameter(weight), role, Kind.WEIGHT, frozenset({"y"}))


def test_every_parameter_has_a_row(model):
    found = measure_structure(model.roles(), tasks=["b", "a"])
    assert [row.name for row in found.layers] == [info.name for info in model.roles()]
    for row, parameter in zip(found.layers, model.parameters(), strict=True):
        assert row.norm == pytest.approx(float(parameter.detach().double().square().sum()) ** 0.5)
        assert row.rms == pytest.approx(float(parameter.detach().double().square().mean()) ** 0.5)
        assert row.decay_per_step is row.half_life is None


def test_decay_comes_from_the_optimizer(model):
    infos = model.roles()
    weights = [i.parameter for i in infos if i.kind is Kind.WEIGHT]
    rest = [i.parameter for i in infos if i.kind is not Kind.WEIGHT]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    found = measure_structure(infos, decay=describe_groups(optimizer, infos))
    for row in found.layers:
        if row.kind == "weight":
            assert row.decay_per_step == pytest.approx(1e-3)
            assert row.half_life == pytest.approx(math.log(2) / -math.log1p(-1e-3))
        else:
            assert (row.decay_per_step, row.half_life) == (0.0, None)


def test_zeros_are_counted_by_entry_row_and_column():
    weight = torch.ones(3, 4)
    weight[1] = 0
    weight[:, 2] = 0
    weight[0, 0] = 1e-30  # small is not zero
    (row,) = measure_structure([info_of(weight)]).layers
    assert (row.zeros, row.zero_rows, row.zero_columns) == (6, 1, 1)
    assert (row.rows, row.columns) == (3, 4)


def test_stacked_heads_and_convolutions_become_matrices():
    heads = info_of(torch.arange(24.0).view(2, 3, 4), Role.HEAD)
    assert as_matrix(heads).tolist() == torch.arange(24.0).view(6, 4).tolist()
    kernel = torch.randn(5, 2, 3, 3)
    matrix = as_matrix(info_of(kernel))
    assert matrix.shape[1] == 2
    assert torch.equal(matrix[:, 1].sort().values, kernel[:, 1].flatten().sort().values)
    bias = ParameterInfo("b", nn.Parameter(torch.ones(2, 2)), Role.HEAD, Kind.BIAS, frozenset("y"))
    assert as_matrix(bias) is None


def test_spectrum_of_heads_that_share_one_direction():
    direction = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    heads = info_of(torch.stack([direction, 2 * direction, -direction]), Role.HEAD)
    (found,) = measure_structure([heads]).heads
    assert found.shape == (3, 6)
    assert found.rank == 1
    assert found.effective == pytest.approx(1.0, abs=1e-4)
    (other,) = measure_structure([info_of(torch.eye(3, 6).unsqueeze(1), Role.HEAD)]).heads
    assert (other.rank, other.effective) == (3, pytest.approx(3.0))


def test_heads_are_listed_in_the_users_order(model):
    (found,) = measure_structure(model.roles(), tasks=["b", "a"]).heads
    assert found.names == ("b", "a")


def test_heads_of_zeros_have_rank_zero():
    (found,) = measure_structure([info_of(torch.zeros(2, 1, 3), Role.HEAD)]).heads
    assert (found.rank, found.effective) == (0, 0.0)


def test_inputs_are_listed_only_where_one_was_left_out(model):
    names = ["x", "y", "z"]
    assert measure_structure(model.roles(), features=names).features == ()
    with torch.no_grad():
        model.backbone.layers[0].weight[:, 1] = 0
    found = measure_structure(model.roles(), features=names).features
    assert [feature.name for feature in found] == names
    assert [feature.norm == 0 for feature in found] == [False, True, False]
    assert measure_structure(model.roles(), features=[*names, "more"]).features == ()


def test_inputs_of_heads_without_backbone():
    weight = torch.tensor([[[0.0, 2.0]], [[0.0, 0.0]]])
    found = measure_structure([info_of(weight, Role.HEAD)], features=["x", "z"]).features
    assert [(feature.name, feature.norm) for feature in found] == [("x", 0.0), ("z", 2.0)]


def test_penalties_arrive_with_their_zeros(model):
    name = model.roles()[0].name
    summary = PenaltySummary("L1", 0.1, "L1 of strength 0.1", "prox", (name,), {})
    other = PenaltySummary("L2", 0.1, "ridge", "gradient", (name,), {})
    found = measure_structure(
        model.roles(), penalties=[summary, other], zeros={"L1": Zeros(3, 24, 1, 8)}
    )
    first, second = found.penalties
    assert (first.entries, first.of_entries, first.groups, first.of_groups) == (3, 24, 1, 8)
    assert second.entries is None
    assert found.layers[0].penalties == ("L1", "L2")
    assert found.layers[1].penalties == ()
