"""Polishing gives the zeros of the optimum, whatever training left."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.convex.polish import polish
from polytask.regularization.objective import L1, JointFeatures, Nuclear


def setting():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 10, generator=generator, dtype=torch.float64)
    truth = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    truth[4:] = 0
    targets = inputs @ truth + torch.randn(60, 3, generator=generator, dtype=torch.float64)
    head = nn.Linear(10, 3, bias=False, dtype=torch.float64)
    nn.init.normal_(head.weight, generator=generator)
    tasks = frozenset({"a", "b", "c"})
    info = ParameterInfo("head.weight", head.weight, Role.HEAD, Kind.WEIGHT, tasks)
    return inputs, targets, head, [info]


def half_mean(inputs, targets, head):
    return lambda: 0.5 * (head(inputs) - targets).square().sum() / len(inputs)


def test_joint_features_are_those_of_the_multi_task_lasso():
    from sklearn.linear_model import MultiTaskLasso

    inputs, targets, head, infos = setting()
    peer = MultiTaskLasso(alpha=0.3, fit_intercept=False, tol=1e-14, max_iter=100_000)
    peer.fit(inputs.numpy(), targets.numpy())
    untouched = head.weight.detach().clone()
    done = polish(half_mean(inputs, targets, head), infos, JointFeatures(0.3), tolerance=1e-9)
    found = head.weight.detach().numpy()
    assert done.converged
    assert np.allclose(found, peer.coef_, atol=1e-8)
    assert np.array_equal(found == 0, peer.coef_ == 0)
    assert done.zeros == (found == 0).sum() > 0
    assert done.entries == 30
    # The weights as training left them, and another scale of the loss, miss.
    assert not np.allclose(untouched.numpy(), peer.coef_, atol=1e-2)
    polish(lambda: (head(inputs) - targets).square().mean(), infos, JointFeatures(0.3))
    assert not np.allclose(head.weight.detach().numpy(), peer.coef_, atol=1e-2)


def test_single_zeros():
    from sklearn.linear_model import Lasso

    inputs, targets, head, infos = setting()
    peer = Lasso(alpha=0.2, fit_intercept=False, tol=1e-14, max_iter=100_000)
    peer.fit(inputs.numpy(), targets.numpy())
    penalty = L1(0.2, selector=JointFeatures(0.0).selector)
    assert polish(half_mean(inputs, targets, head), infos, penalty, tolerance=1e-9).converged
    assert np.array_equal(head.weight.detach().numpy() == 0, peer.coef_ == 0)


def test_rank():
    inputs, targets, head, infos = setting()
    polish(half_mean(inputs, targets, head), infos, Nuclear(0.8), tolerance=1e-8)
    values = torch.linalg.svdvals(head.weight.detach())
    assert 0 < int((values > 1e-8).sum()) < 3


def test_too_few_steps_are_said():
    inputs, targets, head, infos = setting()
    done = polish(
        half_mean(inputs, targets, head),
        infos,
        JointFeatures(0.3),
        tolerance=1e-9,
        max_iterations=2,
    )
    assert not done.converged
    assert done.iterations == 2
    assert done.residual > 1e-9


def test_other_parameters_stay():
    inputs, targets, head, infos = setting()
    body = nn.Linear(10, 10, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in body.named_parameters()}

    def objective():
        return (head(body(inputs).tanh()) - targets).square().mean()

    info = ParameterInfo("body", body.weight, Role.TRUNK, Kind.WEIGHT, frozenset({"a"}))
    polish(objective, [*infos, info], JointFeatures(0.05), max_iterations=20)
    assert all(torch.equal(before[name], p) for name, p in body.named_parameters())
    assert all(p.grad is None for p in (*body.parameters(), head.weight))


def test_a_single_precision_model():
    inputs, targets, _, _ = setting()
    head = nn.Linear(10, 3, bias=False)
    tasks = frozenset({"a", "b", "c"})
    infos = [ParameterInfo("head.weight", head.weight, Role.HEAD, Kind.WEIGHT, tasks)]
    objective = half_mean(inputs.float(), targets.float(), head)
    assert polish(objective, infos, JointFeatures(0.3), tolerance=1e-4).converged


def test_refused():
    inputs, _, head, infos = setting()
    with pytest.raises(InvalidArgument, match="be finite"):
        polish(lambda: head(inputs * float("inf")).sum(), infos, JointFeatures(0.3))
    with pytest.raises(InvalidArgument, match="strength"):
        polish(lambda: head(inputs).sum(), infos, JointFeatures(0.0))
