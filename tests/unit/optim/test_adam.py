"""One step of Adam against torch's own optimizer."""

import pytest
import torch

from polytask.optim import adam_step


def gradients(steps: int):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(steps)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_is_torchs_adam(decay):
    theirs = torch.linspace(-1, 1, 4, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.05, weight_decay=decay)
    decoupled = theirs.detach().clone().requires_grad_()
    wrong = torch.optim.AdamW([decoupled], lr=0.05, weight_decay=decay)
    mine, moments = theirs.detach().clone(), torch.zeros(3, 4, dtype=torch.float64)
    everyone = torch.ones(4, dtype=torch.bool)
    for gradient in gradients(200):
        theirs.grad, decoupled.grad = gradient, gradient
        optimizer.step()
        wrong.step()
        mine, moments = adam_step(mine, gradient, moments, everyone, 0.05, decay)
        assert torch.allclose(mine, theirs.detach(), rtol=1e-12, atol=1e-14)
    assert torch.allclose(mine, decoupled.detach(), atol=0.01) == (decay == 0.0)


def test_entries_that_rest_are_as_if_nothing_had_happened():
    """A common count of steps would correct the late entry's moments too little."""
    steps = gradients(6)
    nobody = torch.zeros(4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    (alone, alone_moments), (mixed, mixed_moments) = nobody, nobody
    late = torch.tensor([False, False, True, False])
    for k, gradient in enumerate(steps):
        active = ~late if k < 3 else torch.ones(4, dtype=torch.bool)
        mixed, mixed_moments = adam_step(mixed, gradient, mixed_moments, active, 0.1, 0.01)
        if k >= 3:
            everyone = torch.ones(4, dtype=torch.bool)
            alone, alone_moments = adam_step(alone, gradient, alone_moments, everyone, 0.1, 0.01)
    assert torch.equal(mixed[late], alone[late])
    assert torch.equal(mixed_moments[:, late], alone_moments[:, late])
    assert not torch.equal(mixed[~late], alone[~late])


def test_not_a_number_in_an_entry_that_rests_stays_out():
    values, moments = torch.zeros(2), torch.zeros(3, 2)
    gradient = torch.tensor([torch.nan, 1.0])
    found, kept = adam_step(values, gradient, moments, torch.tensor([False, True]), 0.1)
    assert found[0] == 0.0
    assert torch.isfinite(kept).all()
