"""The covariance of the tasks is the best one, and the weights converge to the joint minimum."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument
from polytask.regularization.objective import TaskCovariance, penalise
from polytask.regularization.objective import task_covariance as module
from polytask.regularization.objective.task_covariance import covariance

STRENGTH = 0.003


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def started(weights: Tensor, **options) -> TaskCovariance:
    penalty = TaskCovariance(STRENGTH, **options)
    penalty.columns([tuple("abcdefgh"[: weights.shape[1]])])
    penalty.start([weights])
    return penalty


def test_the_penalty_starts_as_a_ridge():
    w = draw(6, 4)
    expected = STRENGTH / 2 * 4 * w.square().sum()
    torch.testing.assert_close(started(w).value([w]), expected)


def test_the_covariance_is_the_best_of_trace_one():
    w = draw(6, 4)
    omega = covariance(w)
    assert float(omega.trace()) == pytest.approx(1, abs=1e-12)

    def energy(matrix: Tensor) -> float:
        return float(torch.trace(w @ torch.linalg.inv(matrix) @ w.mT))

    sizes = torch.linalg.svdvals(w)
    assert energy(omega) == pytest.approx(float(sizes.sum()) ** 2, rel=1e-5)
    for seed in range(50):
        factor = draw(4, 4, seed=seed + 1)
        other = factor @ factor.mT
        assert energy(other / other.trace()) > energy(omega)
    # Without the root, which is what a sample covariance would be, it is not the best.
    gram = w.mT @ w
    assert energy(gram / gram.trace()) > 1.05 * energy(omega)


def test_weights_without_content():
    for tasks in (2, 5):
        same = torch.eye(tasks, dtype=torch.float64) / tasks
        torch.testing.assert_close(covariance(torch.zeros(3, tasks)), same)
    one = torch.zeros(3, 2)
    one[0, 0] = 1e-30
    assert covariance(one).isfinite().all()


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_step_is_where_the_slope_is_zero(diagonal):
    u = draw(6, 4)
    step = draw(6, 4, seed=1).exp() if diagonal else 0.7
    penalty = started(u, every=1)
    penalty.prox_([u.clone()], [0.0])
    inverse = torch.linalg.inv(covariance(u))
    w = u.clone()
    penalty.prox_([w], [step])
    assert not torch.equal(w, u)
    point = w.clone().requires_grad_()
    objective = ((point - u).square() / step).sum() / 2 + STRENGTH / 2 * torch.trace(
        point @ inverse @ point.mT
    )
    (slope,) = torch.autograd.grad(objective, point)
    assert slope.abs().max() < 1e-9


def problem() -> tuple[Tensor, Tensor]:
    """Four related tasks: three alike, one their opposite."""
    x, base = draw(60, 5), draw(5, 1, seed=1)
    truth = base * torch.tensor([1.0, 1.2, 0.8, -1.0], dtype=torch.float64)
    truth = truth + 0.3 * draw(5, 4, seed=2)
    return x, x @ truth + 0.5 * draw(60, 4, seed=3)


def joint_minimum(x: Tensor, y: Tensor) -> np.ndarray:
    """Of the mean squared error + (λ/2) ‖W‖_*², by a general solver."""

    def function(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(flat).view(5, 4).clone().requires_grad_()
        value = (x @ w - y).square().mean()
        value = value + STRENGTH / 2 * torch.linalg.svdvals(w).sum().square()
        (slope,) = torch.autograd.grad(value, w)
        return float(value.detach()), slope.numpy().ravel()

    start = torch.linalg.lstsq(x, y).solution.numpy().ravel()
    found = minimize(function, start, jac=True, method="BFGS", options={"gtol": 1e-10})
    return found.x.reshape(5, 4)


def trained(optimizer, updates: int) -> np.ndarray:
    x, y = problem()
    torch.manual_seed(0)
    stacked = nn.ModuleDict({name: nn.Linear(5, 1, bias=False, dtype=torch.float64)
                             for name in "abcd"})  # fmt: skip
    built = optimizer(stacked.parameters())
    bound = penalise(stacked, [TaskCovariance(STRENGTH)], built, heads=".*", tasks="abcd")
    for _ in range(updates):
        built.zero_grad()
        out = torch.cat([layer(x) for layer in stacked.values()], dim=1)
        (out - y).square().mean().backward()
        built.step()
        bound.prox_()
    words = bound.describe()[0].words
    assert "learned correlations of the heads" in words
    assert "b–d -" in words
    assert "a–b +" in words
    weights = torch.cat([layer.weight.detach() for layer in stacked.values()])
    return weights.mT.numpy()


OPTIMIZERS = {
    "sgd": (lambda p: SGD(p, lr=0.1, momentum=0.5), 4000),
    "adam": (lambda p: Adam(p, lr=0.003), 6000),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_converge_to_the_joint_minimum(name):
    found = trained(*OPTIMIZERS[name])
    expected = joint_minimum(*problem())
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def test_another_covariance_converges_elsewhere(monkeypatch):
    """Ω = WᵀW / tr, without the root, is no minimum of anything here."""

    def wrong(block: Tensor) -> Tensor:
        gram = block.detach().double().mT @ block.detach().double()
        gram = gram / gram.trace() + 1e-6 * torch.eye(len(gram), dtype=torch.float64)
        return gram / gram.trace()

    monkeypatch.setattr(module, "covariance", wrong)
    found = trained(*OPTIMIZERS["sgd"])
    expected = joint_minimum(*problem())
    assert np.abs(found - expected).max() > 1e-3 * np.abs(expected).max()


def test_tasks_without_names_are_told_by_their_places():
    penalty = TaskCovariance(1.0)
    penalty.columns([("", "")])
    w = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    assert "heads: no. 1–no. 2 +1.00" in penalty.learned([w])


def test_a_copy_of_the_state_goes_on_in_the_same_way():
    w, other = draw(6, 4), draw(6, 4)
    first, second = started(w, every=3), started(w, every=3)
    for _ in range(4):
        first.prox_([w], [0.1])
    second.load_state_dict(first.state_dict())
    other.copy_(w)
    for _ in range(5):
        first.prox_([w], [0.1])
        second.prox_([other], [0.1])
    assert torch.equal(w, other)
    with pytest.raises(InvalidArgument, match="task covariances of the shapes"):
        started(draw(6, 3)).load_state_dict(first.state_dict())


@pytest.mark.parametrize("every", [0, 1.5])
def test_the_interval_is_a_whole_number(every):
    with pytest.raises(InvalidArgument, match="every"):
        TaskCovariance(1.0, every=every)
