"""Weights against solutions in 50 digits: a small residual alone would not prove them right.

Every problem is solved again from its definition, by other means and without rounding to speak of:
complementarity problems by single pivots from the support that was found, CAGrad by its closed form
on a support, fairness by Newton's method, Aligned-MTL by an eigen-decomposition.
"""

import numpy as np
import pytest
from mpmath import eigsy, lu_solve, matrix, mp, mpf, sqrt

from polytask._linalg import (
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
TIGHT = 1e-9
"""The rounding of twelve operations on a weight, times a condition of 1e6 where none is removed."""


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mp.workdps(50):
        yield


def equal(size):
    return np.full(size, 1.0 / size)


def block(gramian, rows):
    return matrix([[gramian[i, j] for j in rows] for i in rows])


def complementarity(gramian, offset, support):
    """z ≥ 0, y = Gz + q ≥ 0, zᵀy = 0; one exchange at a time, which ends for every G ≻ 0."""
    size = len(offset)
    for _ in range(200):
        z = matrix(size, 1)
        if support:
            solved = lu_solve(block(gramian, support), matrix([-offset[i] for i in support]))
            for i, k in enumerate(support):
                z[k] = solved[i]
        y = gramian * z + offset
        wrong = [k for k in range(size) if (z[k] < 0 if k in support else y[k] < 0)]
        if not wrong:
            return z
        support = [k for k in range(size) if (k in support) != (k == wrong[-1])]
    raise AssertionError("no solution")


def exact_min_norm(gramian, found):
    size = len(found)
    shift = min(gramian[k, k] for k in range(size))
    shifted = gramian + shift * matrix([[1] * size] * size)
    z = complementarity(shifted, matrix([-1] * size), [k for k in range(size) if found[k] > 0])
    return z / sum(z)


def exact_projection(gramian, start, found):
    p = matrix([mpf(x) for x in start])
    support = [k for k in range(len(found)) if found[k] > start[k]]
    return complementarity(gramian, gramian * p, support) + p


def exact_dualproj(gramian, found):
    return exact_projection(gramian, equal(len(found)), found)


def exact_upgrad(gramian, found):
    size = len(found)
    rows = np.array([[float(gramian[i, j]) for j in range(size)] for i in range(size)])
    total = matrix(size, 1)
    for unit in np.eye(size):
        total += exact_projection(gramian, unit, solve_dualproj(rows, unit, EPS).weights) / size
    return total


def exact_cagrad(c):
    def exact(gramian, found):
        size = len(found)
        u = matrix([mpf(1) / size] * size)
        b = gramian * u
        phi = mpf(c) ** 2 * (u.T * b)[0]
        support = [k for k in range(size) if found[k] > 1 / size * (1 + 1e-10)]
        b_s = matrix([b[k] for k in support])
        x = lu_solve(block(gramian, support), matrix([1] * len(support)))
        y = lu_solve(block(gramian, support), b_s)
        big_x, big_y = sum(x), sum(y)
        mu = (big_y + sqrt(big_y**2 - big_x * ((y.T * b_s)[0] - phi))) / big_x
        total = u.copy()
        for i, k in enumerate(support):
            extra = mu * x[i] - y[i]
            assert extra >= 0
            total[k] += extra
        assert all(slope >= mu - mpf(10) ** -30 * abs(mu) for slope in gramian * total)
        return total

    return exact


def exact_fair(alpha):
    def exact(gramian, found):
        size, power = len(found), 1 / mpf(alpha)
        w = matrix([mpf(x) for x in found])
        for _ in range(60):
            right = matrix([x**-power for x in w])
            hessian = gramian.copy()
            for k in range(size):
                hessian[k, k] += power * right[k] / w[k]
            step = lu_solve(hessian, right - gramian * w)
            w += step
            assert min(w) > 0
            if max(abs(step[k] / w[k]) for k in range(size)) < mpf(10) ** -30:
                return w
        raise AssertionError("no solution")

    return exact


def projections(gramian):
    """D and C⁻¹1."""
    size = gramian.rows
    norms = [sqrt(gramian[k, k]) for k in range(size)]
    cosines = matrix(size, size)
    for i in range(size):
        for j in range(size):
            cosines[i, j] = gramian[i, j] / norms[i] / norms[j]
    return norms, lu_solve(cosines, matrix([1] * size))


def exact_imtl_g(gramian, found):
    norms, a = projections(gramian)
    v = matrix([x / norm for x, norm in zip(a, norms, strict=True)])
    return v / sum(v)


def exact_config(gramian, found):
    norms, a = projections(gramian)
    length = sum(norms) / sum(a)
    return matrix([length * x / norm for x, norm in zip(a, norms, strict=True)])


def exact_aligned(gramian, found):
    size = len(found)
    values, vectors = eigsy(gramian)
    inner = vectors.T * matrix([mpf(1) / size] * size)
    smallest = min(values)
    return vectors * matrix([sqrt(smallest / values[k]) * inner[k] for k in range(size)])


SOLVERS = {
    "min-norm": (lambda g: solve_min_norm(g, EPS), exact_min_norm),
    "dualproj": (lambda g: solve_dualproj(g, equal(len(g)), EPS), exact_dualproj),
    "upgrad": (lambda g: solve_upgrad(g, equal(len(g)), EPS), exact_upgrad),
    "cagrad-0.1": (lambda g: solve_cagrad(g, 0.1, EPS), exact_cagrad(0.1)),
    "cagrad-0.9": (lambda g: solve_cagrad(g, 0.9, EPS), exact_cagrad(0.9)),
    "nash": (lambda g: solve_nash(g, EPS), exact_fair(1.0)),
    "fair-0.5": (lambda g: solve_fair(g, 0.5, EPS), exact_fair(0.5)),
    "fair-2": (lambda g: solve_fair(g, 2.0, EPS), exact_fair(2.0)),
    "imtl-g": (lambda g: solve_imtl_g(g, EPS), exact_imtl_g),
    "config": (lambda g: solve_config(g, np.ones(len(g)), EPS), exact_config),
    "aligned": (lambda g: solve_aligned_mtl(g, equal(len(g)), "min", EPS), exact_aligned),
}


def ill_conditioned(count, seed):
    """Constructed Gramians of at most 8 tasks whose cosines have a condition of 1e5 to 1e8."""
    rng = np.random.default_rng(seed)
    while count:
        gramian = constructed_gramian(rng)
        if len(gramian) > 8:
            continue
        norms = np.sqrt(np.diagonal(gramian))
        values = np.linalg.eigvalsh(gramian / norms[:, None] / norms)
        if values[-1] > 1e5 * values[0]:
            count -= 1
            yield gramian


def largest_error(gramian, weights, exact):
    """Relative error of the weights, one by one, and of the update."""
    exact_gramian = matrix(gramian.tolist())
    truth = exact(exact_gramian, weights)
    gap = matrix([mpf(x) for x in weights]) - truth
    each = max(abs(gap[k] / truth[k]) for k in range(len(weights)) if truth[k] != 0)
    assert all(weights[k] == 0 for k in range(len(weights)) if truth[k] == 0)
    update = sqrt((gap.T * exact_gramian * gap)[0] / (truth.T * exact_gramian * truth)[0])
    return float(max(each, update))


@pytest.mark.parametrize("name", SOLVERS)
def test_weights_are_right_to_nine_digits(name):
    solve, exact = SOLVERS[name]
    for gramian in ill_conditioned(12, seed=0):
        assert largest_error(gramian, solve(gramian).weights, exact) <= TIGHT


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_weights_are_right_on_many(name):
    solve, exact = SOLVERS[name]
    for gramian in ill_conditioned(300, seed=1):
        assert largest_error(gramian, solve(gramian).weights, exact) <= TIGHT


@pytest.mark.parametrize(
    ("name", "room"), [("min-norm", "lcp"), ("upgrad", "lcp"), ("imtl-g", "cosine")]
)
def test_plain_arithmetic_would_not_do(name, room, monkeypatch):
    """Mutation: a residual at rounding level does not make all digits right."""
    solve, exact = SOLVERS[name]
    monkeypatch.setattr(f"polytask._linalg.{room}.well_conditioned", lambda _: True)
    worst = 0.0
    for gramian in ill_conditioned(30, seed=2):
        found = solve(gramian)
        assert "not-converged" not in found.flags
        worst = max(worst, largest_error(gramian, found.weights, exact))
    assert worst > 1e-9


def test_an_ordinary_decomposition_would_not_do(monkeypatch):
    """Mutation: small eigenvalues drown in the rounding errors of the large ones."""
    monkeypatch.setattr("polytask._linalg.eigen._GRADED", -1.0)
    solve, exact = SOLVERS["aligned"]
    with np.errstate(all="ignore"):
        errors = [
            largest_error(gramian, np.nan_to_num(solve(gramian).weights), exact)
            for gramian in ill_conditioned(12, seed=0)
        ]
    assert max(errors) > 1e-6


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_the_raw_fairness_equation_misses_no_more_than_rounded_weights_must(alpha):
    """|w^(1/a) Gw - 1| may exceed 1e-8: even the exact weights do, rounded to double."""
    large = 0
    for gramian in ill_conditioned(60, seed=3):
        found = solve_fair(gramian, alpha, EPS)
        w = matrix([mpf(x) for x in found.weights])
        slopes, weights = matrix(gramian.tolist()) * w, found.weights
        miss = [abs(w[k] ** (1 / mpf(alpha)) * slopes[k] - 1) for k in range(len(w))]
        terms = np.abs(gramian) @ weights * weights ** (1 / alpha)
        # Three roundings of half a unit each lie between the exact weights and those returned.
        assert all(float(m) <= 1.5 * EPS * t + 1e-12 for m, t in zip(miss, terms, strict=True))
        assert ("ill-conditioned" in found.flags) == (float(max(miss)) > 1e-8) or (
            0.2e-8 < float(max(miss)) < 5e-8
        )
        large += float(max(miss)) > 1e-8
    assert large > 0
