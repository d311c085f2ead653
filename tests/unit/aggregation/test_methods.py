"""What each aggregation method does beyond the common laws."""

import copy

import numpy as np
import pytest
import torch

from polytask import aggregation
from polytask.aggregation import (
    DBMTL,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ClipTaskGradients,
    ConFIG,
    EqualizeNorms,
    EveryN,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    GramianAggregator,
    Krum,
    Mean,
    MoCo,
    MovingAverageWeights,
    NashMTL,
    PCGrad,
    RandomSource,
    Sum,
    UPGrad,
)
from polytask.errors import InvalidArgument, UnknownName

J2 = torch.tensor([[-4.0, 1, 1], [6, 1, 1]], dtype=torch.float64)
J3 = torch.tensor([[1.0, 0, 2, -1], [-2, 1, 0, 1], [3, -1, -3, 0]], dtype=torch.float64)
G2, G3 = J2 @ J2.T, J3 @ J3.T
ALL = [
    getattr(aggregation, name)
    for name in aggregation.__all__
    if isinstance(getattr(aggregation, name), type)
    and issubclass(getattr(aggregation, name), aggregation.Aggregator)
    and "Aggregator" not in name
]


def test_the_published_methods_are_documented():
    for method in ALL:
        text = method.__doc__
        assert "Example:" in text, method
        if method.paper:
            assert "Reference:" in text, method
            assert "Scale:" in text or "scale" in text.lower(), method


@pytest.mark.parametrize(
    "method",
    [MGDA, UPGrad, CAGrad, IMTLG, NashMTL, FairGrad, AlignedMTL, ConFIG, PCGrad, GradVac, Krum],
)
def test_single_precision_gramians_of_a_duplicated_task_agree_with_double(method):
    jacobian = torch.cat([J3, J3[:1]])
    double = method()(jacobian @ jacobian.T) @ jacobian
    single = method()((jacobian @ jacobian.T).float()).double() @ jacobian
    scale = jacobian.norm(dim=1).sum()
    assert float((double - single).abs().max()) <= 1e-5 * float(scale)


def test_the_eigenvalues_that_count_depend_on_how_the_gramian_was_accumulated():
    jacobian = torch.cat([J3, J3[:1]]).float()
    noisy = (jacobian @ jacobian.T).double()
    noisy[0, 3] = noisy[3, 0] = 6.0 - 3e-7  # a rounding error of single precision
    right, wrong = AlignedMTL(), AlignedMTL()
    right.accumulated_in = torch.float32
    short = (wrong(noisy) @ jacobian.double()).norm()
    long = (right(noisy) @ jacobian.double()).norm()
    assert float(short) < 0.01 * float(long)
    assert "rank-deficient" in right.flags
    assert "rank-deficient" not in wrong.flags


def test_state_stays_on_the_host_in_double_precision():
    method = GradVac()
    method(G2)
    method.half()
    method.to("meta")
    assert method.cosines.dtype == torch.float64
    assert method.cosines.device.type == "cpu"


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.__name__)
def test_weights_are_no_parameters(method):
    wraps = {EveryN: (UPGrad(), 2), MovingAverageWeights: (UPGrad(),), EqualizeNorms: (UPGrad(),)}
    arguments = wraps.get(method, (UPGrad(), 1.0) if method is ClipTaskGradients else ())
    assert not list(method(*arguments).parameters())


def test_values_travel_in_one_copy(monkeypatch):
    copies = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: copies.append(1) or original(t))
    for forbidden in ("item", "tolist", "__bool__", "__float__"):
        monkeypatch.setattr(
            torch.Tensor, forbidden, lambda *_: pytest.fail("another synchronisation")
        )
    losses, present = torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool)
    for method in (MGDA("loss"), GradNorm(), UPGrad(), GradVac(), PCGrad(), NashMTL(), Krum()):
        copies.clear()
        method(G3, losses, present)
        assert len(copies) == 1, method


# ── preferences


@pytest.mark.parametrize("method", [UPGrad, AlignedMTL, ConFIG, aggregation.DualProj])
def test_preferences_are_checked(method):
    for wrong in ((1.0, 0.0), (1.0, -1.0), (1.0, float("nan")), ()):
        with pytest.raises(InvalidArgument, match="preference"):
            method(preference=wrong)
    with pytest.raises(InvalidArgument, match="each of the 3 tasks"):
        method(preference=(1.0, 2.0))(G3)


