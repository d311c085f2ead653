"""Convex multi-task models end where scikit-learn, closed forms and optimality conditions say.

Beside every equality the subtly wrong variant is run, and must miss it.
"""

from functools import cache

import numpy as np
import pytest

from polytask.regularization.convex import (
    L21,
    ElasticNet,
    Family,
    GraphLaplacian,
    GroupLasso,
    MeanRegularised,
    NuclearNorm,
    Problem,
    Ridge,
    lambda_max,
    solve,
)

ROWS, FEATURES, TASKS = 120, 30, 5
TIGHT = {"tol": 1e-14, "max_iter": 100_000}


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(ROWS, FEATURES)) + 0.5
    inputs[:, 1] += 0.7 * inputs[:, 0]
    truth = random.normal(size=(FEATURES, TASKS))
    truth[8:] = 0
    return inputs, inputs @ truth + random.normal(size=(ROWS, TASKS)) + 3.0


def ours(penalty, **options):
    return solve(Problem.wide(*data(), **options), penalty, tolerance=1e-11)


def agrees(found, weights, biases, atol=1e-8):
    """Same coefficients, same intercepts, same support."""
    return (
        np.allclose(found.weights, weights, atol=atol, rtol=0)
        and np.allclose(found.biases, biases, atol=atol, rtol=0)
        and np.array_equal(found.weights == 0, weights == 0)
    )


def test_multi_task_lasso():
    from sklearn.linear_model import MultiTaskLasso

    peer = MultiTaskLasso(alpha=0.1, **TIGHT).fit(*data())
    found = ours(L21(0.1))
    assert agrees(found, peer.coef_.T, peer.intercept_)
    empty = (found.weights == 0).all(1)
    assert 0 < empty.sum() < FEATURES
    assert np.array_equal(empty, (peer.coef_ == 0).all(0))
    # The mean over rows and tasks is another scale; the lasso another penalty.
    assert not agrees(ours(L21(0.1 * TASKS)), peer.coef_.T, peer.intercept_, 1e-3)
    assert not agrees(ours(ElasticNet(0.1)), peer.coef_.T, peer.intercept_, 1e-3)


def test_lasso():
    from sklearn.linear_model import Lasso

    peer = Lasso(alpha=0.2, **TIGHT).fit(*data())
    found = ours(ElasticNet(0.2))
    assert agrees(found, peer.coef_.T, peer.intercept_)
    assert (found.weights == 0).any()
    assert not agrees(ours(L21(0.2)), peer.coef_.T, peer.intercept_, 1e-3)


def test_elastic_net():
    from sklearn.linear_model import ElasticNet as Peer

    peer = Peer(alpha=0.2, l1_ratio=0.3, **TIGHT).fit(*data())
    assert agrees(ours(ElasticNet(0.2, 0.3)), peer.coef_.T, peer.intercept_)
    assert not agrees(ours(ElasticNet(0.2, 0.7)), peer.coef_.T, peer.intercept_, 1e-3)


def test_multi_task_elastic_net():
    from sklearn.linear_model import MultiTaskElasticNet

    peer = MultiTaskElasticNet(alpha=0.2, l1_ratio=0.6, **TIGHT).fit(*data())
    assert agrees(ours(L21(0.2, 0.6)), peer.coef_.T, peer.intercept_)
    assert not agrees(ours(L21(0.2, 0.4)), peer.coef_.T, peer.intercept_, 1e-3)


def test_ridge():
    from sklearn.linear_model import Ridge as Peer

    peer = Peer(alpha=ROWS * 0.05).fit(*data())
    assert agrees(ours(Ridge(0.05)), peer.coef_.T, peer.intercept_)
    # Without the half it would be twice as strong.
    assert not agrees(ours(Ridge(0.1)), peer.coef_.T, peer.intercept_, 1e-3)
    penalised = Peer(alpha=ROWS * 0.05, fit_intercept=False)
    wide = np.hstack([data()[0], np.ones((ROWS, 1))])
    coefficients = penalised.fit(wide, data()[1]).coef_.T
    assert not np.allclose(ours(Ridge(0.05)).biases, coefficients[-1], atol=1e-3)


def test_weighted_rows():
    from sklearn.linear_model import MultiTaskLasso

    weights = np.random.default_rng(3).uniform(0.1, 3.0, ROWS)
    peer = MultiTaskLasso(alpha=0.1, **TIGHT)
    try:
        peer.fit(*data(), sample_weight=weights)
    except TypeError:
        pytest.skip("this scikit-learn has no weighted multi-task lasso")
    assert agrees(ours(L21(0.1), row_weights=weights), peer.coef_.T, peer.intercept_)
    assert not agrees(ours(L21(0.1)), peer.coef_.T, peer.intercept_, 1e-3)


