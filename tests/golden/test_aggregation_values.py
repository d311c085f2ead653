"""Reference values of the aggregation methods, to six decimals.

Computed by an independent NumPy replica in float64; sub-problems were cross-checked there with a
general-purpose optimiser.
"""

import copy

import numpy as np
import pytest
import torch

from polytask._linalg import pcgrad_weights
from polytask.aggregation import (
    DBMTL,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    Krum,
    Mean,
    MoCo,
    NashMTL,
    PCGrad,
    Sum,
    UPGrad,
)

J2 = torch.tensor([[-4.0, 1, 1], [6, 1, 1]], dtype=torch.float64)
J3 = torch.tensor([[1.0, 0, 2, -1], [-2, 1, 0, 1], [3, -1, -3, 0]], dtype=torch.float64)

WEIGHTS = [
    (UPGrad, J2, (1.111111, 0.789474)),
    (UPGrad, J3, (1.062434, 1.362963, 0.695238)),
    (lambda: UPGrad((0.5, 0.3, 0.2)), J3, (1.011746, 1.277778, 0.645714)),
    (lambda: UPGrad((5, 3, 2)), J3, (1.011746, 1.277778, 0.645714)),
    (DualProj, J2, (0.611111, 0.5)),
    (DualProj, J3, (0.481481, 0.629630, 0.333333)),
    (lambda: DualProj((0.5, 0.3, 0.2)), J3, (0.5, 0.6, 0.3)),
    (MGDA, J2, (0.6, 0.4)),
    (MGDA, J3, (0.341463, 0.439024, 0.219512)),
    (lambda: CAGrad(0.4), J2, (0.663299, 0.5)),
    (lambda: CAGrad(0.4), J3, (0.333333, 0.455049, 0.333333)),
    (lambda: CAGrad(0.5), J2, (0.704124, 0.5)),
    (lambda: CAGrad(0.5), J3, (0.341035, 0.489183, 0.333333)),
    (PCGrad, J2, (2.222222, 1.578947)),
    (IMTLG, J2, (0.592330, 0.407670)),
    (IMTLG, J3, (0.340276, 0.438568, 0.221157)),
    (NashMTL, J2, (0.591461, 0.407071)),
    (NashMTL, J3, (2.184122, 2.801439, 1.414187)),
    (lambda: FairGrad(1.0), J2, (0.591461, 0.407071)),
    (lambda: FairGrad(1.0), J3, (2.184122, 2.801439, 1.414187)),
    (lambda: FairGrad(0.5), J2, (0.742828, 0.525393)),
    (lambda: FairGrad(0.5), J3, (1.734901, 2.224627, 1.134428)),
    (lambda: FairGrad(2.0), J2, (0.471363, 0.319454)),
    (lambda: FairGrad(2.0), J3, (2.796709, 3.590503, 1.803593)),
    (AlignedMTL, J2, (0.559072, 0.408261)),
    (AlignedMTL, J3, (0.320830, 0.401442, 0.215548)),
    (lambda: AlignedMTL(sigma="median"), J2, (0.559072, 0.408261)),
    (lambda: AlignedMTL(sigma="median"), J3, (2.078913, 2.601269, 1.396706)),
    (lambda: AlignedMTL(sigma="rmse"), J2, (1.510866, 1.103306)),
    (lambda: AlignedMTL(sigma="rmse"), J3, (2.280552, 2.853573, 1.532176)),
    (ConFIG, J2, (1.226483, 0.844124)),
    (ConFIG, J3, (1.096965, 1.413834, 0.712956)),
    (lambda: ConFIG((1, 2, 3)), J3, (1.165027, 1.520783, 0.773985)),
]


