"""What a penalty with state or a gradient of its own is given by its binding."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, RMSprop

from polytask.errors import InvalidArgument, Unsupported
from polytask.optim.roles import Selector
from polytask.regularization import L1, Penalty, penalise


class Spread(Penalty):
    """λ/2 of the squared distance from where the columns started."""

    acts: ClassVar = "gradient"
    layout: ClassVar = "tasks"
    name: ClassVar = "spread"

    def __init__(self, strength: float) -> None:
        self.strength, self.selector = strength, Selector()

    def columns(self, tasks) -> None:
        self.named = tasks

    def start(self, blocks) -> None:
        (self.origin,) = blocks

    def value(self, blocks) -> Tensor:
        return self.strength / 2 * (blocks[0] - self.origin).square().sum()

    def describe(self) -> str:
        return "spread"

    def state_dict(self) -> dict[str, Tensor]:
        return {"origin": self.origin}

    def load_state_dict(self, state) -> None:
        self.origin = state["origin"]


def networks() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})


def test_gradient_penalties_join_the_objective_with_any_optimizer():
    nets = networks()
    penalty = Spread(2.0)
    bound = penalise(nets, [penalty], RMSprop(nets.parameters()), tasks=["a", "b"])
    assert penalty.named == [("a", "b")]
    assert bound.objective().item() == 0.0
    with torch.no_grad():
        nets["b"].weight.add_(1.0)
    objective = bound.objective()
    objective.backward()
    assert objective.item() == pytest.approx(3.0) == pytest.approx(bound.values()["spread"])
    assert torch.allclose(nets["b"].weight.grad, torch.full((1, 3), 2.0))
    before = nets["b"].weight.clone()
    bound.prox_()
    assert torch.equal(nets["b"].weight, before)
    assert bound.zeros() == {}
    with pytest.raises(Unsupported, match="no proximal step"):
        penalty.prox_([], [])


def test_state_goes_through_a_checkpoint():
    nets = networks()
    bound = penalise(
        nets, [Spread(1.0), L1(0.1)], AdamW(nets.parameters(), weight_decay=0), tasks=["a", "b"]
    )
    saved = bound.state_dict()
    assert list(saved) == ["spread"]
    with torch.no_grad():
        nets["a"].weight.add_(1.0)
    later = penalise(nets, [Spread(1.0)], RMSprop(nets.parameters()), tasks=["a", "b"])
    assert later.values()["spread"] == 0
    later.load_state_dict(saved)
    assert later.values()["spread"] == pytest.approx(1.5)
    with pytest.raises(InvalidArgument, match="spread"):
        later.load_state_dict({})
