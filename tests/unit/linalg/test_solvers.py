"""Edge cases of the solvers: closed forms, vertices, stationary points, failures that are told."""

import numpy as np
import pytest

from polytask._linalg import (
    NOT_CONVERGED,
    RANK_DEFICIENT,
    STATIONARY,
    solve_aligned_mtl,
    solve_cagrad,
    solve_config,
    solve_dualproj,
    solve_fair,
    solve_imtl_g,
    solve_krum,
    solve_min_norm,
    solve_nash,
    solve_upgrad,
)
from polytask._linalg.scaling import restrict

EPS = float(np.finfo(np.float64).eps)


def gram(*rows):
    jacobian = np.array(rows, dtype=np.float64)
    return jacobian @ jacobian.T


def half(gramian):
    return np.full(len(gramian), 1.0 / len(gramian))


ALL = {
    "min-norm": lambda g: solve_min_norm(g, EPS),
    "upgrad": lambda g: solve_upgrad(g, half(g), EPS),
    "dualproj": lambda g: solve_dualproj(g, half(g), EPS),
    "cagrad": lambda g: solve_cagrad(g, 0.4, EPS),
    "nash": lambda g: solve_nash(g, EPS),
    "fair": lambda g: solve_fair(g, 2.0, EPS),
    "imtl-g": lambda g: solve_imtl_g(g, EPS),
    "config": lambda g: solve_config(g, np.ones(len(g)), EPS),
    "aligned": lambda g: solve_aligned_mtl(g, half(g), "min", EPS),
    "krum": lambda g: solve_krum(g, 0, 1, True, EPS),
    "multi-krum": lambda g: solve_krum(g, 0, 2, False, EPS),
}


def with_a_spectator(gramian):
    """The same problem in three tasks: the third is orthogonal, so the general path is taken."""
    larger = np.zeros((3, 3))
    larger[:2, :2] = gramian
    larger[2, 2] = 1.0
    return larger


@pytest.mark.parametrize("name", ["upgrad", "nash"])
def test_closed_forms_for_two_tasks_agree_with_the_general_path(name):
    rng = np.random.default_rng(0)
    for _ in range(50):
        gramian = gram(*(rng.standard_normal((2, 3)) * 10.0 ** rng.uniform(-3, 3, (2, 1))))
        two = ALL[name](gramian).weights * (2.0 if name == "upgrad" else 1.0)
        three = ALL[name](with_a_spectator(gramian)).weights * (3.0 if name == "upgrad" else 1.0)
        np.testing.assert_allclose(three[:2], two, rtol=1e-9)


def test_the_closed_form_of_cagrad_for_two_tasks():
    rng = np.random.default_rng(1)
    for _ in range(100):
        c = float(rng.choice([0.1, 0.4, 0.9]))
        gramian = gram(*(rng.standard_normal((2, 3)) * 10.0 ** rng.uniform(-1, 1, (2, 1))))
        g11, g12, g22 = gramian[0, 0], gramian[0, 1], gramian[1, 1]
        m = np.array([g22 - g12, g11 - g12]) / (g11 + g22 - 2 * g12)
        u = np.array([0.5, 0.5])
        phi = c * c * (u @ gramian @ u)
        ratio = 1 - (1 - c * c) * (u @ gramian @ u) / (m @ gramian @ m)
        if ratio > 0:
            first = float(np.clip((m + (m - u) / np.sqrt(ratio))[0], 0, 1))
            w = np.array([first, 1 - first])
        else:
            value = [gramian[k] @ u + np.sqrt(phi * gramian[k, k]) for k in (0, 1)]
            w = np.eye(2)[int(np.argmin(value))]
        expected = u + np.sqrt(phi / (w @ gramian @ w)) * w
        np.testing.assert_allclose(solve_cagrad(gramian, c, EPS).weights, expected, rtol=1e-8)


def test_vertices_of_the_simplex_are_exact():
    assert solve_min_norm(gram([1, 0], [2, 1]), EPS).weights.tolist() == [1.0, 0.0]
    assert solve_min_norm(gram([1, 0, 0], [2, 1, 0], [3, 0, 1]), EPS).weights.tolist() == [1, 0, 0]


def test_equal_gradients_share():
    for gramian in (gram([1, 2], [1, 2]), gram([1, 2], [1, 2], [1, 2])):
        assert solve_min_norm(gramian, EPS).weights.sum() == pytest.approx(1.0)
    assert solve_min_norm(gram([1, 2], [1, 2]), EPS).weights.tolist() == [0.5, 0.5]


STATIONARY_POINTS = {
    "opposite": gram([3, -1, 2], [-3, 1, -2]),
    "opposite, unequal": gram([3, -1, 2], [-300, 100, -200]),
    "sum is zero": gram([3, -1, 2], [1, 2, 0], [-4, -1, -2]),
    "six decades": gram([3, -1, 2], [1e6, 2e6, 0], [-4e-3, -1e-3, -2e-3]),
}