# Updates by torchjd 0.18.0 on torch 2.13.0 in float64, where it has no ridge and no early stop;
# printed to twelve decimals by benchmarks/balancing/torchjd_agreement.py's environment.
K3 = torch.tensor(
    [[2.0, -1, 0.5, 1], [0.3, 1.5, -1, 0.2], [-0.7, 0.4, 1.8, 0.9]], dtype=torch.float64
)
K2 = torch.tensor([[2.0, -1, 0.5, 1], [-1.3, 1.5, -1, 0.2]], dtype=torch.float64)
SPREAD = torch.tensor([[0.0, 2], [3, 1], [4, 2], [5, 2], [1, 5]], dtype=torch.float64)
STRAY = torch.tensor(
    [[1.0, 1, 1], [1, 0, 1], [75, -666, 23], [1, 2, 3], [2, 0, 1]], dtype=torch.float64
)
TORCHJD = [
    (Mean, K3, (0.533333333333, 0.3, 0.433333333333, 0.7)),
    (DualProj, K3, (0.533333333333, 0.3, 0.433333333333, 0.7)),  # the mean does not conflict
    (IMTLG, K3, (0.421441512337, 0.522944544160, 0.250950815230, 0.620752000318)),
    (
        lambda: FairGrad(1.0),
        K3,
        (0.789395486699, 0.896620189764, 0.504665412905, 1.148146254580),
    ),
    (
        lambda: FairGrad(2.0),
        K3,
        (0.637480065554, 0.816479828663, 0.388461437486, 0.955565082615),
    ),
    (AlignedMTL, K3, (0.408886005621, 0.434098274462, 0.281312555315, 0.593884018212)),
    (
        lambda: AlignedMTL((0.5, 0.3, 0.2)),
        K3,
        (0.666953999968, 0.249907310797, 0.182791295523, 0.597507377976),
    ),
    (
        lambda: AlignedMTL(sigma="median"),
        K3,
        (0.605508218247, 0.642844384743, 0.416588148769, 0.879466767680),
    ),
    (
        lambda: AlignedMTL(sigma="rmse"),
        K3,
        (0.581418326724, 0.617269089432, 0.400014363292, 0.844477549709),
    ),
    (ConFIG, K3, (1.300214275915, 1.613367316517, 0.774223285942, 1.915118916833)),
    (
        lambda: ConFIG((1, 2, 3)),
        K3,
        (0.497737486819, 1.764436010410, 1.027404218660, 1.687151005179),
    ),
    (lambda: NashMTL(1.0), K3, (0.455757696735, 0.517663907617, 0.291368712348, 0.662882549236)),
    (lambda: Krum(squared=False), SPREAD, (4.0, 2.0)),
    (lambda: Krum(1, selected=4), STRAY, (1.25, 0.75, 1.5)),
    (PCGrad, K2, (0.959405622490, 1.121301204819, -1.031534136546, 2.080706827309)),
]


@pytest.mark.parametrize(("method", "jacobian", "expected"), TORCHJD)
def test_updates_of_torchjd(method, jacobian, expected):
    # 1e-8: its Nash-MTL and FairGrad are iterations that end with nine to twelve digits.
    assert (method()(jacobian @ jacobian.T) @ jacobian).tolist() == pytest.approx(
        expected, abs=1e-8
    )


def near(tensor, expected, tolerance=1e-6):
    assert np.asarray(tensor).ravel() == pytest.approx(np.asarray(expected).ravel(), abs=tolerance)


@pytest.mark.parametrize(("method", "jacobian", "expected"), WEIGHTS)
def test_weights(method, jacobian, expected):
    near(method()(jacobian @ jacobian.T), expected)


@pytest.mark.parametrize(
    ("jacobian", "step", "expected"),
    [
        (J2, 1, (2.222222, 1.578947)),
        (J2, -1, (2.222222, 1.578947)),
        (J3, 1, (2.000000, 2.916667, 1.789474)),
        (J3, -1, (2.767544, 2.850877, 1.526316)),
    ],
)
def test_pcgrad_in_a_given_order(jacobian, step, expected):
    tasks = len(jacobian)
    order = np.array([[j for j in range(tasks) if j != i][::step] for i in range(tasks)])
    near(pcgrad_weights((jacobian @ jacobian.T).numpy(), order), expected)


def surgery(gramian, order, itself=False):
    """Algorithm 1 with explicit loops; `itself`: as public copies that visit j = i, too."""
    total = np.zeros(len(gramian))
    for i, others in enumerate(order):
        c = np.eye(len(gramian))[i]
        for j in [*others, i] if itself else others:
            slope = gramian[j] @ c
            if slope < 0:
                c[j] -= slope / gramian[j, j]
        total += c
    return total


def test_pcgrad_visits_the_others_only():
    """Mutation: including the task itself changes some updates, though not many."""
    rng, changed = np.random.default_rng(0), 0
    for _ in range(1000):
        rows = rng.standard_normal((4, 5))
        order = np.array([rng.permutation([j for j in range(4) if j != i]) for i in range(4)])
        weights = pcgrad_weights(rows @ rows.T, order)
        np.testing.assert_allclose(weights, surgery(rows @ rows.T, order), rtol=1e-10)
        changed += not np.allclose(weights, surgery(rows @ rows.T, order, True), rtol=1e-4)
    assert 0 < changed < 100


def test_directions_on_two_tasks():
    near(ConFIG()(J2 @ J2.T) @ J2, (0.158809, 2.070607, 2.070607))
    near(NashMTL(max_norm=1.0)(J2 @ J2.T) @ J2, (0.054153, 0.706069, 0.706069))


