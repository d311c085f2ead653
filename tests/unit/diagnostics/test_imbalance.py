"""Each finding on generated gradients whose truth is known, twenty-four runs per case."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from polytask.diagnostics import GeometrySums, find_imbalances
from polytask.diagnostics.geometry import WINDOW
from polytask.diagnostics.imbalance import SUGGESTED, nothing_found

RUNS = 24


@dataclass
class Case:
    """A run whose task gradients are drawn: mean directions plus noise, per update.

    Args:
        tasks: K.
        parameters: P; few make cosines vary by chance.
        updates: Per epoch.
        scale: Norm of each task's gradient.
        means: Mean direction of each task [K, P], in units of its noise; None: zero.
        weights: Of the update; None: equal, as parts of 1.
        losses: Training loss at the end, in units of the training average's.
        present: Probability that a task has labels in an update.
        flags: Probability that an update is flagged as not converged.
        balance: Its name.
    """

    tasks: int = 3
    parameters: int = 40
    updates: int = 6
    epochs: int = 5
    scale: list[float] = field(default_factory=list)
    means: np.ndarray | None = None
    weights: list[float] | None = None
    losses: list[float] = field(default_factory=list)
    present: float = 1.0
    flags: float = 0.0
    balance: str = "equal"
    norms_only: bool = False
    measured: bool = True

    def history(self, seed: int) -> dict:
        generator = np.random.default_rng(seed)
        scale = np.array(self.scale or [1.0] * self.tasks)[:, None]
        weights = np.array(self.weights or [1.0 / self.tasks] * self.tasks)
        losses = self.losses or [0.9] * self.tasks
        sums, records = GeometrySums(self.tasks, norms_only=self.norms_only), []
        for epoch in range(1, self.epochs + 1):
            sums.reset()
            for _ in range(self.updates):
                jacobian = generator.normal(size=(self.tasks, self.parameters))
                if self.means is not None:
                    jacobian += self.means
                jacobian *= scale / np.sqrt(self.parameters)
                here = generator.random(self.tasks) < self.present
                flags = {"not-converged"} if generator.random() < self.flags else set()
                gramian = torch.from_numpy(jacobian @ jacobian.T)
                used = np.where(here, weights, 0.0)
                sums.add(gramian, torch.from_numpy(used), torch.from_numpy(here), frozenset(flags))
            geometry = sums.summary().to_json() if self.measured else None
            record = {
                "epoch": epoch,
                "weights": list(weights),
                "running": losses,
                "train": losses,
                "geometry": geometry,
            }
            records.append(record)
        return {
            "tasks": [f"t{k}" for k in range(self.tasks)],
            "epochs": records,
            "best_epoch": self.epochs,
            "baseline": [1.0] * self.tasks,
        }

    def found(self, seed: int):
        return find_imbalances(self.history(seed), balance=self.balance)


def directions(*rows: list[float], parameters: int = 40) -> np.ndarray:
    """Mean directions given by their first coordinates, each eight times one entry's noise."""
    found = np.zeros((len(rows), parameters))
    for k, row in enumerate(rows):
        found[k, : len(row)] = row
    return 8.0 * found


ALIGNED = directions([1.0], [1.0], [1.0])
OPPOSED = directions([1.0], [-0.6, 0.8], [0.0, 0.0, 1.0])
OVERRULED = directions([1.0, 0.0], [1.0, 0.1], [-0.9, 0.1])

MUST = {
    "one task forty times as large": ("domination", Case(scale=[40.0, 1.0, 1.0])),
    "two tasks, one forty times as large": ("domination", Case(tasks=2, scale=[1.0, 40.0])),
    "twelve tasks, one sixty times as large": (
        "domination",
        Case(tasks=12, scale=[60.0, *(1.0,) * 11]),
    ),
    "one task a hundredth as large": ("vanishing", Case(scale=[1.0, 1.0, 0.01])),
    "one weight nearly zero": ("vanishing", Case(weights=[0.5, 0.5, 1e-4], balance="mgda")),
    "one weight nearly zero, losses only": (
        "vanishing",
        Case(weights=[0.5, 0.5, 1e-4], balance="dwa", measured=False),
    ),
    "one norm nearly zero, norms only": (
        "vanishing",
        Case(scale=[1.0, 1.0, 1e-3], balance="gradnorm", norms_only=True),
    ),
    "nearly all weight on one task": ("weight", Case(weights=[0.96, 0.02, 0.02], balance="mgda")),
    "nearly all weight on one task, losses only": (
        "weight",
        Case(weights=[0.96, 0.02, 0.02], balance="uncertainty", measured=False),
    ),
    "two tasks at 127 degrees": ("conflict", Case(means=OPPOSED)),
    "one task against two": ("overruled", Case(means=OVERRULED, updates=20, balance="imtl-g")),
    "every fifth solve fails": ("solver", Case(flags=0.2, updates=12, balance="nash-mtl")),
}

