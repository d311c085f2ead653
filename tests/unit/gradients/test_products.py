"""Inner products of rows: right to 1e-6 of the norms, whatever their length and size."""

import pytest
import torch
from torch import Tensor

from polytask.gradients import layers
from polytask.gradients.layers import layer_gramian
from polytask.gradients.products import gramian_of, inner


def relative(found: Tensor, rows: Tensor) -> float:
    """Largest error in units of the product of the norms."""
    wanted = rows.double() @ rows.double().T
    norms = wanted.diagonal().sqrt()
    return float(((found - wanted).abs() / norms[:, None] / norms).max())


def measured(rows: Tensor) -> Tensor:
    return gramian_of(lambda exact: inner(rows, rows, exact), rows, range(len(rows)))


def draw(*shape: int) -> Tensor:
    # A mean away from zero: sums of one sign are where float32 loses most.
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + 0.3


@pytest.mark.parametrize("width", [1, 7, 2047, 2048, 2049, 10_000, 2**21])
def test_error_does_not_grow_with_the_width(width):
    rows = draw(3, width)
    assert relative(measured(rows), rows) < 1e-6


def test_mutation_one_product_over_all_columns():
    rows = draw(3, 2**21)
    assert relative((rows @ rows.T).double(), rows) > 1e-6


@pytest.mark.parametrize("sizes", [(1e-30, 1.0, 1e15), (1e-25, 1e-25, 1e-25), (1e19, 1e20, 1e25)])
def test_norms_spread_over_many_decades(sizes):
    """Mutation: sums of float32 products are zero or infinite here."""
    rows = draw(3, 5000) * torch.tensor(sizes)[:, None]
    assert relative(measured(rows), rows) < 1e-6
    assert not relative(inner(rows, rows, exact=False), rows) < 1e-6


def test_rows_of_absent_tasks_do_not_look_like_underflow():
    rows = draw(3, 100)
    rows[1] = 0
    asked: list[bool] = []

    def measure(exact: bool) -> Tensor:
        asked.append(exact)
        return inner(rows, rows, exact)

    gramian_of(measure, rows, [0, 2])
    assert asked == [False]
    gramian_of(measure, rows, [0, 1, 2])
    assert asked == [False, False, True]


def test_a_layer_whose_gradient_cancels_is_measured_to_the_same_accuracy(monkeypatch):
    """Mutation: AAᵀ loses what cancels between the rows of a batch."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(64, 300, generator=generator) + 2.0
    back = torch.randn(4, 64, 5, generator=generator)
    # Orthogonal to the inputs up to a little: the gradient is 1e-4 of its terms.
    q = torch.linalg.qr(a[:, :60])[0]
    back = back - q @ (q.T @ back) + 1e-3 * back
    a = a[:, :60]
    wanted = (back.double().transpose(1, 2) @ a.double()).reshape(4, -1)

    def error() -> float:
        found = layer_gramian(a, back, exact=False)
        exact = wanted @ wanted.T
        norms = exact.diagonal().sqrt()
        return float(((found - exact).abs() / norms[:, None] / norms).max())

    careful = error()
    monkeypatch.setattr(layers, "_AMPLIFICATION", float("inf"))
    assert careful < 0.1 * error()


def test_bfloat16_and_float64():
    for kind in (torch.bfloat16, torch.float64):
        rows = draw(3, 3000).to(kind)
        assert relative(measured(rows), rows) < 1e-6
