"""Penalties on the singular values of layers, against `svdvals`."""

import pytest
import torch
from torch import Tensor, linalg, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument
from polytask.optim.roles import Selector
from polytask.regularization.objective import penalise
from polytask.regularization.objective.orthogonality import Orthogonality
from polytask.regularization.objective.spectral import Spectral
from polytask.regularization.objective.srip import SRIP

SHAPES = [(4, 7), (7, 4), (5, 5), (1, 6), (6, 1)]
KINDS = {
    "so": (Orthogonality, lambda s: (s.square() - 1).square().sum()),
    "srip": (SRIP, lambda s: (s.square() - 1).abs().max()),
    "spectral": (Spectral, lambda s: s.max().square() / 2),
}


def weights(shape: tuple[int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def settled(kind: type, weight: Tensor, strength: float = 0.7):
    penalty = kind(strength)
    penalty.start([weight])
    for _ in range(400):
        penalty.value([weight])
    return penalty


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient(kind, shape):
    cls, reference = KINDS[kind]
    weight = weights(shape).requires_grad_()
    value = settled(cls, weight.detach()).value([weight])
    expected = 0.7 * reference(linalg.svdvals(weight))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, weight)[0],
        torch.autograd.grad(expected, weight)[0],
        atol=1e-6,
        rtol=1e-6,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_values_are_not(kind):
    """The larger Gram matrix, the other half, the sum over singular values."""
    cls, reference = KINDS[kind]
    weight = weights((4, 7))
    value = settled(cls, weight).value([weight])
    s = linalg.svdvals(weight)
    wrong = {
        "so": [reference(torch.cat([s, torch.zeros(3).double()])), reference(s) / 2],
        "srip": [(s.square() - 1).abs().sum(), reference(s).square(), (s - 1).abs().max()],
        "spectral": [reference(s) * 2, s.square().sum() / 2, s.max()],
    }
    assert all(not torch.isclose(value, 0.7 * other, rtol=1e-3) for other in wrong[kind])


@pytest.mark.parametrize("kind", ["srip", "spectral"])
def test_reports_leave_the_vectors_alone(kind):
    cls, reference = KINDS[kind]
    weight = weights((5, 8))
    penalty = cls(1.0)
    penalty.start([weight])
    other = weights((5, 8), 1)
    with torch.no_grad():
        first = penalty.value([other])
        for _ in range(300):
            assert penalty.value([other]) == first
    for _ in range(300):
        later = penalty.value([other])
    assert later > first
    torch.testing.assert_close(later, reference(linalg.svdvals(other)))


@pytest.mark.parametrize("kind", ["srip", "spectral"])
def test_the_value_is_a_lower_bound_that_rises(kind):
    cls, reference = KINDS[kind]
    weight = weights((9, 6))
    penalty = cls(1.0)
    penalty.start([weights((9, 6), 2)])
    values = torch.stack([penalty.value([weight]) for _ in range(30)])
    assert (values <= reference(linalg.svdvals(weight)) * (1 + 1e-12)).all()
    assert (values.diff() >= -1e-12).all()


def test_opposite_eigenvalues_of_one_size():
    """WᵀW − I with eigenvalues a and −a: the vector alone would not settle, its length does."""
    weight = torch.diag(torch.tensor([1.5, 0.5, 1.0]).double().sqrt()).requires_grad_()
    value = settled(SRIP, weight.detach(), 1.0).value([weight])
    assert value.item() == pytest.approx(0.5)
    (gradient,) = torch.autograd.grad(value, weight)
    assert (gradient.diagonal()[0] > 0) or (gradient.diagonal()[1] < 0)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_and_orthonormal_weights(kind):
    cls, reference = KINDS[kind]
    for start in (torch.zeros(3, 4), torch.eye(3, 4)):
        weight = start.clone().requires_grad_()
        penalty = cls(1.0)
        penalty.start([start])
        value = penalty.value([weight])
        assert value.item() == pytest.approx(float(reference(linalg.svdvals(start))), abs=1e-6)
        assert torch.autograd.grad(value, weight)[0].isfinite().all()
        # From there the iteration finds other weights.
        other = weights((3, 4)).float()
        for _ in range(300):
            value = penalty.value([other])
        torch.testing.assert_close(value, reference(linalg.svdvals(other)))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_extreme_scales_in_single_precision(scale):
    weight = weights((4, 6)).float() * scale
    ratio = float(settled(Spectral, weight)._vectors.largest([weight])[0] / scale)
    assert ratio == pytest.approx(float(linalg.svdvals(weights((4, 6)))[0]), rel=1e-4)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_matrices_with_a_row_per_output(kind):
    cls, reference = KINDS[kind]
    net = network()
    # The group of the selector has no effect, and says nothing here.
    bound = penalise(net, [cls(1.0, Selector())], SGD(net.parameters(), lr=0.1))
    for _ in range(300):
        objective = bound.objective()
    expected = sum(reference(linalg.svdvals(layer.weight.flatten(1))) for layer in (net[0], net[2]))
    torch.testing.assert_close(objective, expected)
    assert next(iter(bound.values().values())) == pytest.approx(expected.item())


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_it(kind):
    cls, _ = KINDS[kind]
    net = network()
    optimizer = Adam(net.parameters(), lr=0.01)
    bound = penalise(net, [cls(1.0)], optimizer)
    before = next(iter(bound.values().values()))
    for _ in range(200):
        optimizer.zero_grad()
        bound.objective().backward()
        optimizer.step()
        bound.prox_()
    assert next(iter(bound.values().values())) < before / 5


@pytest.mark.parametrize("kind", ["srip", "spectral"])
def test_a_resume_goes_on_with_the_vectors(kind):
    cls, _ = KINDS[kind]
    net = network()
    optimizer = SGD(net.parameters(), lr=0.1)
    bound = penalise(net, [cls(1.0)], optimizer)
    bound.objective()
    saved = bound.state_dict()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    expected = [bound.objective().item() for _ in range(3)]
    later = penalise(net, [cls(1.0)], optimizer)
    assert [later.objective().item() for _ in range(3)] != expected
    later.load_state_dict(saved)
    assert [later.objective().item() for _ in range(3)] == expected
    name = next(iter(saved))
    with pytest.raises(InvalidArgument, match="lengths"):
        later.load_state_dict({name: {"0": torch.zeros(2)}})


@pytest.mark.parametrize("kind", ["srip", "spectral"])
def test_binding_changes_no_other_random_number(kind):
    net = network()
    before = torch.random.get_rng_state()
    bound = penalise(net, [KINDS[kind][0](1.0)], SGD(net.parameters(), lr=0.1))
    bound.objective()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_words_and_arguments():
    for cls in (Orthogonality, SRIP, Spectral):
        assert "0.25" in cls(0.25).describe()
        with pytest.raises(InvalidArgument, match="strength"):
            cls(-1.0)
    for cls in (SRIP, Spectral):
        with pytest.raises(InvalidArgument, match="iterations"):
            cls(1.0, iterations=0)
