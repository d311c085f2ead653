"""Proximal steps inside torch's own optimizers end where scikit-learn ends, with the same zeros.

The wrong variants that tutorials use are run beside the right ones, and must miss.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from polytask.optim.metric import proximal_steps
from polytask.optim.roles import Selector
from polytask.regularization.objective import (
    L1,
    L2,
    ElasticNet,
    GroupLasso,
    JointFeatures,
    Nuclear,
    Penalty,
    SparseGroupLasso,
    penalise,
)

ROWS, FEATURES, TASKS, ALPHA = 80, 12, 3, 0.1
Data = tuple[np.ndarray, np.ndarray]
After = Callable[[nn.Linear, Optimizer], None]

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda m: SGD(m.parameters(), lr=0.1),
    "momentum": lambda m: SGD(m.parameters(), lr=0.02, momentum=0.8),
    "dampening": lambda m: SGD(m.parameters(), lr=0.05, momentum=0.8, dampening=0.5),
    "nesterov": lambda m: SGD(m.parameters(), lr=0.02, momentum=0.8, nesterov=True),
    "adam": lambda m: Adam(m.parameters(), lr=0.02),
    "amsgrad": lambda m: Adam(m.parameters(), lr=0.02, amsgrad=True),
    "fused adamw": lambda m: AdamW(m.parameters(), lr=0.02, weight_decay=0.0, fused=True),
}


@cache
def problem() -> Data:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, FEATURES))
    inputs[:, 1] += 0.5 * inputs[:, 0]
    truth = generator.normal(size=(FEATURES, TASKS)) * 0.5
    truth[5:] = 0
    targets = inputs @ truth + 0.3 * generator.normal(size=(ROWS, TASKS))
    return inputs, targets


def train(
    after: After,
    make: Callable[[nn.Module], Optimizer],
    *,
    tasks: int = TASKS,
    steps: int = 1200,
    dtype: torch.dtype = torch.float64,
    row_weights: np.ndarray | None = None,
    data: Data | None = None,
    extra: Callable[[Tensor], Tensor] | None = None,
) -> np.ndarray:
    """Minimises (1/2n)‖Y − XW‖² + whatever `after` does; gives W, features × tasks."""
    inputs, targets = (torch.tensor(part, dtype=dtype) for part in data or problem())
    targets = targets[:, :tasks]
    weights = torch.ones(len(inputs), dtype=dtype)
    if row_weights is not None:
        weights = torch.tensor(row_weights, dtype=dtype) * len(inputs) / row_weights.sum()
    net = nn.Linear(inputs.shape[1], tasks, bias=False, dtype=dtype)
    nn.init.zeros_(net.weight)
    optimizer = make(net)
    rates = [group["lr"] for group in optimizer.param_groups]
    bound: list[After] = []
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 if step < 0.7 * steps else 0.2)
        optimizer.zero_grad()
        residual = (net(inputs) - targets).square().sum(dim=1)
        objective = (weights * residual).sum() / (2 * len(inputs))
        if extra is not None:
            objective = objective + extra(net.weight)
        objective.backward()
        optimizer.step()
        if not bound:
            bound.append(after)
        bound[0](net, optimizer)
    return net.weight.detach().double().numpy().T


def polytask_step(*penalties: Penalty) -> After:
    bound: dict[int, object] = {}

    def after(net: nn.Linear, optimizer: Optimizer) -> None:
        if id(net) not in bound:
            bound[id(net)] = penalise(net, penalties, optimizer, heads=".*")
        bound[id(net)].prox_()

    return after


def peer(name: str, columns: int = TASKS, **options: object) -> np.ndarray:
    from sklearn import linear_model

    inputs, targets = problem()
    weights = options.pop("sample_weight", None)
    model = getattr(linear_model, name)(fit_intercept=False, tol=1e-14, max_iter=100_000, **options)
    model.fit(inputs, targets[:, 0] if columns == 1 else targets, sample_weight=weights)
    return np.atleast_2d(model.coef_).T


def agrees(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-8) -> bool:
    same_support = np.array_equal(ours == 0, theirs == 0)
    return same_support and bool(np.abs(ours - theirs).max() < tolerance)


def test_the_peers_select_some_and_drop_some():
    """Otherwise the same support would say nothing."""
    for found in (peer("Lasso", 1, alpha=ALPHA), peer("MultiTaskLasso", alpha=ALPHA)[:, :1]):
        assert 3 <= (found == 0).sum() <= FEATURES - 3


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("penalty", "reference", "options", "columns"),
    [
        (L1(ALPHA), "Lasso", {"alpha": ALPHA}, 1),
        (ElasticNet(ALPHA, 0.7), "ElasticNet", {"alpha": ALPHA, "l1_ratio": 0.7}, 1),
        (JointFeatures(ALPHA), "MultiTaskLasso", {"alpha": ALPHA}, TASKS),
        (
            JointFeatures(ALPHA, 0.7),
            "MultiTaskElasticNet",
            {"alpha": ALPHA, "l1_ratio": 0.7},
            TASKS,
        ),
        (
            GroupLasso(ALPHA / TASKS**0.5, Selector(group="column")),
            "MultiTaskLasso",
            {"alpha": ALPHA},
            TASKS,
        ),
        (
            SparseGroupLasso(ALPHA / TASKS**0.5, 0.0, Selector(group="column")),
            "MultiTaskLasso",
            {"alpha": ALPHA},
            TASKS,
        ),
    ],
    ids=["L1", "elastic net", "L21", "L21 elastic net", "columns", "sparse group"],
)
def test_agrees_with_scikit_learn(name, penalty, reference, options, columns):
    ours = train(polytask_step(penalty), OPTIMIZERS[name], tasks=columns)
    assert agrees(ours, peer(reference, columns, **options))


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_agrees_in_single_precision(name):
    ours = train(polytask_step(JointFeatures(ALPHA)), OPTIMIZERS[name], dtype=torch.float32)
    assert agrees(ours, peer("MultiTaskLasso", alpha=ALPHA), 1e-5)


@pytest.mark.parametrize("name", ["nesterov", "adam"])
def test_agrees_with_weighted_rows(name):
    weights = np.random.default_rng(1).uniform(0.2, 3.0, ROWS)
    ours = train(polytask_step(JointFeatures(ALPHA)), OPTIMIZERS[name], row_weights=weights)
    assert agrees(ours, peer("MultiTaskLasso", alpha=ALPHA, sample_weight=weights))
    assert not agrees(ours, peer("MultiTaskLasso", alpha=ALPHA))


def ridge(decay: float) -> np.ndarray:
    from sklearn.linear_model import Ridge

    inputs, targets = problem()
    return Ridge(alpha=ROWS * decay, fit_intercept=False, tol=1e-14).fit(inputs, targets).coef_.T


def decayed(decay: float) -> Callable[[nn.Module], Optimizer]:
    return lambda m: SGD(m.parameters(), lr=0.02, momentum=0.8, weight_decay=decay)


def nothing(net: nn.Linear, optimizer: Optimizer) -> None:
    """No penalty."""


def test_ridge_is_the_decay_of_sgd_and_the_l2_penalty():
    assert agrees(train(nothing, decayed(0.3)), ridge(0.3), 1e-9)
    for name in ("sgd", "momentum", "nesterov"):
        assert agrees(train(polytask_step(L2(0.3)), OPTIMIZERS[name]), ridge(0.3), 1e-9)


def test_decay_and_a_square_count_thrice():
    """Why both on one parameter are refused: l by decay plus l‖w‖² is ridge with 3l."""
    both = train(nothing, decayed(0.1), extra=lambda w: 0.1 * w.square().sum())
    assert agrees(both, ridge(0.3), 1e-9)
    assert not agrees(both, ridge(0.1), 1e-2)


def test_the_norm_that_is_not_squared_is_not_ridge():
    wrong = train(
        nothing, OPTIMIZERS["momentum"], extra=lambda w: 0.3 * torch.linalg.vector_norm(w)
    )
    assert not agrees(wrong, ridge(0.3), 1e-2)


def test_decoupled_decay_is_not_ridge():
    wrong = train(nothing, lambda m: AdamW(m.parameters(), lr=0.02, weight_decay=0.3))
    assert not agrees(wrong, ridge(0.3), 1e-2)


def test_nuclear_norm_on_an_orthonormal_design():
    """Closed form: the singular values of XᵀY/n less λ."""
    generator = np.random.default_rng(2)
    inputs = np.linalg.qr(generator.normal(size=(ROWS, 6)))[0] * ROWS**0.5
    low_rank = generator.normal(size=(6, 2)) @ generator.normal(size=(2, 5))
    targets = inputs @ low_rank + 0.1 * generator.normal(size=(ROWS, 5))
    left, sizes, right = np.linalg.svd(inputs.T @ targets / ROWS, full_matrices=False)
    expected = (left * np.maximum(sizes - 0.2, 0)) @ right
    for name in ("sgd", "momentum", "nesterov"):
        ours = train(polytask_step(Nuclear(0.2)), OPTIMIZERS[name], tasks=5, data=(inputs, targets))
        assert np.abs(ours - expected).max() < 1e-8
        assert np.linalg.matrix_rank(ours, tol=1e-9) == 2
    wrong = train(nothing, OPTIMIZERS["sgd"], tasks=5, data=(inputs, targets))
    assert np.abs(wrong - expected).max() > 1e-2


def wrong_step(threshold: Callable[[nn.Linear, Optimizer], Tensor | float], rows: bool) -> After:
    """A soft or group threshold with another threshold than the metric's."""

    def after(net: nn.Linear, optimizer: Optimizer) -> None:
        with torch.no_grad():
            cut = threshold(net, optimizer) * ALPHA
            size = (
                torch.linalg.vector_norm(net.weight, dim=0, keepdim=True)
                if rows
                else net.weight.abs()
            )
            net.weight.mul_((1 - cut / size.clamp_min(1e-300)).clamp_min(0))

    return after


