"""The laws catch what public code got wrong: each defect fails the law named beside it."""

import numpy as np
import pytest
import torch

from polytask.aggregation import MGDA, GramianAggregator, PCGrad, Solution, UPGrad
from polytask.testing import AggregatorLaws

LAWS = AggregatorLaws()


class _Like(GramianAggregator):
    """A wrong method around a right one."""

    def __init__(self, right=UPGrad):
        super().__init__()
        self.right = right()
        self.guarantees = self.right.guarantees
        self.draws = self.right.draws

    def weigh(self, problem):
        return self.right.weigh(problem)

    def reset(self):
        self.right.reset()


class AveragesSmallGradients(_Like):
    def weigh(self, problem):
        if np.trace(problem.gramian) < 1e-4:
            return Solution(np.full(problem.tasks.size, 1 / problem.tasks.size), 0.0, frozenset())
        return super().weigh(problem)


class RidgeOnTheTrace(_Like):
    def weigh(self, problem):
        size = problem.tasks.size
        ridge = 1e-4 * np.trace(problem.gramian) * np.eye(size)
        return super().weigh(problem._replace(gramian=problem.gramian + ridge))


class HidesItsState(_Like):
    def __init__(self):
        super().__init__(MGDA)
        self.past = None

    def weigh(self, problem):
        found = super().weigh(problem)
        if self.past is None or len(self.past) != len(found.weights):
            self.past = found.weights
        self.past = 0.5 * self.past + 0.5 * found.weights
        return found._replace(weights=self.past)

    def reset(self):
        self.past = None


class DrawsFromTheGlobalGenerator(_Like):
    def __init__(self):
        super().__init__(PCGrad)

    def weigh(self, problem):
        noise = 1.0 + 0.01 * torch.rand(problem.tasks.size).double().numpy()
        found = super().weigh(problem)
        return found._replace(weights=found.weights * noise)


class CountsAbsentTasks(_Like):
    def forward(self, gramian, losses=None, present=None):
        mask = torch.ones(len(gramian)) if present is None else present.to(gramian)
        clean = torch.nan_to_num(gramian) * mask[:, None] * mask[None, :]
        return super().forward(clean, losses, None) * mask


class DividesByZeroNorms(_Like):
    def weigh(self, problem):
        norms = np.sqrt(np.diagonal(problem.gramian))
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(norms > -1, 1 / norms, 0.0) * norms
        return super().weigh(problem)._replace(weights=weights)


class PromisesTooMuch(_Like):
    def __init__(self):
        super().__init__(PCGrad)
        self.guarantees = self.right.guarantees | {"non-conflicting"}


class DependsOnTheListing(_Like):
    def weigh(self, problem):
        found = super().weigh(problem)
        return found._replace(weights=found.weights * np.linspace(1, 1.01, problem.tasks.size))


class HidesNaN(_Like):
    def forward(self, gramian, losses=None, present=None):
        return super().forward(torch.nan_to_num(gramian, posinf=1.0), losses, present)


class DividesByAnAbsoluteEpsilon(_Like):
    """1e-8 in a denominator: harmless, until gradients are of its size."""

    def __init__(self):
        super().__init__(PCGrad)
        self.guarantees = frozenset({"homogeneous"})

    def weigh(self, problem):
        norms = np.sqrt(np.diagonal(problem.gramian))
        return Solution(1.0 / (norms + 1e-8), 0.0, frozenset())


class LeavesZeroRowsInTheHull(_Like):
    """The shortest convex combination of gradients one of which is zero is zero."""

    def __init__(self):
        super().__init__(MGDA)

    def weigh(self, problem):
        zero = np.diagonal(problem.gramian) == 0.0
        if zero.any() and not zero.all():
            return Solution(zero / zero.sum(), 0.0, frozenset())
        return super().weigh(problem)


class CosinesWithoutAClamp(_Like):
    """√(1 - φ²) of a rounding error above one."""

    def weigh(self, problem):
        with np.errstate(invalid="ignore", divide="ignore"):
            norms = np.sqrt(np.diagonal(problem.gramian))
            cosines = problem.gramian / norms[:, None] / norms[None, :] * (1 + 1e-15)
            sines = np.sqrt(1.0 - cosines**2).sum(axis=1)
        found = super().weigh(problem)
        return found._replace(weights=found.weights + 0.0 * sines)


class FrankWolfe(_Like):
    """MGDA that stops on the size of its steps, far above the optimum if gradients are unequal."""

    def __init__(self):
        super().__init__(MGDA)

    def weigh(self, problem):
        gramian, size = problem.gramian, problem.tasks.size
        w = np.full(size, 1.0 / size)
        for _ in range(100):
            t = int(np.argmin(gramian @ w))
            a, b, c = w @ gramian[t], w @ gramian @ w, gramian[t, t]
            step = 1.0 if c <= a else 0.0 if b <= a else (b - a) / (b + c - 2 * a)
            w = (1 - step) * w
            w[t] += step
            if step < 1e-3:
                break
        return Solution(w, 0.0, frozenset())