@pytest.mark.parametrize("point", STATIONARY_POINTS)
@pytest.mark.parametrize("name", ["min-norm", "upgrad", "dualproj", "nash", "fair"])
def test_stationary_points_give_a_zero_update_and_a_flag(name, point):
    gramian = STATIONARY_POINTS[point]
    found = ALL[name](gramian)
    natural = np.abs(found.weights) @ np.sqrt(np.diagonal(gramian))
    assert STATIONARY in found.flags
    assert NOT_CONVERGED not in found.flags
    assert found.weights @ gramian @ found.weights <= (1e-7 * natural) ** 2 * len(gramian)


def test_ordinary_points_are_not_called_stationary():
    for scale in (1e-15, 1.0, 1e15):
        for name, solve in ALL.items():
            gramian = scale**2 * gram([1, 0, 0.01], [-1, 0, 0.01], [0, 1, 0])
            assert not solve(gramian).flags, (name, scale)


def test_precision_decides_what_is_noise():
    gramian = gram([1, 0, 1e-5], [-1, 0, 1e-5], [0, 1e-5, 0])
    assert STATIONARY not in solve_min_norm(gramian[:2, :2], EPS).flags
    single = float(np.finfo(np.float32).eps)
    assert STATIONARY in solve_min_norm(gramian[:2, :2], single).flags


def test_duplicates_are_rank_deficient_and_share_alike():
    duplicated = gram([3, -1, 2], [3, -1, 2], [1, 2, 0])
    for name in ("imtl-g", "config", "aligned"):
        found = ALL[name](duplicated)
        assert RANK_DEFICIENT in found.flags
        assert found.weights[0] == pytest.approx(found.weights[1])


@pytest.mark.parametrize("name", ALL)
def test_indefinite_input_ends_with_finite_weights(name):
    impossible = np.array([[1.0, -2.0, 0.3], [-2.0, 1.0, 0.2], [0.3, 0.2, 1.0]])
    assert np.isfinite(ALL[name](impossible).weights).all()


def test_a_solve_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr("polytask._linalg.fairness._CAP", 1)
    gramian = gram([1, 0, 2], [-2, 1, 0], [3, -1, -3])
    assert NOT_CONVERGED in solve_fair(gramian, 1.0, EPS).flags
    assert np.isfinite(solve_fair(gramian, 1.0, EPS).weights).all()
    monkeypatch.setattr("polytask._linalg.cagrad._ROUNDS", 0)
    assert NOT_CONVERGED in solve_cagrad(gramian, 0.9, EPS).flags


@pytest.mark.parametrize("name", ALL)
def test_zero_gradients_are_left_out(name):
    gramian = gram([1, 0, 2], [-2, 1, 0], [0, 0, 0], [3, -1, -3])
    rows = np.array([0, 1, 3])
    found, without = ALL[name](gramian), ALL[name](restrict(gramian, rows))
    ours, other = found.weights[rows], without.weights
    np.testing.assert_allclose(ours / np.abs(ours).sum(), other / np.abs(other).sum(), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_written_to_the_input(name):
    gramian = gram([1, 0, 2], [-2, 1, 0], [0, 0, 0], [3, -1, -3])
    kept = gramian.copy()
    gramian.setflags(write=False)
    ALL[name](gramian)
    assert np.array_equal(gramian, kept)


def test_the_shift_of_the_least_norm_matters():
    """Mutation: with the mean squared norm as shift, six decades of scales are lost."""
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(20):
        rows = rng.standard_normal((5, 5)) * np.logspace(-6, 0, 5)[:, None]
        gramian = rows @ rows.T
        right = solve_min_norm(gramian, EPS).weights
        support = np.flatnonzero(right)
        shift = np.trace(gramian) / 5
        block = (gramian + shift)[np.ix_(support, support)]
        wrong = np.zeros(5)
        wrong[support] = np.linalg.solve(block, np.ones(support.size))
        wrong /= wrong.sum()
        gaps = []
        for w in (right, wrong):
            squared = w @ gramian @ w
            gaps.append((squared - (gramian @ w).min()) / squared)
        assert gaps[0] <= 1e-8
        worst = max(worst, gaps[1])
    assert worst > 1e-7


def test_row_scales_of_six_decades_leave_no_conflict():
    """Mutation: a ridge on the trace makes the small task conflict."""
    two = np.array([[-4.0, 1, 1], [6, 1, 1]])
    reference = solve_upgrad(two @ two.T, half(two), EPS).weights
    for s in (1.0, 1e-2, 1e-4, 1e-6):
        rows = two * np.array([[1.0], [s]])
        gramian = rows @ rows.T
        weights = solve_upgrad(gramian, half(rows), EPS).weights
        slopes = gramian @ weights
        assert (slopes >= -1e-12 * np.diagonal(gramian)).all()
        # Linear in s: the first task's projection keeps its share of the direction.
        v1 = np.array([1.0, 22 / 38 / s]) / 2
        v2 = np.array([22 / 18 * s, 1.0]) / 2
        np.testing.assert_allclose(weights, v1 + v2, rtol=1e-12)
        if s == 1e-2:
            ridged = gramian + 1e-4 * np.trace(gramian) * np.eye(2)
            wrong = solve_upgrad(ridged, half(rows), EPS).weights
            assert (gramian @ wrong)[1] < 0
    assert reference == pytest.approx([1.111111, 0.789474], abs=1e-6)
