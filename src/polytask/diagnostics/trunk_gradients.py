"""How the tasks pull at the shared weights: norms and cosines of their gradients, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polytask.data.batch import Batch
from polytask.data.batches import transform
from polytask.optim.roles import ParameterInfo, Role
from polytask.tasks import TaskGroup
from polytask.tasks.base import masked_sums

from .geometry import GeometrySums, TaskGeometry

MAX_ROWS, MIN_ROWS = 2048, 256
MAX_TASKS = 40
BUDGET = 2 * 10**9
"""Rows × weights × tasks: larger problems are measured on fewer rows, at least `MIN_ROWS`."""
MEMORY = 2**24
"""Tasks × weights that are held at a time; of more tasks only the first are measured."""


@dataclass(frozen=True)
class TrunkGradients:
    """Gradients of the task losses with respect to the weights that all tasks share.

    Args:
        tasks: Names of the measured tasks.
        rows: Training rows on which they were measured.
        parameters: Shared weights.
        norms: Norm of each task's gradient.
        cosines: Cosine of every pair, a symmetric matrix; None where a gradient is zero.
    """

    tasks: tuple[str, ...]
    rows: int
    parameters: int
    norms: tuple[float, ...]
    cosines: tuple[tuple[float | None, ...], ...]

    def geometry(self, weights: Sequence[float | None] | None = None) -> TaskGeometry:
        """The same as the geometry of one update with all tasks present.

        Args:
            weights: Of the measured tasks; None, or None for any of them: no shares.

        Example:
            >>> found = TrunkGradients(("a", "b"), 10, 5, (2.0, 1.0), ((1.0, -0.5), (-0.5, 1.0)))
            >>> found.geometry([1.0, 1.0]).shares
            [1.0, 0.0]
        """
        known = [torch.nan if weight is None else weight for weight in weights or [None]]
        norms = torch.tensor(self.norms, dtype=torch.float64)
        cosines = torch.tensor(
            [[cosine or 0.0 for cosine in row] for row in self.cosines], dtype=torch.float64
        )
        sums = GeometrySums(len(self.tasks))
        sums.add(
            cosines * norms.outer(norms),
            torch.tensor(known, dtype=torch.float64).expand(len(norms)),
            torch.ones(len(norms), dtype=torch.bool),
        )
        return sums.summary()


def measure_trunk_gradients(
    model: nn.Module,
    table: Batch,
    groups: Sequence[TaskGroup],
    infos: Sequence[ParameterInfo],
    *,
    device: torch.device | str | None = None,
) -> TrunkGradients | None:
    r"""One gradient per task of the kept weights, in eval mode, on evenly spaced training rows.

    :math:`g_t = \nabla_\theta L_t` over the weights θ of backbone, trunk and experts that every
    task reaches, with the mean loss :math:`L_t` over labelled rows; cosines are
    :math:`g_s \cdot g_t / (\|g_s\| \|g_t\|)`. Negative ones pull in opposite directions.

    Args:
        model: Returns a `ModelOutput`; its modes and gradients are left as they were.
        table: Encoded training rows.
        groups: The task groups.
        infos: The model's parameters (``model.roles()``).
        device: Where the model lives; None: wherever the rows are.

    Returns:
        None for a single task or without shared weights.
    """
    names = {i: task.name for g in groups for i, task in zip(g.indices, g.tasks, strict=True)}
    order = sorted(names)
    everyone = frozenset(names.values())
    shared = {
        info.name: info.parameter
        for info in infos
        if info.role in (Role.BACKBONE, Role.TRUNK, Role.EXPERT) and info.tasks >= everyone
    }
    size = sum(parameter.numel() for parameter in shared.values())
    if len(order) < 2 or not size:
        return None
    chosen = order[: max(2, min(MAX_TASKS, MEMORY // size))]
    limit = min(MAX_ROWS, max(MIN_ROWS, BUDGET // (size * len(chosen))))
    stride = -(-len(table.rows) // limit)
    rows = transform(table, lambda tensor: tensor[::stride].contiguous().to(device))
    gradients = _gradients(model, rows, groups, shared, chosen)
    norms = torch.linalg.vector_norm(gradients, dim=1)
    cosines = (gradients @ gradients.mT) / norms.outer(norms)
    return TrunkGradients(
        tuple(names[index] for index in chosen),
        len(rows.rows),
        size,
        tuple(norms.tolist()),
        tuple(
            tuple(round(value, 4) if value == value else None for value in row)  # noqa: PLR0124
            for row in cosines.clamp(-1, 1).tolist()
        ),
    )


def _gradients(
    model: nn.Module,
    rows: Batch,
    groups: Sequence[TaskGroup],
    shared: Mapping[str, nn.Parameter],
    chosen: Sequence[int],
) -> Tensor:
    """Gradients ``[tasks, weights]`` on the CPU, in double precision.

    The weights are replaced during the call, so that frozen ones can be differentiated too.
    """
    leaves = {name: weight.detach().requires_grad_() for name, weight in shared.items()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            outputs = functional_call(model, leaves, (rows.inputs,)).outputs
            losses = _losses(outputs, rows, groups)
            found = []
            for index in chosen:
                grads = torch.autograd.grad(
                    losses[index], list(leaves.values()), retain_graph=True, materialize_grads=True
                )
                found.append(torch.cat([grad.flatten() for grad in grads]).cpu())
    finally:
        for module, training in modes.items():
            module.training = training
    return torch.stack(found).double()


def _losses(
    outputs: Mapping[str, Tensor], rows: Batch, groups: Sequence[TaskGroup]
) -> dict[int, Tensor]:
    losses: dict[int, Tensor] = {}
    for group in groups:
        unreduced = group.training_loss(outputs[group.name], rows.targets[group.name])
        sums, counts = masked_sums(unreduced, rows.masks[group.name], rows.row_weights)
        means = sums / counts.clamp(min=torch.finfo(counts.dtype).tiny)
        losses |= dict(zip(group.indices, means.unbind(), strict=True))
    return losses
