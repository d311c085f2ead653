"""Features that all tasks use or none, by their largest weights."""

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument, Unsupported
from polytask.regularization.objective import JointFeatures, JointFeaturesMax, penalise
from polytask.regularization.objective.joint_features_max import level

STRENGTH = 0.7


def draw(seed: int = 0, *, rows: int = 60, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, t = (torch.randn(rows, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    # Rows of all sizes, so that some vanish and some are cut at one entry only.
    return u * torch.logspace(-1.5, 1, rows, dtype=torch.float64)[:, None], (spread * t).exp()


def prox(u: Tensor, step: Tensor | float, strength: float = STRENGTH) -> Tensor:
    w = u.clone()
    JointFeaturesMax(strength).prox_([w], [step])
    return w


def violation(w: Tensor, pull: Tensor, strength: float = STRENGTH) -> float:
    """How far `pull` is from being λ times a sub-gradient of Σ max |w_i| at w.

    At a row of zeros: anything of absolute sum at most λ. Elsewhere: nothing on the entries below
    the largest, and on those parts of λ with the signs of w.
    """
    sizes = w.abs()
    top = sizes.amax(dim=1, keepdim=True)
    zero = top == 0
    largest = sizes >= top * (1 - 1e-9)
    excess = (pull.abs().sum(dim=1, keepdim=True) - strength).clamp(min=0)[zero].sum()
    alive = ~zero.squeeze(1)
    signed = (pull * w.sign())[alive]
    parts = [
        pull[alive][~largest[alive]].abs().sum(),
        signed.clamp(max=0)[largest[alive]].abs().sum(),
        (signed.sum(dim=1) - strength).abs().sum(),
    ]
    return float(excess + sum(parts))


def test_value_is_the_sum_of_largest_sizes():
    w = torch.tensor([[1.0, -3.0], [0.0, 0.5]])
    assert float(JointFeaturesMax(2.0).value([w])) == 7.0


@pytest.mark.parametrize("step", [0.3, 3.0, "metric", "wide metric"])
def test_the_step_is_where_the_slope_is_zero(step):
    u, t = draw(spread=3.0 if step == "wide metric" else 1.0)
    metric = t if isinstance(step, str) else step
    w = prox(u, metric)
    assert violation(w, (u - w) / metric) < 1e-10 * max(1.0, float((1 / t).max()))
    rows = (w == 0).all(dim=1)
    assert torch.equal(rows, (u.abs() / metric).sum(dim=1) <= STRENGTH)
    assert 0 < int(rows.sum()) < len(u)
    cut = (w != u).sum(dim=1)[~rows]
    if step != "wide metric":
        assert set(cut.tolist()) == {1, 2, 3, 4}


def test_wrong_steps_are_not():
    """The mean of the metric, the metric after the cut, entries not ordered, and L2,1."""
    u, t = draw()
    mean = prox(u, t.mean(dim=1, keepdim=True).expand_as(t))
    assert violation(mean, (u - mean) / t) > 1.0
    sizes = u.abs()
    count = torch.arange(1, 5, dtype=u.dtype)
    unordered = ((sizes.cumsum(1) - STRENGTH * 0.3) / count).amax(1, keepdim=True).clamp(min=0)
    wrong = u.clamp(-unordered, unordered)
    assert violation(wrong, (u - wrong) / 0.3) > 1.0
    ordered, places = sizes.sort(dim=1, descending=True)
    plain = ((ordered.cumsum(1) - STRENGTH * t.gather(1, places)) / count).amax(1, keepdim=True)
    after = u.clamp(-plain.clamp(min=0), plain.clamp(min=0))
    assert violation(after, (u - after) / t) > 1.0
    group = u.clone()
    JointFeatures(STRENGTH).prox_([group], [0.3])
    assert violation(group, (u - group) / 0.3) > 1.0


@pytest.mark.parametrize("seed", range(6))
def test_against_a_general_solver(seed):
    """½ Σ (w − u)²/t + λ m subject to |w| ≤ m, as a smooth problem with bounds on differences."""
    u, t = (x[::10] for x in draw(seed))
    missed = 0.0
    for ours, target, metric in zip(prox(u, t), u, t, strict=True):
        x, c = target.numpy(), 1 / metric.numpy()

        def function(z: np.ndarray, x=x, c=c) -> tuple[float, np.ndarray]:
            rest = z[:-1] - x
            return (c * rest**2).sum() / 2 + STRENGTH * z[-1], np.append(c * rest, STRENGTH)

        matrix = np.vstack([np.c_[np.eye(4), np.ones(4)], np.c_[-np.eye(4), np.ones(4)]])
        found = minimize(
            function,
            np.append(x, np.abs(x).max()),
            jac=True,
            method="SLSQP",
            constraints=LinearConstraint(matrix, 0, np.inf),
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(ours.numpy(), found.x[:-1], atol=2e-6)
        euclid = prox(target[None], float(metric.mean()))[0]
        missed = max(missed, float(np.abs(euclid.numpy() - found.x[:-1]).max()))
    assert missed > 1e-2


def test_moreau():
    """u − prox(u) is the projection on the L1 ball of radius λt, here by halving an interval."""
    u, _ = draw()
    radius = STRENGTH * 0.4
    low, high = torch.zeros(len(u), 1, dtype=u.dtype), u.abs().amax(dim=1, keepdim=True)
    for _ in range(100):
        middle = (low + high) / 2
        far = (u.abs() - middle).clamp(min=0).sum(dim=1, keepdim=True) > radius
        low, high = torch.where(far, middle, low), torch.where(far, high, middle)
    inside = u.abs().sum(dim=1, keepdim=True) <= radius
    projected = torch.where(inside, u, u.sign() * (u.abs() - low).clamp(min=0))
    assert 0 < int(inside.sum()) < len(u)
    torch.testing.assert_close(u - prox(u, 0.4), projected, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_any_scale(dtype, scale):
    """Sizes and steps in the same unit: the level is in that unit, to the last digits."""
    u, t = draw(spread=3.0)
    expected = level(u.abs(), t, STRENGTH) * scale
    found = level((u * scale).to(dtype).abs(), (t * scale).to(dtype), STRENGTH)
    bound = 1e-5 if dtype is torch.float32 else 1e-13
    largest = u.abs().amax(dim=1, keepdim=True) * scale
    assert float(((found.double() - expected) / largest).abs().max()) < bound


def test_extremes():
    u, t = draw()
    assert torch.equal(prox(u, 0.0), u)
    torch.testing.assert_close(prox(u, torch.full_like(t, 0.3)), prox(u, 0.3))
    torch.testing.assert_close(prox(u, t, 0.0), u, rtol=1e-14, atol=0)
    assert not prox(u, 1e6).any()
    assert not prox(torch.zeros(2, 3), 0.1).any()
    assert not prox(torch.zeros(2, 3), torch.ones(2, 3)).any()
    single, metric = u[:, :1].clone(), t[:, :1]
    lasso = single.sign() * (single.abs() - STRENGTH * metric).clamp(min=0)
    torch.testing.assert_close(prox(single, metric), lasso)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_training_ends_at_the_optimum(optimizer):
    """The gradient of the loss is λ times a sub-gradient; features without use are exactly zero."""
    make = {
        "sgd": lambda p: SGD(p, lr=0.1),
        "momentum": lambda p: SGD(p, lr=0.02, momentum=0.8),
        "adam": lambda p: Adam(p, lr=0.02),
    }[optimizer]
    torch.manual_seed(0)
    inputs = torch.randn(80, 10, dtype=torch.float64)
    truth = torch.randn(10, 3, dtype=torch.float64)
    truth[4:] = 0
    target = inputs @ truth + 0.3 * torch.randn(80, 3, dtype=torch.float64)
    network = nn.Linear(10, 3, bias=False).double()
    trained = make(network.parameters())
    bound = penalise(network, [JointFeaturesMax(0.5)], trained, heads=".*")

    def gradient() -> Tensor:
        trained.zero_grad()
        ((network(inputs) - target).square().sum(1).mean() / 2).backward()
        return network.weight.grad.T

    for _ in range(2500 if optimizer == "adam" else 1000):
        gradient()
        trained.step()
        bound.prox_()
    weights = network.weight.detach().T
    assert violation(weights, -gradient(), 0.5) < 1e-7
    assert (weights == 0).all(dim=1).tolist() == [False] * 4 + [True] * 6
    assert bound.zeros()["JointFeaturesMax"].groups == 6


def test_not_beside_another_step_on_the_same_weights():
    network = nn.Linear(3, 2)
    optimizer = SGD(network.parameters(), lr=1)
    with pytest.raises(Unsupported, match="JointFeatures and JointFeaturesMax both act on weight"):
        penalise(network, [JointFeatures(0.1), JointFeaturesMax(0.1)], optimizer, heads=".*")


def test_words_and_arguments():
    assert "0.7" in JointFeaturesMax(STRENGTH).describe()
    with pytest.raises(InvalidArgument, match="strength"):
        JointFeaturesMax(-1.0)
