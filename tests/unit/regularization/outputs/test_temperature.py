"""The temperature of known outputs, against a dense search, and where there is none."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.regularization.outputs import fit_temperature
from polytask.regularization.outputs.temperature import HIGHEST, LOWEST


def loss_of(logits: torch.Tensor, labels: torch.Tensor):
    """T → mean log-loss of classes, or of one logit."""
    if logits.ndim == 1:
        function = functional.binary_cross_entropy_with_logits
    else:
        function = functional.cross_entropy
    return lambda temperature: float(function(logits / temperature, labels))


def sample(rows: int, classes: int, too_sure: float, seed: int = 0):
    """Labels drawn from the softmax of logits that are then multiplied by `too_sure`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
    return too_sure * logits, labels


def dense(log_loss) -> float:
    """The best T by looking everywhere, twice: to 10⁻⁶ in its logarithm."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(3):
        grid = np.linspace(low, high, 401)
        best = int(np.argmin([log_loss(math.exp(value)) for value in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 400)]
    return math.exp((low + high) / 2)


@pytest.mark.parametrize("too_sure", [0.25, 1.0, 3.0, 10.0])
def test_recovers_how_much_too_sure_outputs_are(too_sure):
    found = fit_temperature(loss_of(*sample(40_000, 4, too_sure)))
    assert found.value == pytest.approx(too_sure, rel=0.03)
    assert found.after <= found.before
    assert not found.bounded


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("too_sure", [0.3, 1.0, 4.0])
def test_equals_a_dense_search(classes, too_sure):
    log_loss = loss_of(*sample(60, classes, too_sure, seed=classes))
    found, wanted = fit_temperature(log_loss), dense(log_loss)
    assert found.value == pytest.approx(wanted, rel=1e-5)
    assert found.after == log_loss(found.value) <= log_loss(wanted) + 1e-12
    assert found.before == log_loss(1.0)
    # Gradient zero: an optimum, not just a better point; 1 % beside it the slope shows.
    slopes = [
        log_loss(t * 1.001) - log_loss(t / 1.001)
        for t in (found.value, found.value * 1.01, found.value / 1.01)
    ]
    assert abs(slopes[0]) < 1e-2 * min(abs(slopes[1]), abs(slopes[2]))


def test_one_logit_and_single_precision():
    logits, labels = sample(5000, 2, 3.0)
    exact = fit_temperature(loss_of(logits[:, 1] - logits[:, 0], labels.double()))
    both = fit_temperature(loss_of(logits, labels))
    assert exact.value == pytest.approx(both.value, rel=1e-6)
    single = fit_temperature(loss_of(logits.float(), labels))
    assert single.value == pytest.approx(both.value, rel=1e-2)


def test_decisions_stay():
    logits, labels = sample(500, 4, 3.0)
    found = fit_temperature(loss_of(logits, labels))
    assert torch.equal((logits / found.value).argmax(-1), logits.argmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [0.5, 3.0, 10.0])
def test_separable_rows_are_bounded_and_flagged(margin, dtype):
    """Sure outputs reach a loss of exactly 0 long before the bound; any T there is as good."""
    logits = margin * torch.eye(3, dtype=dtype)
    found = fit_temperature(loss_of(logits, torch.arange(3)))
    assert found.value == LOWEST
    assert found.bounded
    assert found.after < found.before


def test_a_loss_of_nothing_needs_no_temperature():
    found = fit_temperature(loss_of(1000.0 * torch.eye(3), torch.arange(3)))
    assert found == (1.0, 0.0, 0.0, True)


def test_outputs_worse_than_chance_are_bounded_above():
    logits = 2.0 * torch.eye(3, dtype=torch.float64)
    found = fit_temperature(loss_of(logits, torch.tensor([1, 2, 0])))
    assert (found.value, found.bounded) == (HIGHEST, True)
    assert found.after < found.before


@pytest.mark.parametrize("value", [0.7, float("nan"), float("inf")])
def test_outputs_without_a_word_on_it_keep_their_temperature(value):
    """Logits that are all 0, say: every T has the same loss."""
    found = fit_temperature(lambda temperature: value)
    assert found.value == 1.0
    assert found.bounded


@pytest.mark.parametrize("seed", range(20))
def test_never_worse_than_no_temperature(seed):
    """Also for rough losses, which the search was not made for."""
    generator = np.random.default_rng(seed)
    height, phase = generator.uniform(0, 0.5), generator.uniform(0, 6)

    def rough(temperature: float) -> float:
        logarithm = math.log(temperature)
        return 1 + 0.1 * logarithm**2 + height * math.sin(9 * logarithm + phase)

    found = fit_temperature(rough)
    assert found.after <= found.before
    assert found.after == rough(found.value)


def test_calibrated_outputs_stay_as_they_are():
    """At the optimum itself rounding must not invent a gain."""
    logits, labels = sample(60, 3, 2.0)
    first = fit_temperature(loss_of(logits, labels))
    second = fit_temperature(loss_of(logits / first.value, labels))
    assert second.value == pytest.approx(1.0, abs=1e-6)
    assert second.after <= second.before


def test_members_of_an_ensemble_are_softened_before_the_average():
    logits, labels = sample(2000, 3, 1.0)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(4, *logits.shape, generator=generator, dtype=torch.float64)
    members = 3 * (logits + noise)

    def log_loss(temperature: float) -> float:
        chances = (members / temperature).softmax(-1).mean(0)
        return float(functional.nll_loss(chances.log(), labels))

    found = fit_temperature(log_loss)
    assert found.value == pytest.approx(dense(log_loss), rel=1e-5)
    assert found.value != pytest.approx(
        fit_temperature(loss_of(members.mean(0), labels)).value, rel=0.05
    )