MUST_NOT = {
    "gradients that are noise": Case(tasks=8, parameters=40),
    "noise, few weights": Case(tasks=8, parameters=4),
    "noise, few weights, few updates": Case(tasks=8, parameters=4, updates=3),
    "noise, two tasks, few weights": Case(tasks=2, parameters=3),
    "noise, sparse labels": Case(tasks=20, parameters=10, present=0.2, updates=20),
    "aligned tasks": Case(means=ALIGNED),
    "scales three apart": Case(scale=[3.0, 1.0, 1.0]),
    "scales forty apart, weights make up for it": Case(
        scale=[40.0, 1.0, 1.0], weights=[0.025, 1.0, 1.0], balance="imtl-g"
    ),
    "the others are solved": Case(scale=[40.0, 1.0, 1.0], losses=[0.9, 0.01, 0.02]),
    "the small one is solved": Case(scale=[1.0, 1.0, 0.005], losses=[0.9, 0.9, 0.01]),
    "the user's own weights, losses only": Case(
        weights=[0.99, 0.005, 0.005], balance="fixed", measured=False
    ),
    "conflicts that the method is there for": Case(means=OPPOSED, balance="upgrad"),
    "one solve in a thousand fails": Case(flags=0.001, updates=20, balance="nash-mtl"),
}


@pytest.mark.parametrize("name", MUST)
def test_findings_where_they_must_be(name):
    kind, case = MUST[name]
    said = Counter(one.kind for seed in range(RUNS) for one in case.found(seed))
    assert said[kind] == RUNS, said
    # What may stand beside it: the other side of the same coin.
    beside = {
        "domination": {"vanishing"},
        "vanishing": set(),
        "weight": {"vanishing"},
        "overruled": {"conflict"},
    }
    assert set(said) <= {kind} | beside.get(kind, set()), said


@pytest.mark.parametrize("name", MUST_NOT)
def test_no_findings_where_nothing_is_wrong(name):
    said = Counter(one.kind for seed in range(RUNS) for one in MUST_NOT[name].found(seed))
    assert said == Counter(), said


def test_chance_is_counted_over_all_pairs():
    """139 tasks have 9591 pairs: without the correction some of them conflict by chance."""
    case = Case(tasks=139, parameters=6, updates=6, epochs=5)
    history = case.history(0)
    assert find_imbalances(history) == ()
    matrices = [np.array(r["geometry"]["conflicts"], dtype=float) for r in history["epochs"]]
    cosines = np.mean([np.array(r["geometry"]["cosines"], dtype=float) for r in history["epochs"]],
                      axis=0)  # fmt: skip
    updates = 30
    naive = (np.mean(matrices, axis=0) > 0.5 + 0.5 * 2.33 / updates**0.5) & (cosines < -0.1)
    assert np.triu(naive, 1).sum() > 20


def test_only_the_epochs_before_the_kept_one_count():
    case = Case(means=OPPOSED, epochs=2 * WINDOW)
    calm = Case(epochs=2 * WINDOW).history(0)
    torn = case.history(0)
    torn["best_epoch"] = WINDOW
    mixed = {**torn, "epochs": [*calm["epochs"][:WINDOW], *torn["epochs"][WINDOW:]]}
    assert find_imbalances(mixed) == ()
    mixed = {**torn, "epochs": [*torn["epochs"][:WINDOW], *calm["epochs"][WINDOW:]]}
    assert [one.kind for one in find_imbalances(mixed)] == ["conflict"]


