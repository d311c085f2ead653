"""What a penalty is given for parameters that are frozen, or not stepped yet."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.optim.roles import Selector
from polytask.regularization.objective import Penalty, penalise


class Eraser(Penalty):
    """Sets every block to 0, whatever its step, and remembers what it was given."""

    acts: ClassVar = "prox"

    def __init__(self) -> None:
        self.strength, self.selector = 1.0, Selector(group="row")
        self.seen: list[tuple[list[tuple[int, ...]], list[Tensor | float]]] = []

    def value(self, blocks) -> Tensor:
        return blocks[0].new_zeros(())

    def prox_(self, blocks, steps) -> None:
        self.seen.append(([tuple(block.shape) for block in blocks], list(steps)))
        for block in blocks:
            block.zero_()

    def describe(self) -> str:
        return "eraser"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4), nn.Linear(4, 3))


def test_every_block_is_there_in_its_place():
    net, penalty = network(), Eraser()
    bound = penalise(net, [penalty], SGD(net.parameters(), lr=0.5))
    before = net[1].weight.clone()
    net[1].requires_grad_(False)
    bound.prox_()
    assert penalty.seen == [([(2, 3), (4, 2), (3, 4)], [0.5, 0.0, 0.5])]
    assert torch.equal(net[1].weight, before)
    assert not net[0].weight.any()
    assert not net[2].weight.any()


def test_nothing_is_called_while_all_wait():
    net, penalty = network(), Eraser()
    bound = penalise(net, [penalty], Adam(net.parameters()))
    bound.prox_()
    assert penalty.seen == []
