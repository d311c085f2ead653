"""Laws of proximal steps: optimality, Moreau's identity, firm non-expansiveness, exact zeros."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, linalg

from polytask.optim.roles import Selector
from polytask.regularization.objective import (
    L1,
    L2,
    ElasticNet,
    Fused,
    GroupLasso,
    JointFeatures,
    JointFeaturesMax,
    Nuclear,
    Penalty,
    SparseGroupLasso,
)
from polytask.regularization.objective.weighted_group import group_threshold_

ROWS = Selector(group="row")
PENALTIES: dict[str, Penalty] = {
    "L1": L1(0.7),
    "L2": L2(0.7),
    "ElasticNet": ElasticNet(0.7, 0.4),
    "GroupLasso": GroupLasso(0.4, ROWS),
    "SparseGroupLasso": SparseGroupLasso(0.7, 0.4, ROWS),
    "JointFeatures": JointFeatures(0.7),
    "JointFeatures with ridge": JointFeatures(0.7, 0.4),
    "JointFeaturesMax": JointFeaturesMax(0.7),
    "Nuclear": Nuclear(0.7),
    "Fused": Fused(0.7, ("c", "a", "b")),
}
PENALTIES["Fused"].columns([("a", "b", "c")])
seeds = st.integers(0, 2**31 - 1)
fast = settings(max_examples=40, deadline=None)


def draw(seed: int, *, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Two points and a metric of steps."""
    generator = torch.Generator().manual_seed(seed)
    u, v, t = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    return u, v, torch.exp(spread * t)


def prox(penalty: Penalty, u: Tensor, step: Tensor | float) -> Tensor:
    w = u.clone()
    penalty.prox_([w], [step])
    return w


def metrics(penalty: Penalty, step: Tensor) -> list[Tensor | float]:
    number = float(step[0, 0])
    return [number] if penalty.metric == "scalar" else [number, step]


def objective(penalty: Penalty, w: Tensor, u: Tensor, step: Tensor | float) -> float:
    return float(((w - u).square() / step).sum() / 2 + penalty.value([w]))


@pytest.mark.parametrize("name", PENALTIES)
@fast
@given(seed=seeds)
def test_no_other_point_is_better(name, seed):
    """(w is the argmin) ⟺ for all z: F(z) ≥ F(w) + ½‖z − w‖² in the metric."""
    u, v, step = draw(seed)
    penalty = PENALTIES[name]
    for metric in metrics(penalty, step):
        w = prox(penalty, u, metric)
        best = objective(penalty, w, u, metric)
        for scale in (1.0, 1e-2, 1e-4):
            z = w + scale * v
            gap = float(((z - w).square() / metric).sum() / 2)
            assert objective(penalty, z, u, metric) >= best + gap - 1e-9
        assert objective(penalty, torch.zeros_like(w), u, metric) >= best - 1e-12


@pytest.mark.parametrize("name", PENALTIES)
@fast
@given(seed=seeds)
def test_firmly_nonexpansive(name, seed):
    """‖p(u) − p(v)‖² ≤ ⟨p(u) − p(v), u − v⟩ in the metric."""
    u, v, step = draw(seed)
    penalty = PENALTIES[name]
    for metric in metrics(penalty, step):
        difference = prox(penalty, u, metric) - prox(penalty, v, metric)
        inner = (difference * (u - v) / metric).sum()
        assert (difference.square() / metric).sum() <= inner + 1e-9


def test_hard_thresholds_break_the_law():
    """Keeping what is above the threshold unchanged is no proximal step of a convex penalty."""
    u, v = torch.tensor([[0.71]]), torch.tensor([[0.69]])

    def hard(x: Tensor) -> Tensor:
        return torch.where(x.abs() > 0.7, x, 0.0)

    difference = hard(u) - hard(v)
    assert difference.square().sum() > (difference * (u - v)).sum()