class FallsBackToThePast(_Like):
    """A solver that fails is replaced by the last weights, whoever was present then."""

    def __init__(self):
        super().__init__()
        self.last = None

    def weigh(self, problem):
        if self.last is not None and len(self.last) == problem.tasks.size:
            return Solution(self.last, 0.0, frozenset())
        found = super().weigh(problem)
        self.last = found.weights
        return found

    def reset(self):
        self.last = None


class MovesItsStateOnNaN(_Like):
    """An average that takes in whatever comes, and stays poisoned."""

    def __init__(self):
        super().__init__()
        self.remember("average")

    def forward(self, gramian, losses=None, present=None):
        mean = torch.diagonal(gramian).double().mean().reshape(1)
        self.average = mean if not self.average.numel() else 0.5 * (self.average + mean)
        return super().forward(gramian, losses, present)

    def reset(self):
        self.forget()


class StateOfTheWrongShape(_Like):
    """A buffer that is made in the first call, which a fresh instance refuses to load."""

    def weigh(self, problem):
        if "history" not in dict(self.named_buffers()):
            self.register_buffer("history", torch.zeros(problem.tasks.size))
        return super().weigh(problem)


class ForgetsToReset(_Like):
    def __init__(self):
        super().__init__(PCGrad)

    def reset(self):
        """Leaves the generator where it is."""


class NormalisesTheUpdate(_Like):
    """Weights found on gradients of length one, and applied to these: not to the task's own."""

    def weigh(self, problem):
        norms = np.sqrt(np.diagonal(problem.gramian))
        safe = np.where(norms > 0, norms, 1.0)
        found = super().weigh(problem._replace(gramian=problem.gramian / np.outer(safe, safe)))
        return found._replace(weights=found.weights / safe)


class PromisesToNeedNothing(_Like):
    needs = "none"


class CountsReadyWeightsTwice(_Like):
    """An age that `ready_weights` does not move lets weights live for ever."""

    def __init__(self):
        super().__init__()
        self.remember("kept")

    def ready_weights(self, present):
        weights = self.kept if self.kept.numel() else None
        return None if weights is None else weights * present

    def weigh(self, problem):
        found = super().weigh(problem)
        self.kept = torch.zeros(problem.num_tasks, dtype=torch.float64)
        self.kept[problem.tasks] = torch.from_numpy(found.weights)
        return found

    def reset(self):
        self.forget()


DEFECTS = [
    (PromisesToNeedNothing, LAWS.test_ready_weights),
    (CountsReadyWeightsTwice, LAWS.test_ready_weights),
    (DividesByAnAbsoluteEpsilon, LAWS.test_size_of_all_gradients),
    (LeavesZeroRowsInTheHull, LAWS.test_zero_gradient_does_not_stop_the_others),
    (CosinesWithoutAClamp, LAWS.test_degenerate_gradients),
    (FrankWolfe, LAWS.test_non_conflicting),
    (FallsBackToThePast, LAWS.test_state_round_trip),
    (MovesItsStateOnNaN, LAWS.test_non_finite_gradients),
    (MovesItsStateOnNaN, LAWS.test_nobody_present),
    (StateOfTheWrongShape, LAWS.test_state_round_trip),
    (ForgetsToReset, LAWS.test_reset),
    (NormalisesTheUpdate, LAWS.test_linear_under_scaling),
    (AveragesSmallGradients, LAWS.test_size_of_all_gradients),
    (RidgeOnTheTrace, LAWS.test_non_conflicting),
    (RidgeOnTheTrace, LAWS.test_linear_under_scaling),
    (HidesItsState, LAWS.test_state_round_trip),
    (DrawsFromTheGlobalGenerator, LAWS.test_randomness_is_owned),
    (CountsAbsentTasks, LAWS.test_absent_tasks),
    (DividesByZeroNorms, LAWS.test_degenerate_gradients),
    (PromisesTooMuch, LAWS.test_non_conflicting),
    (DependsOnTheListing, LAWS.test_permutation),
    (HidesNaN, LAWS.test_non_finite_gradients),
]


@pytest.mark.parametrize(
    ("defect", "law"), DEFECTS, ids=[f"{one.__name__}-{law.__name__}" for one, law in DEFECTS]
)
def test_a_defect_breaks_its_law(defect, law):
    # A state that does not load is refused by torch itself.
    with pytest.raises((AssertionError, RuntimeError)):
        law(defect())


@pytest.mark.parametrize("law", sorted({law for _, law in DEFECTS}, key=lambda law: law.__name__))
def test_the_methods_behind_the_defects_are_lawful(law):
    for method in (UPGrad(), MGDA(), PCGrad()):
        try:
            law(method)
        except pytest.skip.Exception:
            continue


def test_an_unknown_promise_is_refused():
    method = UPGrad()
    method.guarantees = frozenset({"always-right"})
    with pytest.raises(AssertionError, match="unknown promise"):
        LAWS.test_facts_are_declared(method)
