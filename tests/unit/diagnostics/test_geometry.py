"""Sums over updates against NumPy on the task gradients themselves."""

import math

import numpy as np
import pytest
import torch

from polytask._files.state import flatten_state, unflatten_state
from polytask.diagnostics import GeometrySums, TaskGeometry
from polytask.diagnostics.geometry import CANCELLED
from polytask.errors import InvalidArgument


def update(generator, tasks=4, parameters=9):
    """Task gradients, weights, and who is present (two at least)."""
    jacobian = generator.normal(size=(tasks, parameters)) * generator.uniform(0.1, 10, (tasks, 1))
    present = np.ones(tasks, dtype=bool)
    present[generator.integers(tasks)] = generator.random() < 0.5
    weights = np.where(present, generator.uniform(0.1, 1.0, tasks), 0.0)
    return jacobian, weights, present


def added(sums, jacobian, weights, present, flags=frozenset()):
    sums.add(
        torch.from_numpy(jacobian @ jacobian.T),
        torch.from_numpy(weights),
        torch.from_numpy(present),
        flags,
    )


def by_hand(updates):
    """The same from the gradients, pair by pair, without a Gramian."""
    tasks = len(updates[0][0])
    norms = [
        math.sqrt(np.mean([float(j[k] @ j[k]) for j, _, p in updates if p[k]]))
        for k in range(tasks)
    ]
    cosines, conflicts = np.empty((tasks, tasks)), np.empty((tasks, tasks))
    for a in range(tasks):
        for b in range(tasks):
            found = [
                float(j[a] @ j[b]) / math.sqrt(float(j[a] @ j[a]) * float(j[b] @ j[b]))
                for j, _, p in updates
                if p[a] and p[b]
            ]
            cosines[a, b] = np.mean(found)
            conflicts[a, b] = np.mean([value < 0 for value in found])
    shares = []
    for jacobian, weights, _ in updates:
        direction = weights @ jacobian
        length = float(direction @ direction)
        shares.append(weights * (jacobian @ direction) / length)
    return norms, cosines, conflicts, np.mean(shares, axis=0)


def test_sums_equal_the_means_over_the_gradients():
    generator = np.random.default_rng(0)
    updates = [update(generator) for _ in range(25)]
    sums = GeometrySums(4)
    for one in updates:
        added(sums, *one)
    found = sums.summary()
    norms, cosines, conflicts, shares = by_hand(updates)
    # Six digits are kept.
    assert found.norms == pytest.approx(norms, rel=1e-5)
    assert np.array(found.cosines) == pytest.approx(cosines, abs=1e-5)
    assert np.array(found.conflicts) == pytest.approx(conflicts, abs=1e-5)
    assert found.shares == pytest.approx(shares.tolist(), rel=1e-4, abs=1e-5)
    assert sum(found.shares) == pytest.approx(1.0, abs=1e-5)
    assert found.updates == 25
    assert found.present == [sum(bool(p[k]) for _, _, p in updates) for k in range(4)]
    assert min(found.present) < 25


def test_the_subtly_wrong_variants_would_be_noticed():
    """The mean of the norms, the cosine of the mean Gramian, the share of ‖w_k g_k‖²."""
    generator = np.random.default_rng(1)
    updates = [update(generator) for _ in range(25)]
    norms, cosines, _, shares = by_hand(updates)
    mean_norm = np.mean([np.sqrt((j[0] ** 2).sum()) for j, _, p in updates if p[0]])
    assert mean_norm != pytest.approx(norms[0], rel=1e-2)
    mean_gramian = np.mean([j @ j.T for j, _, _ in updates], axis=0)
    wrong = mean_gramian[0, 1] / math.sqrt(mean_gramian[0, 0] * mean_gramian[1, 1])
    assert wrong != pytest.approx(cosines[0, 1], abs=1e-2)
    own = np.mean([w**2 * (j**2).sum(1) / (w**2 * (j**2).sum(1)).sum() for j, w, _ in updates], 0)
    assert own != pytest.approx(shares, rel=1e-2)


def test_what_is_written_in_rows_of_absent_tasks_is_not_looked_at():
    gramian = torch.tensor([[4.0, math.nan], [math.nan, math.nan]])
    sums = GeometrySums(2)
    sums.add(gramian, torch.tensor([1.0, 0.0]), torch.tensor([True, False]))
    found = sums.summary()
    assert found.norms == [2.0, None]
    assert found.cosines == [[1.0, None], [None, None]]
    assert found.shares == [1.0, 0.0]


def test_a_zero_gradient_has_a_norm_and_no_cosine():
    sums = GeometrySums(2)
    sums.add(torch.diag(torch.tensor([1.0, 0.0])), torch.ones(2), torch.ones(2, dtype=torch.bool))
    found = sums.summary()
    assert found.norms == [1.0, 0.0]
    assert found.cosines == [[1.0, None], [None, None]]
    assert found.conflicts == [[0.0, None], [None, None]]
    assert found.shares == [1.0, 0.0]


