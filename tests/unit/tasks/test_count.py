import numpy as np
import pytest
import torch

from polytask.errors import DataError
from polytask.tasks import Count


@pytest.mark.parametrize(("bad", "shown"), [(-2.0, "-2"), (1.5, "1.5")])
def test_only_whole_numbers_from_zero(bad, shown):
    cells = np.array([0.0, 3.0, bad])
    with pytest.raises(DataError, match=rf"'t' cannot be a count target: {shown} is not a number"):
        Count("t").fit(cells)
    with pytest.raises(DataError, match="'t:regression'"):
        Count("t").fit(np.array([0, 1])).encode(cells)


def test_text_is_refused():
    with pytest.raises(DataError, match="cannot be a count target: 'many' is not a number"):
        Count("t").fit(np.array(["1", "many"], dtype=object))


def test_mean_uses_weights_and_skips_gaps():
    task = Count("t").fit(np.array([0, 4, np.nan]), np.array([3.0, 1.0, 9.0]))
    assert task.mean == 1.0
    assert task.predict(task.baseline()[None])[""] == pytest.approx([1.0])


def test_only_zeros_still_have_a_finite_baseline():
    task = Count("t").fit(np.array([0, 0]))
    assert task.baseline().item() == pytest.approx(np.log(1e-6))


def test_loss_keeps_its_digits_at_large_counts():
    """In float32 the terms y·η and log y! would cancel to nothing: they are 1e7, the loss is 8."""
    task, y = Count("t").fit(np.array([1, 2])), torch.tensor([1e6])
    output = torch.tensor([[float(np.log(1e6))]])
    eta = output.double().item()
    exact = np.exp(eta) - 1e6 * eta + float(torch.lgamma(torch.tensor(1e6 + 1).double()))
    assert task.loss(output, y).item() == pytest.approx(exact, abs=1e-5)
    single = (output.exp() - y * output + torch.lgamma(y + 1)).item()
    assert abs(single - exact) > 0.1


def test_gradient_is_rate_minus_count():
    task = Count("t").fit(np.array([1, 2]))
    output = torch.randn(5, 1, requires_grad=True)
    y = torch.tensor([0.0, 1, 2, 7, 3])
    task.loss(output, y).sum().backward()
    assert torch.allclose(output.grad[:, 0], output.detach().exp()[:, 0] - y)


def test_description():
    assert Count("t").fit(np.array([1, 2])).describe() == "count, Poisson likelihood (mean 1.5)"
