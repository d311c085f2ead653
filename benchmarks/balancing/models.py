"""The three models of the speed table.

| | trunk | input | rows | parameters of the trunk |
|---|---|---|---|---|
| a | 3 × (Linear, ReLU), width 256 | 64 | 256 | 148,224 |
| b | 4 × (Linear, ReLU), width 1024 | 512 | 512 | 3,674,112 |
| c | ResNet-18 layout, widths 16 to 128 | 3×32×32 | 64 | 700,176 |

K heads Linear(width, 1), mean squared error, standard normal inputs and targets, seed 0.
"""

import torch
from torch import Tensor, nn

from polytask import branch


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.one = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.n1, self.n2 = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        short = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if same else short

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.n1(self.one(x)))
        return torch.relu(self.n2(self.two(y)) + self.short(x))


def trunk_of(model: str) -> tuple[nn.Module, Tensor, int]:
    if model == "c":
        layers: list[nn.Module] = [
            nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        width = 16
        for w in (16, 32, 64, 128):
            layers += [Basic(width, w, 1 if w == 16 else 2), Basic(w, w, 1)]
            width = w
        trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return trunk, torch.randn(64, 3, 32, 32), 128
    depth, width, inputs, rows = {"a": (3, 256, 64, 256), "b": (4, 1024, 512, 512)}[model]
    layers = []
    for layer in range(depth):
        layers += [nn.Linear(inputs if layer == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*layers), torch.randn(rows, inputs), width


class Net(nn.Module):
    def __init__(self, model: str, tasks: int):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.x, width = trunk_of(model)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))
        self.y = torch.randn(len(self.x), tasks)
        self.names = [str(k) for k in range(tasks)]

    def losses(self, z: Tensor | None = None, branched: bool = False) -> list[Tensor]:
        z = self.trunk(self.x) if z is None else z
        zs = branch(z, self.names) if branched else dict.fromkeys(self.names, z)
        return [
            nn.functional.mse_loss(head(zs[name])[:, 0], self.y[:, k])
            for k, (name, head) in enumerate(zip(self.names, self.heads, strict=True))
        ]