def test_norms_alone_give_no_cosines_and_no_shares():
    sums = GeometrySums(2, norms_only=True)
    sums.add(torch.diag(torch.tensor([9.0, 1.0])), torch.ones(2), torch.ones(2, dtype=torch.bool))
    found = sums.summary()
    assert found.norms == [3.0, 1.0]
    assert found.cosines == found.conflicts == [[None, None], [None, None]]
    assert found.shares == [None, None]


def test_a_method_without_weights_has_no_shares():
    sums = GeometrySums(2)
    nan = torch.full((2,), math.nan)
    sums.add(torch.tensor([[4.0, 1.0], [1.0, 1.0]]), nan, torch.ones(2, dtype=torch.bool))
    found = sums.summary()
    assert found.shares == [None, None]
    assert found.cosines[0][1] == 0.5


def test_updates_that_cancel_do_not_enter_the_shares():
    everyone = torch.ones(2, dtype=torch.bool)
    opposed = torch.tensor([[1.0, -1.0], [-1.0, 1.0 + 1e-9]], dtype=torch.float64)
    sums = GeometrySums(2)
    sums.add(opposed, torch.ones(2), everyone)
    assert sums.summary().shares == [None, None]
    sums.add(torch.eye(2), torch.ones(2), everyone)
    found = sums.summary()
    assert found.shares == [0.5, 0.5]
    assert found.updates == 2
    assert found.conflicts[0][1] == 0.5


def test_shares_of_updates_that_count_are_bounded():
    """Cauchy-Schwarz: |w_k ⟨g_k, d⟩| / ‖d‖² ≤ ‖w_k g_k‖ / ‖d‖ ≤ 1/√CANCELLED."""
    generator = np.random.default_rng(2)
    largest = 0.0
    for _ in range(300):
        first, second = generator.normal(size=6), generator.normal(size=6)
        jacobian = np.stack([first, -first + 10 ** generator.uniform(-4, 0) * second])
        sums = GeometrySums(2)
        added(sums, jacobian, np.ones(2), np.ones(2, dtype=bool))
        largest = max([largest, *(abs(s) for s in sums.summary().shares if s is not None)])
    assert 5.0 < largest <= CANCELLED**-0.5


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20])
def test_scale_does_not_matter_but_to_the_norms(scale):
    generator = np.random.default_rng(3)
    one, other = GeometrySums(4), GeometrySums(4)
    for _ in range(5):
        jacobian, weights, present = update(generator)
        added(one, jacobian, weights, present)
        added(other, jacobian * scale, weights, present)
    first, second = one.summary(), other.summary()
    assert second.cosines == first.cosines
    assert second.shares == pytest.approx(first.shares, rel=1e-5)
    assert second.norms == pytest.approx([n * scale for n in first.norms], rel=1e-5)


def test_an_update_that_is_not_finite_adds_nothing():
    everyone = torch.ones(2, dtype=torch.bool)
    sums = GeometrySums(2)
    sums.add(torch.eye(2), torch.ones(2), everyone)
    before = sums.summary()
    sums.add(torch.tensor([[math.inf, 0.0], [0.0, 1.0]]), torch.full((2,), math.nan), everyone)
    assert sums.summary() == before


def test_an_epoch_continues_in_a_fresh_object():
    generator = np.random.default_rng(4)
    updates = [update(generator) for _ in range(6)]
    whole, first = GeometrySums(4), GeometrySums(4)
    for number, one in enumerate(updates):
        added(whole, *one, frozenset({"stationary"}) if number % 2 else frozenset())
        if number < 3:
            added(first, *one, frozenset({"stationary"}) if number % 2 else frozenset())
    second = GeometrySums(4)
    second.load_state_dict(unflatten_state(*flatten_state(first.state_dict())))
    for number, one in enumerate(updates[3:], 3):
        added(second, *one, frozenset({"stationary"}) if number % 2 else frozenset())
    assert second.summary() == whole.summary()
    assert whole.summary().flags == {"stationary": 3}
    whole.reset()
    assert whole.summary() == GeometrySums(4).summary()
    assert whole.summary().norms == [None] * 4


def test_a_state_of_another_size_is_refused_and_changes_nothing():
    sums = GeometrySums(3)
    with pytest.raises(InvalidArgument, match="shape"):
        sums.load_state_dict(GeometrySums(2).state_dict())
    with pytest.raises(InvalidArgument, match="hold"):
        sums.load_state_dict({"updates": torch.zeros(())})
    assert sums.summary() == GeometrySums(3).summary()


def test_a_gramian_of_another_size_is_refused():
    with pytest.raises(InvalidArgument, match=r"`gramian` must have the shape \(2, 2\)"):
        GeometrySums(2).add(torch.eye(3), torch.ones(3), torch.ones(3, dtype=torch.bool))


def test_without_pairs_keeps_the_rest():
    geometry = TaskGeometry(1, [1], [2.0], [[1.0]], [[0.0]], [1.0], {"stationary": 1})
    assert geometry.without_pairs() == TaskGeometry(1, [1], [2.0], [], [], [1.0], {"stationary": 1})
