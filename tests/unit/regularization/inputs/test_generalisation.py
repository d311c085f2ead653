"""Mixup against overfitting: a net that learns label noise by heart, with and without it."""

import torch
from torch import Tensor, nn

from polytask.data.batch import Batch
from polytask.regularization.inputs import Mixup, mixed_sums

FEATURES, ROWS, UPDATES = 20, 96, 250


def draw(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two classes by the sign of a linear function, a fifth of the labels turned."""
    x = torch.randn(rows, FEATURES, generator=generator)
    y = (x[:, :4].sum(1) > 0) ^ (torch.rand(rows, generator=generator) < 0.2)
    return x, y.long()[:, None]


def losses(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target[:, 0], reduction="none")[:, None]


def validation_loss(seed: int, mixup: Mixup | None) -> tuple[float, float]:
    """Final losses on training and validation rows."""
    generator = torch.Generator().manual_seed(seed)
    (x, y), (x_new, y_new) = draw(ROWS, generator), draw(1000, generator)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    net.append(nn.Linear(64, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    mask = torch.ones_like(y, dtype=torch.bool)
    batch = Batch(x, {"y": y}, {"y": mask}, None, torch.arange(ROWS))
    for _ in range(UPDATES):
        optimizer.zero_grad()
        if mixup is None:
            loss = losses(net(x), y).mean()
        else:
            mixed, mixing = mixup(batch)
            output = net(mixed.inputs)
            partner = losses(output, y[mixing.partner])
            sums, counts = mixed_sums(losses(output, y), partner, mask, None, mixing)
            loss = (sums / counts).sum()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(losses(net(x), y).mean()), float(losses(net(x_new), y_new).mean())


def test_mixup_lowers_the_final_validation_loss():
    for seed in range(3):
        plain_train, plain = validation_loss(seed, None)
        train, mixed = validation_loss(seed, Mixup(alpha=1.0))
        assert plain_train < 0.01  # learned by heart, the turned labels too
        assert train > plain_train
        assert mixed < 0.7 * plain