def test_one_epoch_without_it_is_enough_against_domination():
    torn = Case(scale=[40.0, 1.0, 1.0]).history(0)
    calm = Case().history(0)
    assert {one.kind for one in find_imbalances(torn)} == {"domination", "vanishing"}
    torn["epochs"][-2] = calm["epochs"][-2]
    assert find_imbalances(torn) == ()


def test_one_of_many_tasks_is_not_called_overruled_by_chance():
    """Few weights and 139 tasks: the parts of single tasks are negative for epochs."""
    case = Case(tasks=139, parameters=6, updates=6)
    history = case.history(0)
    assert find_imbalances(history, balance="imtl-g") == ()
    shares = np.array([record["geometry"]["shares"] for record in history["epochs"]])
    # The rule without Student's test.
    assert (shares < -0.1 / 139).all(axis=0).any()


def test_few_updates_convict_nobody():
    assert Case(scale=[40.0, 1.0, 1.0], updates=1).found(0) == ()
    assert Case(means=OPPOSED, updates=1).found(0) == ()


def test_a_task_without_labels_is_not_called_vanishing():
    history = Case().history(0)
    for record in history["epochs"]:
        geometry = record["geometry"]
        geometry["present"][1], geometry["norms"][1], geometry["shares"][1] = 0, None, 0.0
    assert find_imbalances(history) == ()


def test_sentences_tell_names_numbers_and_what_to_type():
    (first, second) = Case(scale=[40.0, 1.0, 1.0]).found(0)
    assert "'t0' dominates the update" in first.sentence
    assert "in epochs 1 to 5" in first.sentence
    assert "times as long as the median" in first.sentence
    assert "practically all of it" in first.sentence
    assert first.command == "--balance nash-mtl"
    assert second.tasks in (("t1", "t2"), ("t2", "t1"))
    (conflict,) = Case(means=OPPOSED).found(0)
    assert conflict.sentence.startswith("'t0' and 't1' (mean cosine −0.")
    assert conflict.command == "--balance upgrad"


def test_the_method_in_use_is_not_suggested():
    for method in ("nash-mtl", "imtl-g", "gradnorm"):
        found = Case(scale=[40.0, 1.0, 1.0], balance=method).found(0)
        assert found
        assert all(one.command != f"--balance {method}" for one in found)
    assert all(len(set(names)) == len(names) for names in SUGGESTED.values())


def test_a_negative_weight_is_no_overruling():
    """w < 0 and ⟨g, d⟩ > 0: the part is negative, and the loss falls."""
    history = Case(means=OVERRULED, updates=20, balance="imtl-g").history(0)
    kinds = {one.kind for one in find_imbalances(history, balance="imtl-g")}
    assert "overruled" in kinds
    for record in history["epochs"]:
        record["weights"] = [1.0, 1.0, -1.0]
    assert {one.kind for one in find_imbalances(history, balance="imtl-g")} == {"conflict"}


def test_many_conflicts_are_one_sentence():
    rows = [[(-1.0) ** k] for k in range(10)]
    (found,) = Case(tasks=10, means=directions(*rows), balance="pcgrad").found(0)
    assert "25 of 45 pairs of tasks pull the shared weights apart" in found.sentence
    assert found.sentence.count("mean cosine") == 3
    assert found.sentence.endswith("and 22 more.")
    assert len(found.tasks) == 10


def test_reused_or_smoothed_weights_promise_nothing_about_conflicts():
    history = Case(means=OPPOSED, balance="upgrad").history(0)
    assert find_imbalances(history, balance="upgrad") == ()
    kinds = {one.kind for one in find_imbalances(history, balance="upgrad", weakened=True)}
    assert "conflict" in kinds
    quiet = Case(balance="upgrad").history(0)
    assert "resolves" in nothing_found(quiet, balance="upgrad")
    assert "resolves" not in nothing_found(quiet, balance="upgrad", weakened=True)


def test_a_single_task_and_an_empty_history_have_nothing_to_say():
    assert find_imbalances({"tasks": ["a"], "epochs": []}) == ()
    assert find_imbalances({"tasks": ["a", "b"], "epochs": []}) == ()
