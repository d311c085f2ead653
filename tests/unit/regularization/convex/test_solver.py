"""The solver says what it did."""

import numpy as np
import pytest

from polytask.errors import InvalidArgument, PolytaskWarning, Unsupported
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
    path,
    solve,
    strengths,
)
from polytask.regularization.convex.data_term import DataTerm


def problem(rows: int = 50, features: int = 8, tasks: int = 3) -> Problem:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(rows, features)) + 1
    truth = random.normal(size=(features, tasks)) * (np.arange(features) < 4)[:, None]
    return Problem.wide(inputs, inputs @ truth + random.normal(size=(rows, tasks)))


def test_an_unfinished_solution_is_never_silent():
    with pytest.warns(PolytaskWarning, match="stopped after 3 steps"):
        found = solve(problem(), L21(0.01), max_iterations=3)
    assert not found.converged
    assert found.residual > 1e-8


def test_an_unfinished_path_is_never_silent():
    with pytest.warns(PolytaskWarning, match="solutions of the path"):
        found = path(problem(), L21(0.0), count=4, tolerance=1e-10, max_iterations=2)
    assert any(not solution.converged for solution in found.solutions)


def test_the_objective_is_that_of_the_weights():
    own = problem()
    found = solve(own, L21(0.1, 0.5))
    errors = own.targets - found.predict(own.inputs)
    data = 0.5 * float((own.weights * errors**2).sum())
    assert found.data_term == pytest.approx(data, rel=1e-12)
    norms = np.linalg.norm(found.weights, axis=1).sum()
    penalty = 0.1 * (0.5 * norms + 0.25 * (found.weights**2).sum())
    assert found.objective == pytest.approx(data + penalty, rel=1e-12)


@pytest.mark.parametrize("kind", ["squared", "logistic", "poisson", "multinomial"])
def test_gradients(kind):
    random = np.random.default_rng(1)
    inputs, labels = random.normal(size=(20, 4)), random.integers(0, 2, size=(20, 3)) * 1.0
    if kind == "multinomial":
        labels = np.eye(3)[random.integers(0, 3, 20)]
    own = Problem(inputs, labels, np.full((20, 3), 0.05), (Family(kind, (0, 1, 2)),))
    data = DataTerm(own)
    point = random.normal(size=(5, 3)) * 0.3
    _, gradient = data.evaluate(point)
    for _ in range(5):
        direction = random.normal(size=point.shape)
        if kind == "squared":
            direction[-1] = 0.0  # intercepts are eliminated
        high = data.evaluate(point + 1e-6 * direction)[0]
        low = data.evaluate(point - 1e-6 * direction)[0]
        assert (high - low) / 2e-6 == pytest.approx((gradient * direction).sum(), abs=1e-7)


@pytest.mark.parametrize(
    "penalty",
    [
        Ridge(0.3),
        ElasticNet(0.3, 0.4),
        L21(0.3, 0.4),
        NuclearNorm(0.3),
        GroupLasso(0.3, (0, 0, 1, 1, 1)),
        MeanRegularised(0.3, 0.1),
        MeanRegularised(0.3, 0.1, (0, 0, 1, 1)),
        GraphLaplacian(0.3, np.eye(4) - 0.25),
    ],
    ids=lambda p: p.name,
)
def test_no_other_point_beats_the_proximal_one(penalty):
    random = np.random.default_rng(2)
    start = random.normal(size=(5, 4))
    step = 0.7

    def total(weights):
        return 0.5 * ((weights - start) ** 2).sum() / step + penalty.value(weights)

    best = penalty.prox(start.copy(), step)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(50):
            assert total(best) <= total(best + size * random.normal(size=best.shape)) + 1e-12
    half = penalty.prox(start.copy(), step / 2)  # the mutant
    assert total(half) > total(best) + 1e-6


def test_rows_and_grams_agree(monkeypatch):
    own = problem()
    first = solve(own, L21(0.1), tolerance=1e-11)
    monkeypatch.setattr("polytask.regularization.convex.data_term.MAX_GRAM", 0)
    assert not DataTerm(own).only_numbers
    assert np.allclose(solve(own, L21(0.1), tolerance=1e-11).weights, first.weights, atol=1e-9)


@pytest.mark.parametrize("penalty", [Ridge(0.2), MeanRegularised(0.2, 0.1, (0, 0, 1))])
def test_closed_forms_are_what_iterations_reach(penalty, monkeypatch):
    own = problem()
    closed = solve(own, penalty)
    assert closed.iterations == 0
    monkeypatch.setattr("polytask.regularization.convex.data_term.MAX_GRAM", 0)
    stepped = solve(own, penalty, tolerance=1e-11)
    assert stepped.iterations > 0
    assert np.allclose(closed.weights, stepped.weights, atol=1e-8)
    assert np.allclose(closed.biases, stepped.biases, atol=1e-8)


def test_one_model_under_an_endless_pull_to_the_mean():
    own = problem()
    found = solve(own, MeanRegularised(1e9))
    assert np.allclose(found.weights, found.weights.mean(1, keepdims=True), atol=1e-6)


def test_path_starts_at_zero_and_reports_progress():
    seen = []
    found = path(problem(), L21(0.0), count=5, progress=lambda i, n: seen.append((i, n)))
    assert not found.solutions[0].weights.any()
    assert seen == [(i, 5) for i in range(1, 6)]
    assert found.strengths[0] == pytest.approx(1e3 * found.strengths[-1])
    used = [int((s.weights != 0).any(1).sum()) for s in found.solutions]
    assert used == sorted(used)


def test_warm_and_cold_starts_agree():
    own = problem()
    found = path(own, L21(0.0), count=4, tolerance=1e-11)
    cold = solve(own, L21(found.strengths[-1]), tolerance=1e-11)
    assert np.allclose(found.solutions[-1].weights, cold.weights, atol=1e-9)


def test_ridge_has_no_largest_strength():
    with pytest.raises(Unsupported, match="never gives exact zeros"):
        lambda_max(problem(), Ridge(0.0))
    assert len(strengths(problem(), Ridge(0.0), count=3)) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: L21(-1.0),
        lambda: ElasticNet(1.0, 0.0),
        lambda: GroupLasso(1.0, (0, 2)),
        lambda: GraphLaplacian(1.0, -np.eye(2)),
        lambda: Problem.wide(np.ones((3, 1)), np.full((3, 1), np.nan)),
        lambda: Problem.wide(np.full((3, 1), np.inf), np.ones((3, 1))),
        lambda: Problem(np.ones((3, 1)), np.ones((3, 2)), np.ones((3, 2)), ()),
        lambda: solve(problem(), GroupLasso(1.0, (0, 0))),
    ],
)
def test_refused(make):
    with pytest.raises(InvalidArgument):
        make()
