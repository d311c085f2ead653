"""A training job with everything that has state; test_resume.py runs it, and kills it.

Usage: python resume_job.py FOLDER [--resume]. Writes FOLDER/result.json with a digest of the final
weights, the predictions' inputs and the history.

With --serve it reads such lines from its input, "FOLDER FAIL_POINT|- [--resume]", runs each in a
process of its own, forked after the imports and before any computation, and prints its exit status.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polytask import Binary, MultiTaskModel, Regression, Trainer
from polytask._files import fail_points
from polytask.backbones import MLP
from polytask.balancing import LossBalancer
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.optim import OptimizerSpec, Plateau, cosine, warmed_up
from polytask.tasks import group_tasks
from polytask.training import RandomScope, Regret


class Momentum(LossBalancer):
    """Weights follow a moving average of the losses: state that a checkpoint must keep."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.register_buffer("average", torch.ones(num_tasks))

    def objective(self, losses: Tensor, present: Tensor, counts: Tensor | None) -> Tensor:
        with torch.no_grad():
            self.average.lerp_(losses.detach(), 0.1)
        return (losses * torch.softmax(self.average, 0) * present).sum()


def table(rows: int, seed: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 6)).astype(np.float32)
    y = x @ generator.normal(size=6) + 0.3 * generator.normal(size=rows)
    z = (x[:, 0] - x[:, 1] > 0).astype(float)
    y[generator.random(rows) < 0.2] = np.nan
    z[generator.random(rows) < 0.2] = np.nan
    return torch.from_numpy(x), y, z


def build(folder: Path | None, *, epochs: int = 6, callbacks=(), checkpoint_seconds: float = 0.0):
    x, y, z = table(230, seed=0)
    tasks = [Regression("y").fit(y[:180]), Binary("z").fit(z[:180])]
    groups = group_tasks(tasks)
    with RandomScope(7):
        model = MultiTaskModel.hard(
            MLP(6, width=16, depth=2, dropout=0.2, normalization="batch"), tasks
        )

    def batch(part: slice) -> Batch:
        encoded = {"y": tasks[0].encode(y[part]), "z": tasks[1].encode(z[part])}
        rows = len(y[part])
        return Batch(
            x[part],
            {g.name: encoded[g.name][0][:, None] for g in groups},
            {g.name: encoded[g.name][1][:, None] for g in groups},
            torch.linspace(0.5, 1.5, rows),
            torch.arange(rows),
        )

    trainer = Trainer(
        model,
        tasks,
        optimizer=OptimizerSpec(learning_rate=1e-2),
        balance=Momentum(2),
        stopping=Regret(patience=3),
        seed=3,
        schedule=warmed_up(cosine(), 0.1),
        plateau=Plateau(factor=0.5, patience=1),
        checkpoint=None if folder is None else folder / "checkpoint.safetensors",
        checkpoint_seconds=checkpoint_seconds,
        epochs=epochs,
        callbacks=callbacks,
    )
    train = ResidentBatches(batch(slice(0, 180)), batch_size=16, seed=5)
    valid = ResidentBatches(batch(slice(180, 230)), batch_size=16)
    return trainer, model, train, valid


def digest(model, history) -> dict[str, str]:
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(name.encode() + value.contiguous().numpy().tobytes())
    document = history.to_json()
    for record in document["epochs"]:
        record.pop("seconds")
    return {"weights": weights.hexdigest(), "history": json.dumps(document, sort_keys=True)}


def job(folder: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    trainer, model, train, valid = build(folder)
    resume = resume and (folder / "checkpoint.safetensors").exists()
    history = trainer.fit(train, valid, resume=resume)
    (folder / "result.json").write_text(json.dumps(digest(model, history)))


def serve() -> None:
    torch.optim.SGD([torch.zeros(1)], lr=1.0)  # torch imports a part of itself here
    for line in sys.stdin:
        folder, point, *rest = line.split()
        child = os.fork()
        if child == 0:
            fail_points._ARMED = fail_points.parse("" if point == "-" else point)
            job(Path(folder), "--resume" in rest)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        job(Path(sys.argv[1]), "--resume" in sys.argv)