@pytest.mark.parametrize("name", ["L1", "JointFeatures", "Nuclear"])
@fast
@given(seed=seeds)
def test_moreau(name, seed):
    """For a norm, u − prox(u) is the projection on λt times the dual norm's ball."""
    u, _, step = draw(seed)
    number, penalty = float(step[0, 0]), PENALTIES[name]
    rest = u - prox(penalty, u, number)
    bound = penalty.strength * number
    if name == "L1":
        expected = u.clamp(-bound, bound)
    elif name == "JointFeatures":
        norms = linalg.vector_norm(u, dim=1, keepdim=True)
        expected = u * (bound / norms).clamp(max=1)
    else:
        left, sizes, right = linalg.svd(u, full_matrices=False)
        expected = (left * sizes.clamp(max=bound)) @ right
    torch.testing.assert_close(rest, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_weighted_group_against_scipy(seed):
    """Argmin by a general solver; the mean of the metric misses it."""
    from scipy.optimize import minimize

    u, _, step = draw(seed, spread=1.5)
    strength = 0.6
    ours = u.clone()
    group_threshold_([ours], [step], [strength])
    missed = 0.0
    for row, metric, start in zip(ours, step, u, strict=True):
        t, x = metric.numpy(), start.numpy()

        def function(w: np.ndarray, t=t, x=x) -> tuple[float, np.ndarray]:
            norm = np.sqrt((w**2).sum())
            gradient = (w - x) / t + strength * w / max(norm, 1e-300)
            return ((w - x) ** 2 / t).sum() / 2 + strength * norm, gradient

        if not row.any():
            assert np.sqrt(((x / t) ** 2).sum()) <= strength
            continue
        found = minimize(function, x, jac=True, method="BFGS", options={"gtol": 1e-10})
        np.testing.assert_allclose(row.numpy(), found.x, atol=1e-6)
        cheap = x * max(1 - strength / (1 / t).mean() / np.sqrt((x**2).sum()), 0)
        missed = max(missed, float(np.abs(cheap - found.x).max()))
    assert missed > 1e-3


@fast
@given(seed=seeds, strength=st.floats(1e-3, 3.0))
def test_weighted_group_is_zero_exactly_when_the_condition_says(seed, strength):
    u, _, step = draw(seed, spread=2.0)
    w = u.clone()
    group_threshold_([w], [step], [strength])
    zero = linalg.vector_norm(u / (step * strength), dim=1) <= 1
    assert torch.equal(zero, (w == 0).all(dim=1))
    assert not (w[~zero] == 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("spread", [0.0, 3.0, 10.0])
def test_weighted_group_at_any_scale(dtype, scale, spread):
    """‖u / (s + λt)‖ = 1 at s = ‖w‖, whatever the sizes."""
    generator = torch.Generator().manual_seed(0)
    u = (torch.randn(200, 6, generator=generator, dtype=torch.float64) * scale).to(dtype)
    exponents = torch.randn(200, 6, generator=generator, dtype=torch.float64).clamp(-1, 1)
    step = (10 ** (spread * exponents) * scale).to(dtype)
    w = u.clone()
    group_threshold_([w], [step], [0.5])
    assert w.isfinite().all()
    alive = (w != 0).any(dim=1)
    assert alive.any()
    wide, steps = u[alive].double(), 0.5 * step[alive].double()
    root = linalg.vector_norm(w[alive].double(), dim=1, keepdim=True)
    residual = linalg.vector_norm(wide / (root + steps), dim=1) - 1
    assert residual.abs().max() < (1e-5 if dtype is torch.float32 else 1e-13)


def test_many_blocks_at_once_keep_their_own_thresholds():
    """Of other widths, steps and strengths, by the closed form; the last one is left alone."""
    generator = torch.Generator().manual_seed(3)
    widths, steps, strengths = (2, 5, 3, 4), (0.1, 0.7, 0.4, 0.5), (0.9, 0.3, 2.0, 0.0)
    given = [torch.randn(6, k, generator=generator, dtype=torch.float64) for k in widths]
    found = [u.clone() for u in given]
    as_tensor = [steps[0], steps[1], torch.full_like(given[2], steps[2]), steps[3]]
    group_threshold_(found, as_tensor, strengths)
    zeros = 0
    for u, w, step, strength in zip(given, found, steps, strengths, strict=True):
        lengths = linalg.vector_norm(u, dim=1, keepdim=True)
        expected = u * (1 - strength * step / lengths).clamp_min(0)
        torch.testing.assert_close(w, expected, rtol=1e-12, atol=1e-14)
        zeros += int((w == 0).all(dim=1).sum())
    assert zeros > 0
    assert torch.equal(found[-1], given[-1])


def test_zero_groups_and_zero_entries_stay_finite():
    for step in (1.0, torch.ones(2, 2)):
        w = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
        group_threshold_([w], [step], [1.0])
        # Zeros are exact.
        assert w.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0, 2.0], rel=1e-6, abs=0)
        before = w.clone()
        group_threshold_([w], [step], [0.0])
        assert torch.equal(w, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_group_at_the_edge_of_the_numbers(dtype):
    """Squares that underflow, and rows of zeros, beside ordinary rows."""
    small = torch.finfo(dtype).tiny ** 0.6  # its square is 0
    u = torch.tensor([[3.0, 4.0], [small, small], [small, small], [0.0, 0.0]], dtype=dtype)
    step = torch.tensor([[1e-3, 1e-3], [small, small], [small / 9] * 2, [1e-3, 1e-3]], dtype=dtype)
    assert float(u[1, 0] * u[1, 0]) == 0
    w = u.clone()
    group_threshold_([w], [step], [2.0])
    kept = 1 - (2 / 9) / 2**0.5
    expected = torch.stack([u[0] * (1 - 2e-3 / 5), torch.zeros(2), kept * u[2], u[3]])
    torch.testing.assert_close(w, expected.to(dtype), rtol=1e-6, atol=0)