def rate(net: nn.Linear, optimizer: Optimizer) -> float:
    return optimizer.param_groups[0]["lr"]


def mean_metric(net: nn.Linear, optimizer: Optimizer) -> Tensor:
    steps = proximal_steps(optimizer, net.weight)
    assert isinstance(steps, Tensor)
    return 1 / (1 / steps).mean(dim=0, keepdim=True)


def right(net: nn.Linear, optimizer: Optimizer) -> Tensor | float:
    return proximal_steps(optimizer, net.weight)


def test_the_harness_of_wrong_steps_can_be_right():
    lasso = peer("Lasso", 1, alpha=ALPHA)
    for name in ("momentum", "adam"):
        assert agrees(train(wrong_step(right, False), OPTIMIZERS[name], tasks=1), lasso)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam"])
def test_a_threshold_of_rate_times_strength_misses_the_lasso(name):
    """The Euclidean threshold in Adam; the uncorrected one under momentum."""
    ours = train(wrong_step(rate, False), OPTIMIZERS[name], tasks=1)
    assert not agrees(ours, peer("Lasso", 1, alpha=ALPHA), 1e-3)


def test_the_uncorrected_momentum_threshold_solves_a_weaker_lasso():
    """(1 − μ) λ in place of λ."""
    ours = train(wrong_step(rate, False), OPTIMIZERS["momentum"], tasks=1)
    assert agrees(ours, peer("Lasso", 1, alpha=0.2 * ALPHA))


@pytest.mark.parametrize("wrong", [rate, mean_metric], ids=["Euclidean", "mean of the metric"])
def test_group_thresholds_outside_the_metric_miss(wrong):
    ours = train(wrong_step(wrong, True), OPTIMIZERS["adam"])
    assert not agrees(ours, peer("MultiTaskLasso", alpha=ALPHA), 1e-4)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_a_subgradient_has_no_zeros(name):
    """Support decides here, not distance."""
    ours = train(nothing, OPTIMIZERS[name], tasks=1, extra=lambda w: ALPHA * w.abs().sum())
    assert (ours == 0).sum() == 0
    assert not agrees(ours, peer("Lasso", 1, alpha=ALPHA), 10.0)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_everything_is_zero_just_above_the_largest_strength(name):
    inputs, targets = problem()
    largest = float(np.linalg.norm(inputs.T @ targets / ROWS, axis=1).max())
    above = train(polytask_step(JointFeatures(largest * (1 + 1e-9))), OPTIMIZERS[name], steps=50)
    below = train(polytask_step(JointFeatures(largest * 0.99)), OPTIMIZERS[name], steps=300)
    assert not above.any()
    assert below.any()
