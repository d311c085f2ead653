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


DEFECTS = [
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
    with pytest.raises(AssertionError):
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
