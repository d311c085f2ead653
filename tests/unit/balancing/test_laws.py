"""Every loss balancer obeys the laws of the family."""

import pytest

from polytask import balancing
from polytask.balancing import (
    DWA,
    FAMO,
    IMTLL,
    UWSO,
    EqualWeights,
    FixedWeights,
    GeometricMean,
    LossBalancer,
    PerformanceWeights,
    PlainSmoothTchebycheff,
    PooledLoss,
    RandomWeights,
    ScheduledWeights,
    SmoothTchebycheff,
    UncertaintyWeights,
)
from polytask.optim import constant, linear
from polytask.testing import BalancerLaws


def fading(num_tasks):
    return ScheduledWeights([linear([(0, 1.0), (9, 0.5)])] * num_tasks)


METHODS = {
    "equal": EqualWeights,
    "fixed": lambda k: FixedWeights([3.0] * k),
    "scheduled": lambda k: ScheduledWeights([constant()] * k),
    "scheduled-fading": fading,
    "pooled": PooledLoss,
    "uncertainty": lambda k: UncertaintyWeights(["regression"] * k),
    "uncertainty-classes": lambda k: UncertaintyWeights(["classification"] * k, initial=-0.5),
    "imtl-l": IMTLL,
    "uw-so": UWSO,
    "uw-so-cool": lambda k: UWSO(k, temperature=0.1),
    "dwa": DWA,
    "dwa-cool": lambda k: DWA(k, temperature=0.2),
    "random": RandomWeights,
    "geometric-mean": GeometricMean,
    "famo": FAMO,
    "famo-bounds": lambda k: FAMO(k, weight_decay=0.01, lower_bounds=[-1.0] * k, epsilon=1e-6),
    "smooth-tchebycheff": SmoothTchebycheff,
    "smooth-tchebycheff-early": lambda k: SmoothTchebycheff(k, mu=0.1, warmup_epochs=1),
    "plain-smooth-tchebycheff": PlainSmoothTchebycheff,
    "plain-smooth-tchebycheff-sharp": lambda k: PlainSmoothTchebycheff(
        k, mu=0.01, preference=[2.0] * k, ideal=[-0.5] * k
    ),
    "performance": PerformanceWeights,
    "performance-easy": lambda k: PerformanceWeights(k, alpha=-1.0, momentum=0.5),
}


@pytest.mark.parametrize("name", METHODS)
class TestAllMethods(BalancerLaws):
    @pytest.fixture
    def make(self, name):
        return METHODS[name]


def test_no_method_is_left_out():
    classes = {getattr(balancing, name) for name in balancing.__all__ if name != "GUARANTEES"}
    methods = {c for c in classes if issubclass(c, LossBalancer) and not c.__abstractmethods__}
    assert {type(make(2)) for make in METHODS.values()} == methods
