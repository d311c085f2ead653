"""Relations between the methods, and their promises, on gradients nobody chose."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from polytask.aggregation import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    EqualizeNorms,
    FairGrad,
    GradVac,
    Krum,
    NashMTL,
    PCGrad,
    UPGrad,
)

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
SMALL_NUMBERS = st.integers(-3, 3).map(float)


@st.composite
def jacobians(draw, least=1, most=6):
    """Small integers: dependent, opposite, duplicate and zero rows are all common."""
    tasks = draw(st.integers(least, most))
    rows = draw(arrays.arrays(np.float64, (tasks, draw(st.integers(1, 6))), elements=SMALL_NUMBERS))
    decades = draw(st.lists(st.integers(-8, 8), min_size=tasks, max_size=tasks))
    return torch.from_numpy(rows * 10.0 ** np.array(decades, dtype=np.float64)[:, None])


@st.composite
def independent(draw, least=2, most=6):
    """Rows far from linear dependence, of any size."""
    tasks = draw(st.integers(least, most))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    basis, _ = np.linalg.qr(generator.standard_normal((tasks + 2, tasks)))
    mixing = np.eye(tasks) + 0.25 * generator.uniform(-1, 1, (tasks, tasks)) / tasks**0.5
    decades = draw(st.lists(st.integers(-3, 3), min_size=tasks, max_size=tasks))
    return torch.from_numpy((mixing @ basis.T) * 10.0 ** np.array(decades, float)[:, None])


def slopes_and_scale(jacobian, weights):
    norms = jacobian.norm(dim=1)
    return jacobian @ (weights @ jacobian), norms * (weights.abs() @ norms)


@QUICK
@given(jacobians())
def test_projections_never_conflict_even_on_dependent_gradients(jacobian):
    for method in (UPGrad(), DualProj(), MGDA()):
        slopes, scale = slopes_and_scale(jacobian, method(jacobian @ jacobian.T))
        assert bool((slopes >= -1e-9 * scale).all()), method


@QUICK
@given(jacobians())
def test_everything_is_finite_and_told(jacobian):
    gramian = jacobian @ jacobian.T
    for method in (
        UPGrad(), DualProj(), MGDA(), CAGrad(), PCGrad(), GradVac(), IMTLG(), NashMTL(),
        FairGrad(0.5), FairGrad(3.0), AlignedMTL(), ConFIG(), EqualizeNorms(CAGrad()),
        Krum(), Krum(squared=False),
    ):  # fmt: skip
        assert bool(torch.isfinite(method(gramian)).all()), method
        assert "not-converged" not in method.flags, method


@QUICK
@given(independent(2, 2))
def test_pcgrad_is_twice_upgrad_for_two_tasks(jacobian):
    gramian = jacobian @ jacobian.T
    assert torch.allclose(PCGrad()(gramian), 2 * UPGrad()(gramian), rtol=1e-12)
    assert torch.allclose(GradVac()(gramian), PCGrad()(gramian), rtol=1e-9)


@QUICK
@given(independent())
def test_nash_is_fairgrad_of_one_and_has_one_length(jacobian):
    gramian = jacobian @ jacobian.T
    weights = NashMTL()(gramian)
    assert torch.allclose(weights, FairGrad(1.0)(gramian), rtol=1e-9)
    assert torch.allclose(weights * (gramian @ weights), torch.ones(()).double(), rtol=1e-7)
    assert abs(float((weights @ jacobian).norm()) ** 2 - len(jacobian)) < 1e-7


@QUICK
@given(independent(), st.sampled_from([0.5, 2.0, 4.0]))
def test_fairgrad_solves_its_equation(jacobian, alpha):
    gramian = jacobian @ jacobian.T
    weights = FairGrad(alpha)(gramian)
    assert torch.allclose(
        weights ** (1 / alpha) * (gramian @ weights), torch.ones(()).double(), rtol=1e-6
    )


@QUICK
@given(independent())
def test_config_and_imtl_g_share_a_line_and_have_equal_projections(jacobian):
    gramian, norms = jacobian @ jacobian.T, jacobian.norm(dim=1)
    for method in (ConFIG(), IMTLG()):
        projections = (gramian @ method(gramian)) / norms
        assert float(projections.std() / projections.abs().mean()) < 1e-7
    one, two = (method(gramian) @ jacobian for method in (ConFIG(), IMTLG()))
    cosine = float((one / one.norm()) @ (two / two.norm()))
    assert abs(abs(cosine) - 1) < 1e-9


@QUICK
@given(independent(), st.sampled_from([0.0, 0.3, 0.8]))
def test_cagrad_stays_in_its_ball_and_beats_the_mean(jacobian, c):
    mean = jacobian.mean(0)
    direction = CAGrad(c)(jacobian @ jacobian.T) @ jacobian
    assert float((direction - mean).norm()) <= c * float(mean.norm()) * (1 + 1e-7) + 1e-12
    assert float((jacobian @ direction).min()) >= float((jacobian @ mean).min()) - 1e-9 * float(
        jacobian.norm() ** 2
    )


@QUICK
@given(independent())
def test_mgda_is_the_least_norm_among_sampled_combinations(jacobian):
    weights = MGDA()(jacobian @ jacobian.T)
    best = float((weights @ jacobian).norm())
    samples = np.random.default_rng(0).dirichlet(np.ones(len(jacobian)), 50)
    others = (torch.from_numpy(samples) @ jacobian).norm(dim=1)
    assert best <= float(others.min()) * (1 + 1e-9)


@QUICK
@given(independent())
def test_no_method_conflicts_when_no_gradients_do(jacobian):
    agreeing = (jacobian @ jacobian.T).abs()
    norms = jacobian.norm(dim=1)
    assume(float(torch.linalg.eigvalsh(agreeing / norms.outer(norms))[0]) > 1e-6)
    for method in (PCGrad(), CAGrad(), UPGrad(), MGDA(), NashMTL()):
        weights = method(agreeing)
        assert bool((weights >= 0).all())
        assert bool((agreeing @ weights >= 0).all())
    assert torch.equal(PCGrad()(agreeing), torch.ones(len(agreeing)).double())


@QUICK
@given(independent(), st.permutations(range(6)))
def test_tasks_can_be_listed_in_any_order(jacobian, order):
    chosen = torch.tensor([task for task in order if task < len(jacobian)])
    gramian = jacobian @ jacobian.T
    for method in (UPGrad(), MGDA(), CAGrad(), NashMTL(), FairGrad(2.0), IMTLG(), ConFIG(), Krum()):
        straight = method(gramian)
        shuffled = method(gramian[chosen][:, chosen])
        assert torch.allclose(shuffled, straight[chosen], rtol=1e-8, atol=0), method
