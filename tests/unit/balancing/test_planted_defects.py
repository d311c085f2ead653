"""The laws catch what public code got wrong: each defect fails the law named beside it."""

import pytest
import torch

from polytask.balancing import DWA, FAMO, EqualWeights, GeometricMean, LossBalancer, RandomWeights
from polytask.balancing.base import usable
from polytask.testing import BalancerLaws

LAWS = BalancerLaws()


class ReadsBack(LossBalancer):
    """Geometric mean that looks at the losses on the host first."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.right = GeometricMean(num_tasks)

    def objective(self, losses, present, counts):
        if (losses < 0).any():
            raise ValueError
        return self.right.objective(losses, present, counts)


class ProductOfLosses(LossBalancer):
    """Geometric mean by the product itself: zero or infinite for small or large losses."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        kept = torch.where(present, losses, 1.0)
        return kept.prod() ** (1.0 / present.sum()) * present.any()


class DividesByAllTasks(LossBalancer):
    """A mean over all tasks, whoever is absent."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return losses.sum() / self.num_tasks


class MasksByMultiplication(LossBalancer):
    """Lets NaN of absent tasks through."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def forward(self, losses, present=None, counts=None):
        mask = torch.ones_like(losses) if present is None else present.to(losses)
        return (losses * mask).sum() / mask.sum().clamp_min(1)

    def objective(self, losses, present, counts):
        raise NotImplementedError


class PlainHistory(LossBalancer):
    """Weights from the losses of the update before, kept as a plain attribute."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.past = None

    def objective(self, losses, present, counts):
        past = torch.ones_like(losses) if self.past is None else self.past
        if bool(torch.isfinite(losses).all()):
            self.past = losses.detach()
        return torch.dot(past / past.sum().clamp_min(1e-30), losses)

    def reset(self):
        self.past = None


class NotesNaN(LossBalancer):
    """Averages whatever it sees."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.register_buffer("mean", torch.zeros(num_tasks, dtype=torch.float64))

    def objective(self, losses, present, counts):
        self.mean.mul_(0.9).add_(0.1 * losses.detach())
        return torch.dot((1.0 / (1.0 + self.mean)).to(losses.dtype), losses)

    def reset(self):
        self.mean.zero_()


class MovesTheAbsent(NotesNaN):
    """The average of an absent task decays."""

    def objective(self, losses, present, counts):
        if present.any() and usable(losses, present).any():
            self.mean.mul_(0.9).add_(0.1 * losses.detach())
        return torch.dot((present / (1.0 + self.mean)).to(losses.dtype), losses)


class ForgetsToForget(NotesNaN):
    def reset(self):
        pass


class GlobalDraws(LossBalancer):
    """Random weights from the global generator."""

    draws = True

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return torch.dot(torch.rand(self.num_tasks).to(losses), losses)


class HidesTheGenerator(LossBalancer):
    """Random weights from a generator that is in no buffer."""

    draws = True

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.generator = torch.Generator().manual_seed(0)

    def objective(self, losses, present, counts):
        return torch.dot(torch.rand(self.num_tasks, generator=self.generator).to(losses), losses)


class HearsTwice(LossBalancer):
    """FAMO that forgets that it has already heard of the update."""

    observes = True
    cost = "one-backward-and-forward"

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks
        self.right = FAMO(num_tasks)

    def objective(self, losses, present, counts):
        return self.right.objective(losses, present, counts)

    def observe(self, losses, present=None):
        pending = self.right.pending.clone()
        self.right.observe(losses, present)
        self.right.pending.copy_(pending)


class SaysNothingOfObserving(HearsTwice):
    observes = False
    cost = "one-backward"


class InOtherUnits(LossBalancer):
    """Promises what holds for ratios of losses, and adds an absolute constant to them."""

    guarantees = frozenset({"line-invariant", "homogeneous"})

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return torch.where(present, (losses + 1e-3).log(), 0.0).sum()


class SumsToSomething(LossBalancer):
    """Softmax over all tasks, masked afterwards."""

    guarantees = frozenset({"weights-sum-to-tasks"})

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return torch.dot(self.num_tasks * losses.detach().softmax(0) * present, losses)


class HidesNaN(LossBalancer):
    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return torch.nan_to_num(losses, posinf=1.0).sum()


class DependsOnTheListing(LossBalancer):
    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def objective(self, losses, present, counts):
        return torch.dot(torch.linspace(1.0, 1.01, self.num_tasks).to(losses), losses)


class ReportsOthers(LossBalancer):
    """The gradient within a network is another one than that on the losses alone."""

    def __init__(self, num_tasks):
        super().__init__()
        self.num_tasks = num_tasks

    def forward(self, losses, present=None, counts=None):
        return (2.0 if losses.is_leaf else 1.0) * losses.sum()

    def objective(self, losses, present, counts):
        raise NotImplementedError


DEFECTS = [
    (ReadsBack, LAWS.test_nothing_is_read_back),
    (ProductOfLosses, LAWS.test_size_of_the_losses),
    (ProductOfLosses, LAWS.test_zero_losses),
    (DividesByAllTasks, LAWS.test_absent_tasks),
    (MasksByMultiplication, LAWS.test_absent_tasks),
    (MasksByMultiplication, LAWS.test_nobody_present),
    (PlainHistory, LAWS.test_state_round_trip),
    (PlainHistory, LAWS.test_an_update_can_be_undone),
    (NotesNaN, LAWS.test_non_finite_losses),
    (NotesNaN, LAWS.test_nobody_present),
    (MovesTheAbsent, LAWS.test_absence_moves_nothing),
    (ForgetsToForget, LAWS.test_reset),
    (GlobalDraws, LAWS.test_randomness_is_owned),
    (HidesTheGenerator, LAWS.test_state_round_trip),
    (HidesTheGenerator, LAWS.test_an_update_can_be_undone),
    (HearsTwice, LAWS.test_observing),
    (SaysNothingOfObserving, LAWS.test_observing),
    (InOtherUnits, LAWS.test_line_invariant),
    (InOtherUnits, LAWS.test_homogeneous),
    (SumsToSomething, LAWS.test_weights_sum_to_tasks),
    (HidesNaN, LAWS.test_non_finite_losses),
    (DependsOnTheListing, LAWS.test_permutation),
    (ReportsOthers, LAWS.test_weights_are_the_slopes),
]


@pytest.mark.parametrize(
    ("defect", "law"), DEFECTS, ids=[f"{one.__name__}-{law.__name__}" for one, law in DEFECTS]
)
def test_a_defect_breaks_its_law(defect, law):
    with pytest.raises(AssertionError):
        law(defect)


@pytest.mark.parametrize("law", sorted({law for _, law in DEFECTS}, key=lambda law: law.__name__))
def test_right_methods_are_lawful(law):
    for make in (EqualWeights, GeometricMean, DWA, FAMO, RandomWeights):
        try:
            law(make)
        except pytest.skip.Exception:
            continue


def test_an_unknown_promise_is_refused():
    class Boasts(GeometricMean):
        guarantees = frozenset({"always-right"})

    with pytest.raises(AssertionError, match="unknown promise"):
        LAWS.test_facts_are_declared(Boasts)