def test_small_gradients_are_still_projected():
    """Averaging, to which a public package turns below a trace of 1e-4, conflicts here."""
    small = J2 * (0.009 / J2.norm())
    gramian = small @ small.T
    near(1e6 * gramian @ Mean()(gramian), (-2.9, 11.6), 0.05)
    near(1e6 * gramian @ UPGrad()(gramian), (3.8, 8.0), 0.05)


@pytest.mark.parametrize(("size", "weight", "ridged"), [(1e-2, 29.45, 20.14), (1e-3, 289.97, 6.48)])
def test_small_tasks_are_not_swamped(size, weight, ridged):
    """Mutation: a ridge of 1e-4 of the trace makes the small task's slope negative.

    The closed form: (1 + 22/18 · size) / 2 and (1 + 22/38 / size) / 2.
    """
    rows = J2 * torch.tensor([[1.0], [size]], dtype=torch.float64)
    gramian = rows @ rows.T
    weights = UPGrad()(gramian)
    near(weights, (0.5 + 11 / 18 * size, 0.5 + 11 / 38 / size), 1e-9)
    assert float(weights[1]) == pytest.approx(weight, rel=1e-3)
    assert bool((gramian @ weights >= 0).all())
    trace = float(gramian.trace())
    wrong = UPGrad()(gramian / trace + 1e-4 * torch.eye(2, dtype=torch.float64))
    assert float(wrong[1]) == pytest.approx(ridged, rel=1e-3)
    assert float((gramian @ wrong)[1]) < 0.0


def test_least_norm_on_three_tasks():
    weights = MGDA()(J3 @ J3.T)
    near(weights @ J3 @ J3.T @ weights, [0.073171])


@pytest.mark.parametrize("method", [lambda: CAGrad(0.4), PCGrad, AlignedMTL])
def test_methods_that_do_not_promise_it_conflict_on_three_tasks(method):
    gramian = J3 @ J3.T
    assert "non-conflicting" not in method().guarantees
    assert (gramian @ method()(gramian)).min() < -0.05


@pytest.mark.parametrize(
    ("method", "weight"),
    [
        (Mean, 0.25),
        (Sum, 1.0),
        (UPGrad, 0.25),
        (DualProj, 0.25),
        (MGDA, 0.25),
        (lambda: CAGrad(0.5), 0.375),
        (PCGrad, 1.0),
        (GradVac, 1.0),
        (IMTLG, 0.25),
        (NashMTL, 1.0),
        (lambda: FairGrad(0.5), 1.0),
        (lambda: FairGrad(2.0), 1.0),
        (AlignedMTL, 0.25),
        (ConFIG, 1.0),
        (Krum, 0.25),
        (lambda: Krum(1, 2), 0.25),
    ],
)
def test_orthonormal_gradients_tell_the_scale(method, weight):
    instance = method()
    near(instance(torch.eye(4, dtype=torch.float64)), [weight] * 4, 1e-12)
    assert instance.scale == {0.25: "mean", 0.375: "mean", 1.0: "sum"}[weight] or isinstance(
        instance, NashMTL
    )


def test_cagrad_at_a_stationary_point():
    jacobian = torch.tensor([[1.0, 0], [-2, 0], [0, 3]], dtype=torch.float64)
    method = CAGrad(0.4)
    direction = method(jacobian @ jacobian.T) @ jacobian
    near(direction, (0, 1))
    near(jacobian @ direction, (0, 0, 3))
    assert "stationary" in method.flags
    near(CAGrad(0.2)(jacobian @ jacobian.T) @ jacobian, (-0.122515, 1.0))


def test_gradvac_over_three_calls_and_after_reset():
    method = GradVac(beta=0.5)
    sequence = [
        ((2.222222, 1.578947), -0.420596),
        ((1.857988, 1.406415), -0.630893),
        ((1.583356, 1.276327), -0.736042),
    ]
    for _ in range(2):
        for weights, cosine in sequence:
            near(method(J2 @ J2.T), weights)
            near(method.cosines[0, 1], [cosine])
        method.reset()


def test_gradvac_with_a_target_of_one_half():
    method = GradVac()
    method.cosines = torch.full((2, 2), 0.5, dtype=torch.float64)
    near(method(J2 @ J2.T), (2.675831, 1.793815))


def test_graddrop_keeps_the_sum_on_average():
    method = GradDrop(seed=3)
    many = J2.repeat(1, 20000)
    update = method(many).reshape(-1, 3)
    # P = (0.6, 1, 1): one side with probability 0.6 gives 6, the other -4; standard error 0.035.
    assert set(update[:, 0].tolist()) == {6.0, -4.0}
    near(update.mean(0), (2, 2, 2), 0.15)