def test_nuclear_norm_of_an_orthonormal_design():
    random = np.random.default_rng(1)
    raw = random.normal(size=(60, 8))
    inputs = np.linalg.qr(raw - raw.mean(0))[0] * np.sqrt(60)
    targets = inputs @ random.normal(size=(8, 5)) + random.normal(size=(60, 5))
    left, values, right = np.linalg.svd(inputs.T @ targets / 60, full_matrices=False)
    strength = float(values[1:3].mean())
    closed = (left * (values - strength).clip(0)) @ right
    problem = Problem.wide(inputs, targets)
    found = solve(problem, NuclearNorm(strength), tolerance=1e-12).weights
    assert np.allclose(found, closed, atol=1e-8)
    assert np.linalg.matrix_rank(found, tol=1e-9) == 2
    wrong = (left * np.where(values > strength, values, 0)) @ right  # hard threshold
    assert not np.allclose(found, wrong, atol=1e-3)


def _sylvester(laplacian: np.ndarray, ridge: float) -> np.ndarray:
    from scipy.linalg import solve_sylvester

    inputs, targets = data()
    inputs, targets = inputs - inputs.mean(0), targets - targets.mean(0)
    gram, moment = inputs.T @ inputs / ROWS, inputs.T @ targets / ROWS
    return solve_sylvester(gram, laplacian + ridge * np.eye(TASKS), moment)


def test_mean_regularised():
    centring = np.eye(TASKS) - 1 / TASKS
    peer = _sylvester(0.7 * centring @ centring, 0.7 * 0.2)
    assert np.allclose(ours(MeanRegularised(0.7, 0.2)).weights, peer, atol=1e-8)
    assert np.allclose(ours(GraphLaplacian(1.0, 0.7 * centring + 0.14 * np.eye(TASKS))).weights,
                       peer, atol=1e-8)  # fmt: skip
    assert not np.allclose(ours(Ridge(0.7)).weights, peer, atol=1e-3)


def test_graph():
    edges = np.diag(np.ones(TASKS - 1), 1)
    edges = edges + edges.T
    laplacian = np.diag(edges.sum(0)) - edges
    peer = _sylvester(0.5 * laplacian, 0.0)
    assert np.allclose(ours(GraphLaplacian(0.5, laplacian)).weights, peer, atol=1e-8)
    assert not np.allclose(ours(GraphLaplacian(0.25, laplacian)).weights, peer, atol=1e-3)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_logistic(ratio):
    from sklearn.linear_model import LogisticRegression

    inputs, targets = data()
    labels = (targets[:, 0] > np.median(targets[:, 0]) + 1).astype(float)
    strength = 0.05
    solver = "saga" if ratio else "lbfgs"
    peer = LogisticRegression(
        C=1 / (ROWS * strength), l1_ratio=ratio, solver=solver, tol=1e-12, max_iter=50_000
    ).fit(inputs, labels)
    penalty = ElasticNet(strength) if ratio else Ridge(strength)
    problem = Problem.wide(inputs, labels[:, None], kind="logistic")
    found = solve(problem, penalty, tolerance=1e-9)
    assert np.allclose(found.weights[:, 0], peer.coef_[0], atol=1e-5)
    assert np.allclose(found.biases, peer.intercept_, atol=1e-5)
    wrong = solve(problem, penalty.at(strength / 2), tolerance=1e-9)
    assert not np.allclose(wrong.weights[:, 0], peer.coef_[0], atol=1e-3)


def test_multinomial():
    from sklearn.linear_model import LogisticRegression

    inputs, targets = data()
    classes = targets[:, :3].argmax(1)
    peer = LogisticRegression(C=1 / (ROWS * 0.05), tol=1e-12, max_iter=10_000)
    peer.fit(inputs, classes)
    hot = np.eye(3)[classes]
    weights = np.full_like(hot, 1 / ROWS)
    problem = Problem(inputs, hot, weights, (Family("multinomial", (0, 1, 2)),))
    found = solve(problem, Ridge(0.05), tolerance=1e-9)
    assert np.allclose(found.weights, peer.coef_.T, atol=1e-5)
    separate = solve(Problem.wide(inputs, hot, kind="logistic"), Ridge(0.05), tolerance=1e-9)
    assert not np.allclose(separate.weights, peer.coef_.T, atol=1e-2)


def test_poisson():
    from sklearn.linear_model import PoissonRegressor

    inputs = data()[0][:, :6]
    counts = np.random.default_rng(5).poisson(np.exp(0.4 * inputs[:, 0] + 0.2)).astype(float)
    peer = PoissonRegressor(alpha=0.1, tol=1e-12, max_iter=10_000).fit(inputs, counts)
    problem = Problem.wide(inputs, counts[:, None], kind="poisson")
    found = solve(problem, Ridge(0.1), tolerance=1e-9)
    assert np.allclose(found.weights[:, 0], peer.coef_, atol=1e-5)
    assert np.allclose(found.biases, peer.intercept_, atol=1e-5)
    wrong = solve(problem, Ridge(0.2), tolerance=1e-9)
    assert not np.allclose(wrong.weights[:, 0], peer.coef_, atol=1e-3)


