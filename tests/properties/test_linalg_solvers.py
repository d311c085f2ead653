"""Optimality of every solver on constructed Gramians, checked in extended precision."""

import numpy as np
import pytest

from polytask._linalg import (
    TOLERANCE,
    equilibrate,
    project_simplex,
    solve_aligned_mtl,
    solve_cagrad,
    solve_config,
    solve_dualproj,
    solve_fair,
    solve_imtl_g,
    solve_min_norm,
    solve_nash,
    solve_upgrad,
)
from polytask.testing.problems import constructed_gramian

EPS = float(np.finfo(np.float64).eps)
LONG = np.longdouble


def unit(gramian, weights):
    """Cosine matrix, norms and weights of unit gradients, in extended precision."""
    norms = np.sqrt(np.diagonal(gramian).astype(LONG))
    return gramian.astype(LONG) / norms[:, None] / norms, norms, weights.astype(LONG) * norms


def complementarity(matrix, offset, z):
    return float(np.abs(np.minimum(z, matrix @ z + offset)).max() / np.abs(offset).max())


def min_norm_residual(gramian, weights):
    cosines, norms, v = unit(gramian, weights)
    level = v @ cosines @ v
    slack = cosines @ v - level / norms
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    return float(np.abs(np.minimum(v, slack)).max() / np.abs(v).sum())


def dualproj_residual(gramian, weights):
    cosines, norms, v = unit(gramian, weights)
    start = norms / len(norms)
    return complementarity(cosines, cosines @ start, v - start)


def upgrad_residual(gramian, weights):
    """Each task's projection is that of a mean in which it has all the preference."""
    worst, size = 0.0, len(gramian)
    total = np.zeros(size)
    for task in range(size):
        preference = np.zeros(size)
        preference[task] = 1.0
        one = solve_dualproj(gramian, preference, EPS).weights
        total += one / size
        cosines, norms, v = unit(gramian, one)
        start = preference * norms
        # The solution in units of this task's own gradient.
        gap = complementarity(cosines, cosines @ start / norms[task], (v - start) / norms[task])
        worst = max(worst, gap)
    difference = np.abs(total - weights) / np.abs(weights).max()
    return max(worst, float(difference.max()))


def cagrad_residual(c):
    def residual(gramian, weights):
        cosines, norms, v = unit(gramian, weights)
        start = norms / len(norms)
        z = v - start
        phi = LONG(c) ** 2 * (start @ cosines @ start)
        worst = np.argmax(z)
        slack = cosines @ v - (cosines @ v)[worst] * norms[worst] / norms
        kkt = float(np.abs(np.minimum(z, slack)).max() / np.abs(v).sum())
        return max(kkt, float(abs(z @ cosines @ z - phi) / phi))

    return residual


def fair_residual(alpha):
    """|Gw - w^(-1/a)| against the terms that are summed to get it: rounding cannot hide there."""

    def residual(gramian, weights):
        if not weights.any():
            return np.inf
        matrix, w = gramian.astype(LONG), weights.astype(LONG)
        miss = np.abs(matrix @ w - w ** (-1 / LONG(alpha)))
        return float((miss / (np.abs(matrix) @ w)).max())

    return residual


def projections_residual(gramian, weights):
    cosines, _, v = unit(gramian, weights)
    slopes = cosines @ v
    return float(np.abs(slopes - slopes.mean()).max() / np.abs(v).max())


def aligned_residual(gramian, weights):
    """With w = Bp, the rows of B are orthogonal and equally long in the metric of G: BGB = σI."""
    size = len(gramian)
    chosen = np.concatenate([equal(gramian)[None], np.eye(size)[[0, -1]]])
    rows = [weights] + [solve_aligned_mtl(gramian, p, "min", EPS).weights for p in chosen[1:]]
    aligned = np.stack(rows).astype(LONG)
    products = aligned @ gramian.astype(LONG) @ aligned.T
    expected = chosen @ chosen.T
    return float(
        np.abs(products / products[1, 1] - expected).max()
        / expected.min(where=expected > 0, initial=1.0)
    )


def equal(gramian):
    return np.full(len(gramian), 1.0 / len(gramian))


