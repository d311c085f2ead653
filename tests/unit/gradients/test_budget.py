"""Over the budget: what is in memory, and how often the trunk is walked back."""

import pytest
import torch
from torch import Tensor, nn

from polytask import MultiTaskBackward
from polytask.aggregation import GradNorm, UPGrad
from polytask.gradients import layers

WIDTH, TASKS = 96, 6


def model() -> tuple[nn.Sequential, nn.ModuleList, Tensor]:
    torch.manual_seed(0)
    parts = [part for _ in range(8) for part in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*parts), nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(TASKS)), (
        torch.randn(2, WIDTH)
    )  # fmt: skip


def peak(step: MultiTaskBackward) -> int:
    """Largest sum of tensor bytes above the level before the backward pass, with what is kept."""
    trunk, heads, x = model()
    z = trunk(x)
    losses = [head(z).square().mean() for head in heads]
    with torch.profiler.profile(profile_memory=True) as profile:
        step(losses)
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    level = highest = 0
    for _, change in changes:
        level += change
        highest = max(highest, level)
    return highest


BYTES = 4 * 8 * (WIDTH * WIDTH + WIDTH)
SLACK = 0.3
"""Of the gradient of one task: heads, representations, one parameter in float64."""


@pytest.fixture
def formed(monkeypatch):
    """Every gradient must be formed: with two rows nobody would."""
    monkeypatch.setattr(layers, "_WORTH_IT", 0.0)


@pytest.mark.usefixtures("formed")
@pytest.mark.filterwarnings("ignore:The gradients of 6 tasks")
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_no_more_than_the_budget_and_one_gradient(parts):
    budget = TASKS * BYTES // parts
    step = MultiTaskBackward(UPGrad(), max_gradient_memory=budget)
    highest = peak(step)
    # One task's gradients of a part on their way into the rows, or the gradient of the update.
    assert highest <= budget + BYTES * (1 + SLACK)


@pytest.mark.usefixtures("formed")
def test_mutation_within_the_budget_all_of_it_is_used():
    assert peak(MultiTaskBackward(UPGrad())) > TASKS * BYTES


def test_norms_never_hold_more_than_one_gradient():
    assert peak(MultiTaskBackward(GradNorm())) <= BYTES * (1 + SLACK)


def test_few_rows_need_no_gradient_of_a_task():
    """Mutation of the one above: inner products of layers without forming their gradients."""
    assert peak(MultiTaskBackward(UPGrad())) < 2 * BYTES


@pytest.mark.usefixtures("formed")
@pytest.mark.filterwarnings("ignore:The gradients of 6 tasks")
def test_every_layer_is_walked_back_once_per_task_and_once_more():
    trunk, heads, x = model()
    calls = [0] * len(trunk)

    def counting(number: int):
        def hook(*gradients: object) -> None:
            calls[number] += 1

        return hook

    z = x
    for number, layer in enumerate(trunk):
        z = layer(z)
        z.grad_fn.register_hook(counting(number))
    losses = [head(z).square().mean() for head in heads]
    report = MultiTaskBackward(UPGrad(), max_gradient_memory=TASKS * BYTES // 4)(losses)
    assert "over-memory-budget" in report.flags
    assert calls == [TASKS + 1] * len(trunk)