@pytest.mark.parametrize("kind", ["squared", "logistic", "poisson"])
@pytest.mark.parametrize(
    "penalty",
    [
        ElasticNet(0.0),
        ElasticNet(0.0, 0.5),
        L21(0.0),
        L21(0.0, 0.5),
        NuclearNorm(0.0),
        GroupLasso(0.0, tuple(i // 3 for i in range(FEATURES))),
    ],
    ids=lambda p: f"{p.name} {getattr(p, 'l1_ratio', 1)}",
)
def test_the_largest_strength_is_exact(penalty, kind):
    inputs, targets = data()
    if kind != "squared":
        targets = (targets > 3).astype(float)
    problem = Problem.wide(inputs, targets, kind=kind)
    largest = lambda_max(problem, penalty)
    assert not solve(problem, penalty.at(largest * (1 + 1e-9))).weights.any()
    assert solve(problem, penalty.at(largest * 0.99), tolerance=1e-5).weights.any()


def residual_l21(problem: Problem, found, strength: float) -> float:
    """The textbook condition, from rows: no Gram matrix, no proximal step."""
    errors = problem.weights * (problem.targets - found.predict(problem.inputs))
    negative = problem.inputs.T @ errors
    norms = np.linalg.norm(found.weights, axis=1)
    active = norms > 0
    pull = found.weights[active] / norms[active, None]
    inside = np.linalg.norm(negative[active] - strength * pull, axis=1)
    outside = np.linalg.norm(negative[~active], axis=1) - strength
    assert np.allclose(errors.sum(0), 0, atol=1e-9)  # intercepts are free
    return float(max(inside.max(initial=0), outside.max(initial=0)))


def test_optimality_conditions():
    problem = Problem.wide(*data())
    found = ours(L21(0.1))
    assert residual_l21(problem, found, 0.1) < 1e-6 * 0.1
    early = solve(problem, L21(0.1), tolerance=1e-2)
    assert residual_l21(problem, early, 0.1) > 1e-6 * 0.1
    assert residual_l21(problem, found, 0.11) > 1e-3


def separate() -> Problem:
    random = np.random.default_rng(7)
    truth = random.normal(size=(6, 3))
    truth[3:] = 0
    inputs = [random.normal(size=(rows, 6)).round(3) for rows in (12, 20, 15)]
    noise = [0.3 * random.normal(size=len(x)) for x in inputs]
    targets = [(x @ truth[:, t] + noise[t]).round(3) for t, x in enumerate(inputs)]
    return Problem.separate(inputs, targets, mean=True)


# Group lasso of celer 0.7.4 on the block-diagonal design, one group per feature across tasks;
# benchmarks/regularization/convex_peers.py prints these numbers.
FROZEN = [
    [-0.0366268276, 0.1002685363, -0.0055297044],
    [-0.7225747689, -0.5080861317, -0.8015191478],
    [-0.0371724565, 1.1103362408, -0.2874646887],
    [0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0],
]


def test_rows_of_their_own_for_every_task():
    problem = separate()
    found = solve(problem, L21(0.25), tolerance=1e-12)
    assert residual_l21(problem, found, 0.25) < 1e-9
    assert np.allclose(found.weights, FROZEN, atol=1e-6)
    assert (found.weights == 0).all(1).any()
    apart = solve(problem, ElasticNet(0.25), tolerance=1e-12)
    assert not np.allclose(apart.weights, FROZEN, atol=1e-3)


def test_gaps_are_deleted_rows():
    inputs, targets = (part.copy() for part in data())
    targets[::3, 0] = np.nan
    both = solve(Problem.wide(inputs, targets), ElasticNet(0.1), tolerance=1e-11)
    kept = np.isfinite(targets[:, 0])
    alone = solve(
        Problem.wide(inputs[kept], targets[kept][:, :1]), ElasticNet(0.1), tolerance=1e-11
    )
    assert np.allclose(both.weights[:, 0], alone.weights[:, 0], atol=1e-9)
    filled = solve(Problem.wide(inputs, np.nan_to_num(targets)), ElasticNet(0.1), tolerance=1e-11)
    assert not np.allclose(filled.weights[:, 0], alone.weights[:, 0], atol=1e-3)


def test_more_features_than_rows():
    random = np.random.default_rng(2)
    inputs = random.normal(size=(30, 200))
    targets = inputs[:, :3] @ random.normal(size=(3, 4))
    problem = Problem.wide(inputs, targets)
    strength = 0.3 * lambda_max(problem, L21(0.0))
    found = solve(problem, L21(strength), tolerance=1e-10)
    assert residual_l21(problem, found, strength) < 1e-8


def test_group_lasso_with_one_output_is_l21_of_the_same_sets():
    inputs, targets = data()
    groups = tuple(i // 2 for i in range(FEATURES))
    found = solve(Problem.wide(inputs, targets[:, :1]), GroupLasso(0.2, groups), tolerance=1e-11)
    negative = inputs.T @ (targets[:, 0] - found.predict(inputs)[:, 0]) / ROWS
    for group in set(groups):
        mine = np.array(groups) == group
        own, pull = found.weights[mine, 0], negative[mine]
        bound = 0.2 * np.sqrt(mine.sum())
        if own.any():
            assert np.allclose(pull, bound * own / np.linalg.norm(own), atol=1e-8)
        else:
            assert np.linalg.norm(pull) <= bound
