"""In a loop: memory, gradient scalers, convergence."""

import gc
import weakref

import torch
from torch import Tensor, nn

from polytask import MultiTaskBackward, branch
from polytask.aggregation import MGDA, MoCo, UPGrad
from polytask.gradients.branching import any_branch


def parts() -> tuple[nn.Module, nn.ModuleList, Tensor]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    return trunk, nn.ModuleList([nn.Linear(8, 1), nn.Linear(8, 1)]), torch.randn(6, 4)


def test_the_graph_is_freed_with_the_update():
    """A cycle of references would hold the activations until the next garbage collection."""
    trunk, heads, x = parts()
    step = MultiTaskBackward(UPGrad())
    gc.collect()
    gc.disable()
    try:
        z = trunk(x)
        alive = weakref.ref(z)
        copies = branch(z, ["a", "b"])
        losses = [heads[0](copies["a"]).mean(), heads[1](copies["b"]).square().mean()]
        step(losses)
        del z, copies, losses
        assert alive() is None
        assert not any_branch()
    finally:
        gc.enable()


def test_a_gradient_scaler_skips_what_overflowed():
    trunk, heads, x = parts()
    optimizer = torch.optim.SGD([*trunk.parameters(), *heads.parameters()], 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    scaler.scale(torch.zeros(()))  # makes its tensor
    method = MoCo()
    step = MultiTaskBackward(method)
    before = [p.detach().clone() for p in trunk.parameters()]

    def update(factor: float) -> None:
        optimizer.zero_grad()
        z = trunk(x)
        losses = [heads[0](z).mean() * factor, heads[1](z).square().mean()]
        step(losses, scale=scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()

    update(1e36)
    assert scaler.get_scale() == 2.0**15
    assert all(torch.equal(p, b) for p, b in zip(trunk.parameters(), before, strict=True))
    assert method.tracked.numel() == 0, "state must not move"
    update(1.0)
    assert scaler.get_scale() == 2.0**15
    assert not torch.equal(trunk[0].weight, before[0])


def test_descends_to_a_point_between_two_minima():
    """MGDA stops where no direction helps both: on the line between the minima."""
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], 0.1)
    step = MultiTaskBackward(MGDA())
    minima = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    for _ in range(200):
        optimizer.zero_grad()
        step([(w - m).square().sum() for m in minima])
        optimizer.step()
    assert abs(float(w.detach()[1])) < 1e-3
    assert abs(float(w.detach()[0])) < 1.001