def test_preferences_of_present_tasks_keep_their_ratio():
    jacobian = torch.cat([J2[:1], torch.full((1, 3), torch.nan, dtype=torch.float64), J2[1:]])
    present = torch.tensor([True, False, True])
    partial = UPGrad((3.0, 5.0, 1.0))(jacobian @ jacobian.T, None, present)
    assert torch.equal(partial[present], UPGrad((3.0, 1.0))(G2))


def test_preference_pulls_the_projection_towards_its_task():
    slopes = [G3 @ UPGrad((p, 1.0, 1.0))(G3) for p in (1.0, 5.0)]
    assert slopes[1][0] > slopes[0][0]


# ── MGDA


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_normalisation_is_used_only_to_find_the_weights(normalization):
    losses = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    sizes = {"none": torch.ones(3), "l2": J3.norm(dim=1), "loss": losses}
    sizes["loss+"] = losses * sizes["l2"]
    size = sizes[normalization].double()
    expected = MGDA()(G3 / size[:, None] / size[None, :])
    weights = MGDA(normalization)(G3, losses)
    assert torch.allclose(weights, expected, atol=1e-12)
    assert float(weights.sum()) == pytest.approx(1.0)


def test_a_loss_that_is_not_positive_leaves_its_task_out():
    method = MGDA("loss")
    weights = method(G3, torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
    assert weights[1] == 0.0
    assert "loss-not-positive" in method.flags
    assert torch.isfinite(method(G3, torch.zeros(3, dtype=torch.float64))).all()


# ── PCGrad, GradVac, GradDrop


def test_pcgrad_visits_the_others_in_every_order():
    orders = {tuple(map(tuple, RandomSource(seed).orders(3))) for seed in range(200)}
    assert len(orders) == 2**3
    assert all(i not in row for order in orders for i, row in enumerate(order))
    outcomes = {tuple(np.round(PCGrad(seed)(G3).numpy(), 6)) for seed in range(200)}
    assert len(outcomes) > 2


def test_two_methods_do_not_share_their_randomness():
    alone, one, two = PCGrad(1), PCGrad(1), PCGrad(2)
    expected = [alone(G3) for _ in range(4)]
    mixed = []
    for _ in range(4):
        mixed.append(one(G3))
        two(G3)
    assert all(map(torch.equal, expected, mixed))


def test_gradvac_survives_opposite_gradients():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        row = torch.randn(1, 7, generator=generator)
        jacobian = torch.cat([row, -row * torch.rand(1, generator=generator)])
        method = GradVac()
        for _ in range(3):
            assert torch.isfinite(method(jacobian @ jacobian.T)).all()
        assert torch.isfinite(method.cosines).all()


def test_gradvac_keeps_the_cosines_of_absent_tasks():
    method = GradVac()
    method(G3)
    before = method.cosines.clone()
    method(G3, None, torch.tensor([True, True, False]))
    assert torch.equal(method.cosines[2], before[2])
    assert torch.equal(method.cosines[:, 2], before[:, 2])
    assert method.cosines[0, 1] != before[0, 1]


@pytest.mark.parametrize("method", [GradVac(), GradNorm(), EveryN(UPGrad(), 1)])
def test_another_number_of_tasks_needs_a_reset(method):
    method(G3, torch.ones(3, dtype=torch.float64))
    with pytest.raises(InvalidArgument, match="reset"):
        method(G2, torch.ones(2, dtype=torch.float64))
    method.reset()
    method(G2, torch.ones(2, dtype=torch.float64))


def test_graddrop_keeps_one_sign_per_coordinate():
    update = GradDrop(seed=0)(J3)
    for value, column in zip(update, J3.T, strict=True):
        sides = (column.clamp(min=0).sum(), column.clamp(max=0).sum())
        assert any(torch.isclose(value, side) for side in sides)


# ── Nash-MTL and FairGrad


@pytest.mark.parametrize("tasks", [1, 2, 3, 10])
@pytest.mark.parametrize("max_norm", [None, 1.0, 1.5, 100.0])
def test_the_length_of_the_nash_update(tasks, max_norm):
    rows = torch.randn(tasks, 20, generator=torch.Generator().manual_seed(tasks)).double()
    direction = NashMTL(max_norm)(rows @ rows.T) @ rows
    expected = tasks**0.5 if max_norm is None else min(tasks**0.5, max_norm)
    assert float(direction.norm()) == pytest.approx(expected, rel=1e-9)


def test_fairgrad_runs_from_the_sum_to_the_least_norm():
    assert torch.equal(FairGrad(0.0)(G3), torch.ones(3, dtype=torch.float64))
    near_max_min = FairGrad(200.0)(G3)
    assert torch.allclose(near_max_min / near_max_min.sum(), MGDA()(G3), atol=5e-3)


# ── Krum


def cluster_and_strays(strays=2, tasks=9, size=30.0):
    generator = torch.Generator().manual_seed(5)
    rows = 1.0 + 0.1 * torch.randn(tasks, 12, generator=generator, dtype=torch.float64)
    rows[:strays] = size * torch.randn(strays, 12, generator=generator, dtype=torch.float64)
    return rows


@pytest.mark.parametrize("selected", [1, 4, 7])
@pytest.mark.parametrize("size", [0.3, 3.0, 300.0])
def test_strays_have_no_say_whatever_they_say(selected, size):
    rows = cluster_and_strays(size=size)
    weights = Krum(outliers=2, selected=selected)(rows @ rows.T)
    assert not weights[:2].any()
    assert sorted(weights[2:].tolist())[-selected:] == pytest.approx([1 / selected] * selected)
    assert int((weights > 0).sum()) == selected


def test_krum_is_the_definition_on_the_gradients_themselves():
    """From differences of the rows instead of the Gramian, no ties."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        tasks = 5 + seed % 6
        rows = torch.randn(tasks, 9, generator=generator, dtype=torch.float64)
        outliers, selected, power = seed % (tasks - 3), 1 + seed % 3, 1 + seed % 2
        squared = power == 2
        distances = torch.linalg.vector_norm(rows[:, None] - rows, dim=2) ** power
        neighbours = tasks - outliers - 2
        scores = [sorted(row.tolist())[1 : neighbours + 1] for row in distances]
        order = sorted(range(tasks), key=lambda task, s=scores: sum(s[task]))
        wanted = torch.zeros(tasks, dtype=torch.float64)
        wanted[order[:selected]] = 1.0 / selected
        if neighbours > 1:
            found = Krum(outliers, selected, squared)(rows @ rows.T)
            assert torch.allclose(found, wanted), (seed, found, wanted)


def test_ties_are_shared_in_any_order():
    """Four corners of a square and a point inside; a star, whose points all tie."""
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0.5, 0]], dtype=torch.float64)
    square = square + torch.tensor([3.0, 0.0])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        rows = square[order]
        two = Krum(selected=2)(rows @ rows.T)
        wanted = torch.tensor([0.25, 0.25, 0.0, 0.0, 0.5], dtype=torch.float64)[order]
        assert torch.allclose(two, wanted, atol=0)
    angles = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
    star = torch.stack([angles.cos(), angles.sin(), torch.ones(5).double()], dim=1)
    assert torch.equal(Krum()(star @ star.T), torch.full((5,), 0.2, dtype=torch.float64))


def test_the_nearest_two_of_three_tie_and_the_third_is_left_out():
    weights = Krum()(G3)
    assert weights.tolist() == [0.5, 0.5, 0.0]
    assert Krum(selected=2)(G3).tolist() == [0.5, 0.5, 0.0]


def test_differences_below_rounding_are_ties():
    """What is left of the distances is noise; a choice by it would be no choice."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    for size, tied in ((1e-3, False), (1e-9, True)):
        rows = 1.0 + size * noise
        weights = Krum()(rows @ rows.T)
        assert bool((weights == 1.0 / 6.0).all()) == tied
        assert int((weights > 0).sum()) == (6 if tied else 1)
    single = Krum()(((1.0 + 1e-5 * noise) @ (1.0 + 1e-5 * noise).T).float())
    assert (single > 0).all()


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("scale", [2.0**-510, 1e-150, 1e-15, 1e15, 1e150, 2.0**505])
def test_squared_distances_neither_underflow_nor_overflow(scale, squared):
    """Gramians at both ends of the range of a double; rounding errors below it, sums above."""
    angles = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
    star = scale * torch.stack([angles.cos(), angles.sin(), torch.ones(5).double()], dim=1)
    assert Krum(squared=squared)(star @ star.T).tolist() == [0.2] * 5
    rows = cluster_and_strays()
    method = Krum(2, 3, squared)
    wanted = method(rows @ rows.T)
    gramian = (scale * rows) @ (scale * rows).T
    assert torch.equal(method(gramian), wanted)
    assert not method.flags
    if scale > 1e200:
        assert gramian.isfinite().all()
        assert (2.0 * gramian).isinf().any()


def test_too_few_present_tasks_are_judged_by_their_nearest_neighbour():
    rows = cluster_and_strays(1, 6)
    method, present = Krum(outliers=2), torch.tensor([True, True, False, True, True, False])
    weights = method(rows @ rows.T, None, present)
    assert "too-few-tasks" in method.flags
    assert weights[0] == 0.0
    assert weights.sum() == 1.0
    assert not method(rows @ rows.T, None, torch.ones(6, dtype=torch.bool))[0]
    assert not method.flags
    pair = method(rows @ rows.T, None, torch.tensor([True, True] + 4 * [False]))
    assert pair.tolist() == [0.5, 0.5, 0, 0, 0, 0]


def test_the_shortest_of_unlike_gradients_is_chosen_unless_lengths_are_made_equal():
    sizes = torch.tensor([3.0, 1, 2, 5, 4], dtype=torch.float64)
    assert Krum()(torch.diag(sizes**2)).tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    rows = torch.cat([torch.eye(5), torch.full((5, 1), 0.65)], dim=1).double()  # cosines of 0.3
    rows[1] = torch.tensor([0.0, 0.1, 0, 0, 0, 0])
    assert Krum()(rows @ rows.T).tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    weights = EqualizeNorms(Krum(1))(rows @ rows.T)
    assert weights[1] == 0.0
    assert (weights[[0, 2, 3, 4]] > 0).all()


def test_krum_may_conflict():
    gramian = torch.tensor([[1.0, 0.9, -0.9], [0.9, 1.0, -0.9], [-0.9, -0.9, 1.0]])
    method = Krum()
    assert (gramian @ method(gramian))[2] < -0.8
    assert "non-conflicting" not in method.guarantees


# ── GradNorm


def test_gradnorm_raises_the_weight_of_the_slow_task():
    method = GradNorm(alpha=1.5, learning_rate=0.05)
    equal = torch.eye(2, dtype=torch.float64)
    for step in range(30):
        method(equal, torch.tensor([1.0, 0.9**step], dtype=torch.float64))
    assert method.task_weights[0] > 1.2 * method.task_weights[1]
    assert float(method.task_weights.sum()) == pytest.approx(2.0)


def test_gradnorm_weights_never_turn_negative():
    method = GradNorm(learning_rate=100.0)
    for _ in range(20):
        weights = method(G3, torch.ones(3, dtype=torch.float64))
        assert (weights > 0).all()


def test_gradnorm_reads_the_diagonal_only():
    losses = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    full, norms = GradNorm(), GradNorm()
    for _ in range(3):
        full(G3, losses)
        norms(torch.diag(torch.diagonal(G3)), losses)
    assert torch.equal(full.task_weights, norms.task_weights)


# ── wrappers


def test_weights_are_reused_for_n_updates():
    method = EveryN(PCGrad(), 3)
    outputs = [method(G3 * (1 + step)) for step in range(7)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[3], outputs[5])
    reference = PCGrad()
    expected = [reference(G3), reference(G3 * 4), reference(G3 * 7)]
    assert all(map(torch.equal, outputs[::3], expected))


def test_reused_weights_need_no_gramian():
    method, present = EveryN(UPGrad(), 3), torch.ones(3, dtype=torch.bool)
    assert method.ready_weights(present) is None
    weights = method(G3)
    assert torch.equal(method.ready_weights(present), weights)
    assert "reused" in method.flags
    assert torch.equal(method.ready_weights(present), weights)
    assert method.ready_weights(present) is None


def test_a_task_that_was_absent_makes_weights_anew():
    method = EveryN(UPGrad(), 100)
    method(G3, None, torch.tensor([True, True, False]))
    assert method.ready_weights(torch.tensor([True, True, True])) is None
    assert torch.equal(method(G3), UPGrad()(G3))


def test_reused_weights_of_fewer_tasks_still_sum_to_one():
    method, present = EveryN(MGDA(), 100), torch.tensor([True, False, True])
    whole = method(G3)
    kept = method.ready_weights(present)
    assert torch.allclose(kept, whole * present / (whole * present).sum(), rtol=1e-12)
    assert torch.equal(method(G3, None, present), kept)
    assert torch.equal(method.ready_weights(torch.ones(3, dtype=torch.bool)), whole)


@pytest.mark.parametrize("make", [UPGrad, CAGrad, AlignedMTL, PCGrad, NashMTL])
def test_reused_weights_of_fewer_tasks_move_as_far(make):
    """At G = I, reused weights are those that the method would give the present tasks."""
    method, present = EveryN(make(), 100), torch.tensor([True, False, True])
    identity = torch.eye(3, dtype=torch.float64)
    method(identity)
    torch.testing.assert_close(
        method.ready_weights(present), make()(identity, None, present), rtol=1e-9, atol=0.0
    )


def test_a_task_that_had_no_weight_is_not_left_alone_with_it():
    method, alone = EveryN(MGDA(), 100), torch.tensor([False, True])
    assert method(torch.tensor([[1.0, 2.0], [2.0, 9.0]])).tolist() == [1.0, 0.0]
    assert method.ready_weights(alone) is None
    assert method(torch.eye(2), None, alone).tolist() == [0.0, 1.0]


def test_an_average_over_changing_tasks_sums_to_one():
    method = MovingAverageWeights(MGDA(), 0.5)
    for present in ([True, True, True], [True, False, True], [True, True, True]):
        weights = method(G3, None, torch.tensor(present))
        assert weights.sum().item() == pytest.approx(1.0, rel=1e-12)
    assert method.average.sum().item() != pytest.approx(1.0, rel=1e-3)


def test_zero_weights_are_not_reused():
    method, present = EveryN(NashMTL(), 3), torch.ones(2, dtype=torch.bool)
    stationary = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert not method(stationary).any()
    assert "stationary" in method.flags
    assert method.ready_weights(present) is None
    assert torch.equal(method(G2), NashMTL()(G2))


def test_compositions_do_what_their_parts_do():
    inner = ClipTaskGradients(UPGrad((3.0, 2.0, 1.0)), 2.0)
    outer = EveryN(ClipTaskGradients(UPGrad((3.0, 2.0, 1.0)), 2.0), 2)
    first = inner(G3)
    assert torch.equal(outer(G3), first)
    assert torch.equal(outer(2.0 * G3), first)  # reused
    assert torch.equal(outer(2.0 * G3), inner(2.0 * G3))
    clipped = J3 * (2.0 / J3.norm(dim=1)).clamp(max=1.0)[:, None]
    wanted = UPGrad((3.0, 2.0, 1.0))(clipped @ clipped.T) @ clipped
    assert torch.allclose(first @ J3, wanted, rtol=1e-12)


def test_an_average_of_ready_weights_needs_no_gradients():
    method = MovingAverageWeights(EveryN(MGDA(), 3), 0.5)
    present = torch.ones(2, dtype=torch.bool)
    assert method.ready_weights(present) is None
    first = method(G2)
    assert torch.equal(method.ready_weights(present), first)
    assert "reused" in method.flags
    assert MovingAverageWeights(Mean()).ready_weights(present).tolist() == [0.5, 0.5]


SCALES = {
    "Mean": 0.25, "Sum": 1.0, "UPGrad": 0.25, "DualProj": 0.25, "MGDA": 0.25, "CAGrad": 0.35,
    "PCGrad": 1.0, "GradVac": 1.0, "IMTLG": 0.25, "NashMTL": 1.0, "FairGrad": 1.0,
    "AlignedMTL": 0.25, "ConFIG": 1.0, "GradNorm": 1.0, "GradDrop": 1.0, "MoCo": 0.025,
    "DBMTL": 0.1, "IMTL": 0.25, "Krum": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("method", [m for m in ALL if m.__name__ in SCALES])
def test_orthonormal_gradients_and_unit_losses_tell_the_scale(method):
    """CAGrad: (1 + c)/K; MoCo and DB-MTL: the share of the newest gradient in their averages."""
    instance, four = method(), torch.eye(4, dtype=torch.float64)
    output = instance(four, torch.ones(4, dtype=torch.float64))
    wanted = torch.full((4,), SCALES[method.__name__], dtype=torch.float64)
    assert torch.allclose(output, wanted, rtol=1e-7)
    kind = {0.25: "mean", 0.35: "mean", 1.0: "sum", 0.025: "mean", 0.1: "sum"}
    assert instance.scale in {kind[SCALES[method.__name__]], "fixed-norm"}


def test_no_method_is_left_out():
    wrappers = {"EveryN", "MovingAverageWeights", "ClipTaskGradients", "EqualizeNorms"}
    assert {method.__name__ for method in ALL} == set(SCALES) | wrappers


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.__name__)
def test_every_class_states_its_facts_itself(method):
    baseline = method in {Mean, Sum}
    wrapper = method.__name__ not in SCALES
    arguments = {EveryN: (UPGrad(), 2), ClipTaskGradients: (UPGrad(), 2.0)}
    instance = method(*arguments.get(method, (UPGrad(),) if wrapper else ()))
    assert bool(instance.paper) is not baseline
    assert instance.guarantees or wrapper
    if not wrapper:
        assert "scale" in vars(method)
    if isinstance(instance, GramianAggregator):
        assert instance.needs in {"none", "norms", "gramian"}
        assert (instance.needs == "none") == (instance.cost == "one-backward")
    else:
        assert instance.cost == "task-gradients-kept"


def test_equal_and_sum_weights_are_ready_without_gradients():
    present = torch.tensor([True, False, True])
    assert Mean().ready_weights(present).tolist() == [0.5, 0.0, 0.5]
    assert Sum().ready_weights(present).tolist() == [1.0, 0.0, 1.0]


def test_averaged_weights_start_at_the_first_and_skip_absent_tasks():
    method = MovingAverageWeights(UPGrad(), 0.9)
    first = method(G3)
    assert torch.equal(first, UPGrad()(G3))
    method(G3, None, torch.tensor([True, False, True]))
    assert method.average[1] == first[1]
    moved = MovingAverageWeights(MGDA(), 0.5)
    moved(G2)
    assert torch.allclose(moved(torch.eye(2).double()), torch.tensor([0.55, 0.45]).double())


def test_clipping_shortens_only_long_gradients():
    weights = ClipTaskGradients(Sum(), 3.0)(G3)
    lengths = (weights[:, None] * J3).norm(dim=1)
    assert torch.allclose(lengths, J3.norm(dim=1).clamp(max=3.0))
    wide = ClipTaskGradients(UPGrad(), 1e9)
    assert torch.equal(wide(G3), UPGrad()(G3))


def test_equalised_gradients_have_one_length():
    for target in ("mean", "minimum", "one"):
        weights = EqualizeNorms(Sum(), target)(G3)
        lengths = (weights[:, None] * J3).norm(dim=1)
        norms = J3.norm(dim=1)
        wanted = {"mean": norms.mean(), "minimum": norms.min(), "one": torch.ones(())}[target]
        assert torch.allclose(lengths, wanted.double().expand(3))


def test_wrappers_pass_the_facts_on():
    assert EveryN(GradNorm(), 2).needs_losses
    assert ClipTaskGradients(Mean(), 1.0).needs == "norms"
    assert "non-conflicting" in ClipTaskGradients(UPGrad(), 1.0).guarantees
    assert "non-conflicting" not in EveryN(UPGrad(), 2).guarantees
    assert EveryN(UPGrad(), 1).guarantees == UPGrad().guarantees


# ── Jacobian methods


def test_moco_keeps_absent_tasks_as_they_are():
    method = MoCo()
    method(J3)
    tracked, shares = method.tracked.clone(), method.shares.clone()
    method(J3, None, torch.tensor([True, False, True]))
    assert torch.equal(method.tracked[1], tracked[1])
    assert method.shares[1] == shares[1]
    assert float(method.shares.sum()) == pytest.approx(1.0)
    assert method.weights[1] == 0.0


def test_moco_normalisation_divides_in_weights_and_update():
    method = MoCo(beta=1.0, gamma=1e-9, rho=0.0, normalization="l2")
    update = method(J3)
    expected = (J3 / J3.norm(dim=1, keepdim=True)).mean(0)
    assert torch.allclose(update, expected, atol=1e-8)


def test_dbmtl_contributions_have_one_length():
    method = DBMTL(beta=0.0)
    losses = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    update = method(J3, losses)
    rows = J3 / (losses + 1e-8)[:, None]
    longest = rows.norm(dim=1).max()
    assert torch.allclose(update, (rows / rows.norm(dim=1, keepdim=True) * longest).sum(0))


def test_dbmtl_leaves_out_a_loss_without_logarithm():
    method = DBMTL()
    update = method(J3, torch.tensor([1.0, -4.0, 9.0], dtype=torch.float64))
    assert "loss-not-positive" in method.flags
    assert torch.isfinite(update).all()
    assert not method.averages[1].any()


def test_another_number_of_parameters_is_refused():
    for method in (MoCo(), DBMTL()):
        method(J3, torch.ones(3, dtype=torch.float64))
        with pytest.raises(InvalidArgument, match=r"hold the 4 parameters .* got 2. Name them"):
            method(J3[:, :2], torch.ones(3, dtype=torch.float64))


# ── arguments and the base class


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: MGDA("l1"), UnknownName, "l2"),
        (lambda: CAGrad(1.0), InvalidArgument, "`c`"),
        (lambda: CAGrad(rescale="squares"), UnknownName, "square"),
        (lambda: GradVac(beta=1.5), InvalidArgument, "beta"),
        (lambda: NashMTL(0.0), InvalidArgument, "max_norm"),
        (lambda: FairGrad(-1.0), InvalidArgument, "alpha"),
        (lambda: AlignedMTL(sigma="mean"), UnknownName, "sigma"),
        (lambda: Krum(outliers=-1), InvalidArgument, "`outliers`"),
        (lambda: Krum(outliers=0.5), InvalidArgument, "`outliers`"),
        (lambda: Krum(selected=0), InvalidArgument, "`selected`"),
        (lambda: Krum(selected=True), InvalidArgument, "`selected`"),
        (lambda: Krum(squared=2), InvalidArgument, "`squared`"),
        (lambda: Krum(outliers=1)(G3), InvalidArgument, "`outliers` must be at most 0 for 3 tasks"),
        (lambda: Krum(selected=4)(G3), InvalidArgument, "`selected` must be at most 3 for 3 tasks"),
        (lambda: GradNorm(learning_rate=0.0), InvalidArgument, "learning_rate"),
        (lambda: GradDrop(leak=(2.0,)), InvalidArgument, "leak"),
        (lambda: GradDrop(leak=(0.5,))(J3), InvalidArgument, "leak"),
        (lambda: MoCo(beta=0.0), InvalidArgument, "beta"),
        (lambda: MoCo(normalization="l1"), UnknownName, "l2"),
        (lambda: DBMTL(beta=1.0), InvalidArgument, "beta"),
        (lambda: EveryN(UPGrad(), 0), InvalidArgument, "`n`"),
        (lambda: MovingAverageWeights(UPGrad(), 1.0), InvalidArgument, "decay"),
        (lambda: ClipTaskGradients(UPGrad(), -1.0), InvalidArgument, "max_norm"),
        (lambda: EqualizeNorms(UPGrad(), "max"), UnknownName, "mean"),
    ],
)
def test_wrong_arguments_get_one_sentence(build, error, words):
    with pytest.raises(error, match=words) as caught:
        build()
    assert str(caught.value).count("\n") == 0


def test_a_state_of_another_method_is_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        GradVac().load_state_dict(UPGrad().state_dict())


def test_copies_are_independent():
    method = GradVac(seed=4)
    method(G3)
    twin = copy.deepcopy(method)
    assert torch.equal(method(G3), twin(G3))
    method(G3)
    assert not torch.equal(method.cosines, twin.cosines)


class Constant(GramianAggregator):
    """A third party's method needs one function."""

    def weigh(self, problem):
        return aggregation.Solution(np.full(problem.tasks.size, 0.3), 0.0, frozenset({"mine"}))


def test_a_method_of_ones_own_needs_one_function():
    method = Constant()
    assert method(G3.float(), None, torch.tensor([True, False, True])).tolist() == pytest.approx(
        [0.3, 0.0, 0.3]
    )
    assert method.flags == {"mine"}
