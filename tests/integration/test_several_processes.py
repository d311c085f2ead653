"""Two processes with uneven rows and labels: the update is that of one process with all rows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polytask import MultiTaskBackward
from polytask.aggregation import UPGrad
from polytask.errors import Unsupported

JOB = Path(__file__).with_name("processes_job.py")
METHODS = (
    "UPGrad", "CAGrad", "NashMTL", "PCGrad", "GradDrop", "MoCo", "DBMTL", "DWA", "GeometricMean",
    "UncertaintyWeights",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What one process and two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    ranks = [(0, 1), (0, 2), (1, 2)]
    jobs = [
        subprocess.Popen(
            [sys.executable, str(JOB), str(folder), str(rank), str(processes)],
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, processes in ranks
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors
    return folder


def found(folder: Path, name: str, processes: int, rank: int):
    return torch.load(folder / f"{name}-{processes}-{rank}.pt", weights_only=False)


@pytest.mark.parametrize("name", METHODS)
def test_the_update_is_that_of_one_process(folder: Path, name: str):
    alone = found(folder, name, 1, 0)
    for rank in range(2):
        mine = found(folder, name, 2, rank)
        torch.testing.assert_close(
            mine["weights"], alone["weights"], rtol=1e-6, atol=1e-9, equal_nan=True
        )
        for one, other in zip(mine["model"], alone["model"], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_weights_state_and_parameters_are_the_same_everywhere(folder: Path, name: str):
    first, second = (found(folder, name, 2, rank) for rank in range(2))
    assert torch.equal(torch.nan_to_num(first["weights"]), torch.nan_to_num(second["weights"]))
    assert first["state"].keys() == second["state"].keys()
    for key, value in first["state"].items():
        assert torch.equal(value, second["state"][key]), key
    for one, other in zip(first["model"], second["model"], strict=True):
        assert torch.equal(one, other)


def test_mutation_the_mean_of_the_processes_gramians_is_another_one():
    """It lacks the products of one process's gradients with the other's."""
    sys.path.insert(0, str(JOB.parent))
    try:
        from processes_job import ROWS, SPLIT, WIDTH, batch
    finally:
        sys.path.pop(0)
    x, y, known = batch(0)
    w = torch.ones(WIDTH, dtype=torch.float64, requires_grad=True)

    def rows(low: int, high: int) -> torch.Tensor:
        errors = torch.where(known, x @ w[:, None] - y, 0.0)[low:high].square().sum(0)
        losses = errors / known.sum(0)
        return torch.stack(
            [torch.autograd.grad(loss, w, retain_graph=True)[0] for loss in losses.unbind()]
        )

    whole = rows(0, ROWS)
    parts = [rows(low, high) for low, high in SPLIT]
    torch.testing.assert_close(sum(parts), whole)
    exact = whole @ whole.T
    mean = sum(4 * part @ part.T for part in parts) / 2  # each process scales its part up by two
    assert float((mean - exact).norm() / exact.norm()) > 0.1


def test_the_shared_parameters_must_be_named():
    w = torch.ones(2, requires_grad=True)
    step = MultiTaskBackward(UPGrad())
    step.accumulate([w[0] * 2.0, w.sum()], [1.0, 1.0])
    with pytest.raises(Unsupported, match="`shared` must name"):
        step.finish(lambda tensor: tensor)


def test_a_process_without_any_label_takes_part():
    """Its sum is the other one's: here all of it comes from there."""
    w = torch.ones(2, requires_grad=True)
    step = MultiTaskBackward(UPGrad(), shared=[w])
    sent = []

    def others(tensor: torch.Tensor) -> None:
        sent.append(tuple(tensor.shape))
        tensor += 1.0 if tensor.dim() == 1 else torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    step.accumulate([None, None], [3.0, 3.0])
    report = step.finish(others)
    assert sent == [(2,), (2, 2)]
    assert report.weights.tolist() == [0.5, 0.5]
    assert w.grad is not None
    assert w.grad.tolist() == [0.5, 0.5]
