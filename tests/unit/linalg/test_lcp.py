"""The linear complementarity kernel: its three methods agree, and its fallbacks are needed."""

import numpy as np
import pytest

from polytask._linalg import equilibrate, lcp_residual, solve_lcp
from polytask._linalg.interior import interior_point
from polytask._linalg.pivoting import enumerate_supports, pivot


def problem(seed, size, rank=None):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((size, rank or 2 * size))
    matrix = equilibrate(rows @ rows.T).matrix
    return matrix, matrix.copy()  # UPGrad's problem: consistent whatever the rank


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_all_three_methods_agree(size):
    for seed in range(5):
        matrix, offsets = problem(seed, size)
        by_pivoting = pivot(matrix, offsets)
        np.testing.assert_allclose(enumerate_supports(matrix, offsets), by_pivoting, atol=1e-12)
        np.testing.assert_allclose(interior_point(matrix, offsets), by_pivoting, atol=1e-9)
        for row in range(size):
            one = pivot(matrix, offsets[row : row + 1])
            np.testing.assert_allclose(one[0], by_pivoting[row], atol=1e-12)


@pytest.mark.parametrize("size", [12, 40])
def test_interior_point_agrees_with_pivoting(size):
    matrix, offsets = problem(size, size)
    np.testing.assert_allclose(interior_point(matrix, offsets), pivot(matrix, offsets), atol=1e-7)


@pytest.mark.parametrize("size", [4, 6, 8, 12, 30])
def test_rank_deficient_problems_are_solved(size):
    for seed in range(2):
        matrix, offsets = problem(seed, size, rank=size // 2)
        found = solve_lcp(matrix, offsets)
        assert np.isfinite(found.solutions).all()
        assert (found.solutions >= 0).all()
        assert found.residuals.max() <= 1e-8


def test_pivoting_alone_would_not_solve_them():
    unsolved = 0
    for seed in range(4):
        matrix, offsets = problem(seed, 30, rank=15)
        unsolved += int((lcp_residual(matrix, offsets, pivot(matrix, offsets)) > 1e-6).sum())
    assert unsolved > 0


def test_nothing_to_do_and_everything_to_do():
    matrix = np.eye(3)
    assert not solve_lcp(matrix, np.array([[1.0, 2.0, 0.0]])).solutions.any()
    np.testing.assert_array_equal(
        solve_lcp(matrix, np.array([[-1.0, -2.0, -3.0]])).solutions, [[1.0, 2.0, 3.0]]
    )
    assert solve_lcp(matrix, np.zeros((1, 3))).residuals[0] == 0.0


def test_a_first_guess_does_not_change_the_solution():
    matrix, offsets = problem(3, 10)
    expected = solve_lcp(matrix, offsets).solutions
    for guess in (np.ones((10, 10), bool), np.zeros((10, 10), bool), expected > 0):
        np.testing.assert_allclose(
            solve_lcp(matrix, offsets, guess).solutions, expected, atol=1e-12
        )


def test_the_residual_sees_every_kind_of_violation():
    matrix, offset = np.eye(2), np.array([[-1.0, 1.0]])
    assert lcp_residual(matrix, offset, np.array([[1.0, 0.0]]))[0] == 0.0
    for wrong in ([0.5, 0.0], [1.0, 0.5], [1.5, 0.0], [1.0, -0.5]):
        assert lcp_residual(matrix, offset, np.array([wrong]))[0] == pytest.approx(0.5)


def test_a_problem_without_solution_ends_and_says_so():
    # y = z_1 - z_2 - 1 and -z_1 + z_2 - 1 cannot both be non-negative.
    matrix = np.array([[1.0, -1.0], [-1.0, 1.0]])
    found = solve_lcp(matrix, np.array([[-1.0, -1.0]]))
    assert np.isfinite(found.solutions).all()
    assert found.residuals[0] > 0.1
