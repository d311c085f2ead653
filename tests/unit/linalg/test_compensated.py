"""Sums that lose no digits, against rational numbers; and when they are asked for."""

from fractions import Fraction

import numpy as np
import pytest

from polytask._linalg.compensated import LostDigits, affine, well_conditioned
from polytask._linalg.graded import inverse_root
from polytask._linalg.pivoting import settle

EPS = float(np.finfo(np.float64).eps)


def rational(vectors, matrix, offsets):
    terms = range(len(matrix))
    return [
        [
            Fraction(offsets[i, j])
            + sum(Fraction(vectors[i, k]) * Fraction(matrix[k, j]) for k in terms)
            for j in range(matrix.shape[1])
        ]
        for i in range(len(vectors))
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 17, 40])
def test_what_cancels_is_kept(size):
    rng = np.random.default_rng(size)
    matrix = rng.standard_normal((size, size))
    vectors = rng.standard_normal((2, size)) * 10.0 ** rng.uniform(-4, 0, (2, size))
    offsets = -(vectors @ matrix)  # what is left is the rounding error of the product
    found, plain = affine(vectors, matrix, offsets), vectors @ matrix + offsets
    natural = np.abs(vectors).max(axis=1, keepdims=True) * np.abs(matrix).max(axis=0)
    exact = np.array(rational(vectors, matrix, offsets), dtype=np.float64)
    assert (np.abs(found - exact) <= 2.0**-69 * size * natural).all()
    if size > 2:
        assert (np.abs(plain - exact) > 2.0**-62 * natural).any()  # the plain sum loses it


def test_lost_digits_take_part():
    one = np.ones((1, 1))
    lost = LostDigits(matrix=np.full((1, 1), 2.0**-60), offsets=np.full((1, 1), 2.0**-61))
    assert affine(one, one, -one, lost)[0, 0] == 2.0**-60 + 2.0**-61


def test_conditions_are_told_apart():
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    for smallest, well in ((1e-1, True), (1e-2, True), (1e-6, False), (0.0, False)):
        matrix = (basis * np.array([smallest, 1, 1, 1, 1, 1])) @ basis.T
        assert well_conditioned(matrix) is well


def test_settling_corrects_a_wrong_support():
    """Digits that pivoting takes for rounding errors decide which entry is positive."""
    matrix = np.array([[1.0, -1.0 + 1e-9], [-1.0 + 1e-9, 1.0]])
    offsets = np.array([[-1.0, 1.0 - 3e-9]])  # z = (1, 0) leaves y_2 = -2e-9 < 0
    found, sure = settle(matrix, offsets, np.array([[1.0, 0.0]]), LostDigits())
    assert sure.all()
    assert (found > 0).all()
    np.testing.assert_allclose(affine(found, matrix, offsets), 0.0, atol=2 * EPS)


def test_settling_gives_up_on_singular_problems():
    matrix = np.ones((2, 2))
    start = np.array([[0.5, 0.5]])
    found, sure = settle(matrix, -np.ones((1, 2)), start, LostDigits())
    assert not sure.any()
    np.testing.assert_array_equal(found, start)


def test_the_inverse_root_of_gradients_of_any_size():
    rng = np.random.default_rng(4)
    sizes = np.logspace(-8, 8, 5)
    rows = rng.standard_normal((5, 12))
    near = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) * sizes[:, None]
    gramian = near @ near.T
    found = inverse_root(gramian, np.ones(5), EPS)
    assert len(found.values) == 5
    # ‖Jᵀ G^(-1/2) p‖ = ‖p‖, to which every gradient contributes alike.
    assert found.product @ gramian @ found.product == pytest.approx(5.0, rel=1e-10)


def test_duplicates_lower_the_rank_of_the_inverse_root_and_small_gradients_do_not():
    rows = np.array([[3.0, -1, 2], [3, -1, 2], [1e-9, 2e-9, 0]])
    found = inverse_root(rows @ rows.T, np.ones(3), EPS)
    assert len(found.values) == 2
    assert found.product[0] == pytest.approx(found.product[1])
    assert np.isfinite(found.product).all()
    assert found.product[2] > 1e6  # the small task is heard