def test_graddrop_with_full_leak_is_the_sum():
    near(GradDrop(leak=(1.0, 1.0))(J2), J2.sum(0))
    near(GradDrop(leak=(1.0, 0.0), seed=1)(J2)[1:], (2, 2))


def test_dbmtl_without_averaging():
    method = DBMTL(beta=0.0)
    update = method(J2, torch.tensor([2.0, 5.0], dtype=torch.float64))
    near(update, (0.064742, 0.844124, 0.844124))
    near(method.weights, (1, 1.720618))


def test_moco_first_step_projects_and_is_no_softmax():
    method = MoCo(beta=0.5, gamma=0.1, rho=0.0)
    for _ in range(2):
        near(method(J2), (-0.125, 0.5, 0.5))
        near(method.weights, (0.625, 0.375))
        method.reset()
    tracked = 0.5 * J2
    slopes = tracked @ tracked.T @ torch.full((2,), 0.5, dtype=torch.float64)
    near(torch.softmax(0.5 - 0.1 * slopes, 0), (0.562177, 0.437823))  # the public variant


def test_krum_sums_squared_distances():
    """Scores 36, 17, 19, 31, 48. Mutation: sums of the distances select another gradient."""
    differences = SPREAD[:, None] - SPREAD
    scores = (differences**2).sum(2).sort(dim=1).values[:, 1:4].sum(1)
    near(scores, (36, 17, 19, 31, 48))
    near(Krum()(SPREAD @ SPREAD.T), (0, 1, 0, 0, 0))
    near(Krum(squared=False)(SPREAD @ SPREAD.T), (0, 0, 1, 0, 0))
    with pytest.raises(AssertionError):
        near(Krum(squared=False)(SPREAD @ SPREAD.T), (0, 1, 0, 0, 0))


@pytest.mark.parametrize("squared", [True, False])
def test_multi_krum_leaves_the_stray_gradient_out(squared):
    near(Krum(1, selected=4, squared=squared)(STRAY @ STRAY.T), (0.25, 0.25, 0, 0.25, 0.25))


def test_gradnorm_first_step():
    method = GradNorm(alpha=1.5, learning_rate=0.1)
    norms = torch.diag(torch.tensor([2.0, 6, 1], dtype=torch.float64) ** 2)
    first = torch.tensor([2.0, 4, 18], dtype=torch.float64)
    start = copy.deepcopy(method)
    start(norms, first)  # stores L(0)
    start.task_weights = torch.ones(3, dtype=torch.float64)
    near(start(norms, torch.tensor([1.0, 4, 9], dtype=torch.float64)), (1, 1, 1))
    near(start.task_weights, (1.043478, 0.521739, 1.434783))


def test_gradnorm_steps_along_the_derivative_of_its_objective():
    norms = torch.tensor([2.0, 6, 1], dtype=torch.float64)
    first = torch.tensor([2.0, 4, 18], dtype=torch.float64)
    now = torch.tensor([1.0, 4, 9], dtype=torch.float64)
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    lengths = weights * norms
    ratio = now / first
    targets = (lengths.mean() * (ratio / ratio.mean()) ** 1.5).detach()
    near(ratio / ratio.mean(), (0.75, 1.5, 0.75))
    near(targets, (1.948557, 5.511352, 1.948557))
    objective = (lengths - targets).abs().sum()
    objective.backward()
    near(objective.detach(), [1.488648])
    near(weights.grad, (2, 6, -1))


def test_distinct_methods_give_distinct_updates():
    methods = {
        "mean": Mean(), "sum": Sum(), "upgrad": UPGrad(), "dualproj": DualProj(), "mgda": MGDA(),
        "cagrad": CAGrad(), "pcgrad": PCGrad(), "gradvac": GradVac(), "imtl": IMTLG(),
        "nash": NashMTL(), "fair": FairGrad(2.0), "aligned": AlignedMTL(), "config": ConFIG(),
        "gradnorm": GradNorm(), "graddrop": GradDrop(), "moco": MoCo(), "dbmtl": DBMTL(),
        "krum": Krum(),
    }  # fmt: skip
    losses = torch.tensor([1.0, 4, 9], dtype=torch.float64)
    updates = {}
    for name, method in methods.items():
        for _ in range(3):
            output = method(J3 if hasattr(method, "combine") else J3 @ J3.T, losses)
        updates[name] = output if hasattr(method, "combine") else output @ J3
    names = list(updates)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            assert not torch.allclose(updates[one], updates[two], rtol=1e-6), (one, two)