SOLVERS = {
    "min-norm": (lambda g: solve_min_norm(g, EPS), min_norm_residual),
    "dualproj": (lambda g: solve_dualproj(g, equal(g), EPS), dualproj_residual),
    "upgrad": (lambda g: solve_upgrad(g, equal(g), EPS), upgrad_residual),
    "cagrad-0.1": (lambda g: solve_cagrad(g, 0.1, EPS), cagrad_residual(0.1)),
    "cagrad-0.4": (lambda g: solve_cagrad(g, 0.4, EPS), cagrad_residual(0.4)),
    "cagrad-0.9": (lambda g: solve_cagrad(g, 0.9, EPS), cagrad_residual(0.9)),
    "nash": (lambda g: solve_nash(g, EPS), fair_residual(1.0)),
    "fair-0.5": (lambda g: solve_fair(g, 0.5, EPS), fair_residual(0.5)),
    "fair-2": (lambda g: solve_fair(g, 2.0, EPS), fair_residual(2.0)),
    "imtl-g": (lambda g: solve_imtl_g(g, EPS), projections_residual),
    "config": (lambda g: solve_config(g, np.ones(len(g)), EPS), projections_residual),
    "aligned": (lambda g: solve_aligned_mtl(g, equal(g), "min", EPS), aligned_residual),
}


def check(name, count, seed):
    solve, residual = SOLVERS[name]
    rng = np.random.default_rng(seed)
    for index in range(count):
        gramian = constructed_gramian(rng)
        found = solve(gramian)
        assert np.isfinite(found.weights).all()
        assert "not-converged" not in found.flags, (index, found)
        assert residual(gramian, found.weights) <= TOLERANCE, index


@pytest.mark.parametrize("name", SOLVERS)
def test_optimal_on_constructed_gramians(name):
    check(name, 30 if name == "upgrad" else 120, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_optimal_on_ten_thousand_constructed_gramians(name):
    check(name, 10_000, seed=1)


def test_the_raw_nash_equation_holds_where_float64_can_hold_it():
    rng = np.random.default_rng(5)
    for _ in range(200):
        gramian = constructed_gramian(rng)
        found = solve_nash(gramian, EPS)
        cosines, _, v = unit(gramian, found.weights)
        rounding = 4 * EPS * float((v * (np.abs(cosines) @ v)).max())
        assert float(np.abs(v * (cosines @ v) - 1).max()) <= 1e-12 + len(v) * rounding


@pytest.mark.parametrize("size", [3, 8, 20, 50])
def test_the_duality_gap_of_the_least_norm_is_closed(size):
    rng = np.random.default_rng(size)
    for _ in range(5):
        rows = rng.standard_normal((size, 2 * size)) * 10.0 ** (3 * rng.random((size, 1)))
        gramian = rows @ rows.T
        weights = solve_min_norm(gramian, EPS).weights
        squared = weights @ gramian @ weights
        assert (squared - (gramian @ weights).min()) / squared <= 1e-9


def test_frank_wolfe_with_a_step_rule_would_not_close_it():
    """Mutation: the public solver stops on its step size, and stays above the optimum."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(5):
        rows = rng.standard_normal((10, 20)) * 10.0 ** (3 * rng.random((10, 1)))
        gramian = rows @ rows.T
        w = np.full(10, 0.1)
        for _ in range(100):
            t = int(np.argmin(gramian @ w))
            a, b, c = w @ gramian[t], w @ gramian @ w, gramian[t, t]
            step = 1.0 if c <= a else 0.0 if b <= a else (b - a) / (b + c - 2 * a)
            w = (1 - step) * w
            w[t] += step
            if step < 1e-3:
                break
        best = solve_min_norm(gramian, EPS).weights
        worst = max(worst, (w @ gramian @ w) / (best @ gramian @ best) - 1)
    assert worst > 1e-3


def test_equilibration_is_exact():
    rng = np.random.default_rng(1)
    gramian = constructed_gramian(rng)
    matrix, exponents, offset = equilibrate(gramian)
    total = exponents + offset
    assert np.array_equal(np.ldexp(matrix, total[:, None] + total[None, :]), gramian)
    assert (np.diagonal(matrix) >= 0.5).all()
    assert (np.diagonal(matrix) < 2.0).all()


def test_simplex_projection_is_the_nearest_point():
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 30):
        for scale in (1e-9, 1.0, 1e9):
            point = scale * rng.standard_normal(size)
            found = project_simplex(point)
            assert (found >= 0).all()
            assert found.sum() == pytest.approx(1.0, abs=1e-12)
            # The nearest point p satisfies (x - p)ᵀ(q - p) ≤ 0 for every vertex q.
            slopes = (np.eye(size) - found) @ (point - found)
            assert slopes.max() <= 1e-9 * max(1.0, scale)
