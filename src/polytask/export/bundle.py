"""The bundle: everything that turns a table into predictions, in one object and one file."""

import copy
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from polytask._checks import at_least, require, unknown
from polytask._files import fail_point, make_folder, write_archive
from polytask._files.atomic import unwritable
from polytask._version import __version__
from polytask.data.encode import FeatureEncoder
from polytask.data.forms import Form
from polytask.errors import Unsupported
from polytask.regularization.features import has_dropout
from polytask.sharing import AdaptedModel, MultiTaskModel
from polytask.tasks import Task, TaskGroup, task_to_json

from .architecture import OWN, describe_architecture
from .spread import sampled, spreads

if TYPE_CHECKING:
    from pandas import DataFrame

KIND = "bundle"
SCHEMA_VERSION = 2
"""1: all members predict every task. 2: a member may predict some tasks alone."""

FILE_NAME = "model.safetensors"
"""Name of the bundle in the folder of a run."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Bundle:
    """One trained model with its encoders and tasks: predicts any table of the same columns.

    The models are copied to the CPU, so that training can go on without changing the bundle, and
    predictions before saving and after loading are equal to the bit (same machine, torch version
    and thread count).

    Args:
        members: Trained models over the same task groups, one or more. Predictions of several are
            averaged: values in the user's units, probabilities of classes.
        form: Where labels and predictions stand in the table.
        encoder: The fitted encoder of the input columns.
        run: The effective run configuration, as JSON values.
        serves: Task → the one member that predicts it (each task's own best epoch, say); empty:
            all members predict every task, and are averaged.
        document: Set by `load`: the manifest of the file.

    Raises:
        InvalidArgument: If there is no member, members differ in their tasks, the form names
            other tasks than the models, or `serves` is not about all tasks and existing members.
        Unsupported: If a member is a bare module.

    Example:
        >>> import pandas
        >>> from polytask import MultiTaskModel, Regression
        >>> from polytask.backbones import MLP
        >>> from polytask.data.forms import WideForm
        >>> from polytask.data.schema import infer_schema
        >>> frame = pandas.DataFrame({"x": [0.0, 0.5, 1.0], "y": [1.0, 2.0, 3.0]})
        >>> encoder = FeatureEncoder.fit(frame[["x"]], infer_schema(frame[["x"]]).columns)
        >>> task = Regression("y").fit(frame["y"].to_numpy())
        >>> model = MultiTaskModel.hard(MLP(encoder.numeric_width, width=8, depth=1), [task])
        >>> bundle = Bundle([model], WideForm((task.spec,)), encoder)
        >>> list(bundle.predict(frame).columns), bundle.manifest["columns"]
        (['y'], ['x'])
    """

    members: Sequence[MultiTaskModel | AdaptedModel]
    form: Form
    encoder: FeatureEncoder
    run: Mapping[str, Any] = field(default_factory=dict)
    serves: Mapping[str, int] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(len(self.members) > 0, "members", "hold at least one model", len(self.members))
        for member in self.members:
            if not isinstance(member, MultiTaskModel | AdaptedModel):
                raise Unsupported(
                    f"`members` must be models with tasks; got {type(member).__name__}. Wrap your "
                    "own module before training: polytask.sharing.adapt(module, groups, example)."
                )
        names = [task.name for task in self.tasks]
        expected = [spec.name for spec in self.form.specs]
        require(names == expected, "form", f"name the tasks of the model, {names}", expected)
        first = [(group.name, group.indices) for group in self.groups]
        for member in self.members:
            found = [(group.name, group.indices) for group in member.groups]
            require(found == first, "members", f"have the task groups {first}", found)
        if self.serves:
            require(sorted(self.serves) == sorted(names), "serves", f"name the tasks {names}",
                    sorted(self.serves))  # fmt: skip
            for task, number in self.serves.items():
                inside = 0 <= number < len(self.members)
                require(inside, f"serves[{task!r}]", f"be below {len(self.members)}", number)
        object.__setattr__(self, "members", tuple(_frozen_copy(member) for member in self.members))
        document = dict(self.document) or self._describe()
        object.__setattr__(self, "document", document)

    def __repr__(self) -> str:
        names = ", ".join(task.name for task in self.tasks[:8])
        more = f", … {len(self.tasks)} in all" if len(self.tasks) > 8 else ""
        return f"Bundle({len(self.members)} x [{names}{more}])"

    @property
    def groups(self) -> tuple[TaskGroup, ...]:
        """The task groups of the models."""
        return self.members[0].groups

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The fitted tasks, in the user's order."""
        placed = {i: t for g in self.groups for i, t in zip(g.indices, g.tasks, strict=True)}
        return tuple(placed[index] for index in sorted(placed))

    @property
    def manifest(self) -> dict[str, Any]:
        """What the bundle is, as JSON values.

        ``schema_version``, ``members`` (prefixes of their tensors), ``columns`` (the inputs),
        ``tasks``, ``groups``, ``form``, ``encoder``, ``architecture``, ``run``,
        ``versions``, ``threads`` and, of a loaded bundle, ``sha256``.
        """
        return copy.deepcopy(dict(self.document))

    def predict(
        self,
        frame: "DataFrame",
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = 8192,
        samples: int = 0,
        seed: int = 0,
    ) -> "DataFrame":
        """Predictions for every row of `frame`, with its index.

        Args:
            frame: Has the input columns, in any order; further ones are ignored. A pandas
                DataFrame or an Arrow table.
            tasks: Names of the tasks to predict; None means all.
            batch_size: Rows computed at a time; limits the memory.
            samples: Monte-Carlo dropout: average over so many dropout masks per model, and add
                how far the predictions scatter (``task_spread``). 0: one pass without dropout.
            seed: Of the masks; torch's global state is given back.

        Returns:
            The id columns, then per task, in the user's order, its prediction (column ``task``) and
            probabilities (``task_probability_class``). In the long form: the id columns, the task
            column, then columns named after the target; each row is predicted by its own task.

        Raises:
            DataError: If an input or id column is missing, or has another type than in training.
            UnknownName: If a name in `tasks` is no task.
            InvalidArgument: If `samples` is above 0 and a model has no dropout.

        Reference:
            Gal & Ghahramani, Dropout as a Bayesian Approximation: Representing Model Uncertainty
            in Deep Learning, ICML 2016. https://arxiv.org/abs/1506.02142
        """
        from polytask.data.read import as_frame

        frame = as_frame(frame)
        self.form.check(frame)
        known = {task.name: task for task in self.tasks}
        values: dict[str, dict[str, Any]]
        if samples:
            drawn = self.sample(frame, samples, tasks=tasks, batch_size=batch_size, seed=seed)
            values = {
                name: {
                    **known[name].predict(known[name].average(output)),
                    **spreads(known[name], output),
                }
                for name, output in drawn.items()
            }
        else:
            outputs = self.outputs(frame, tasks=tasks, batch_size=batch_size)
            values = {name: dict(known[name].predict(output)) for name, output in outputs.items()}
        return self.form.assemble(frame, values)

    def outputs(
        self, frame: "DataFrame", *, tasks: Sequence[str] | None = None, batch_size: int = 8192
    ) -> dict[str, Tensor]:
        """Raw outputs ``[rows, outputs]`` of every asked task, averaged over the members.

        What `Task.predict`, `Task.loss` and the metrics of a task take. Arguments as `predict`.
        """
        return self._batched(frame, tasks, batch_size, self._run, 0)

    def sample(
        self,
        frame: "DataFrame",
        samples: int,
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = 8192,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """Raw outputs ``[samples · members, rows, outputs]`` under dropout masks, task by task.

        Arguments as `predict`.

        Raises:
            InvalidArgument: If `samples` is below 1, or a model has no dropout.
        """
        at_least("samples", samples, 1)
        require(
            all(map(has_dropout, self.members)),
            "samples",
            "be 0 for a model without dropout, whose masks would all give the same predictions",
            samples,
        )

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return sampled(self.members, self.groups, inputs, samples, self.serves)

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._batched(frame, tasks, batch_size, run, 1)

    def _batched(
        self,
        frame: "DataFrame",
        tasks: Sequence[str] | None,
        batch_size: int,
        run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        axis: int,
    ) -> dict[str, Tensor]:
        """What `run` gives for every asked task, batch by batch, joined along the rows."""
        at_least("batch_size", batch_size, 1)
        names = [task.name for task in self.tasks]
        for name in tasks or ():
            if name not in names:
                raise unknown("tasks", name, names)
        asked = names if tasks is None else [name for name in names if name in set(tasks)]
        require(len(asked) > 0, "tasks", "name at least one task", tasks)
        inputs = self.encoder.transform(frame)
        parts = [
            run({key: tensor[start : start + batch_size] for key, tensor in inputs.items()})
            for start in range(0, max(len(frame), 1), batch_size)
        ]
        return {name: torch.cat([part[name] for part in parts], axis) for name in asked}

    def save(self, path: Path | str) -> None:
        """Writes the bundle to one file, completely or not at all; a folder gets `FILE_NAME`.

        Raises:
            FileProblem: If the place is not writable or the disk is full; an earlier bundle at
                `path` is then untouched.
        """
        path = bundle_path(Path(path))
        make_folder(path.parent)
        tensors = {
            f"member{number}.{name}": tensor
            for number, member in enumerate(self.members)
            for name, tensor in member.state_dict().items()
        }
        fitted, _ = self.encoder.state()
        tensors |= {f"encoder.{name}": tensor for name, tensor in fitted.items()}
        document = {key: value for key, value in self.document.items() if key != "sha256"}
        try:
            fail_point("bundle.before-write")
        except OSError as error:
            raise unwritable(path, error) from error
        write_archive(path, tensors, document, kind=KIND, schema_version=self._schema_version)

    def summary(self) -> str:
        """What the bundle predicts, from what, and where it comes from, in a few lines."""
        architecture, versions = self.document["architecture"], self.document["versions"]
        inputs = self.document["columns"]
        shown = ", ".join(inputs[:8]) + (f", … ({len(inputs)} in all)" if len(inputs) > 8 else "")
        if architecture["backbone"] == OWN:
            model = "a module of your own"
        elif "depth" not in architecture:
            model = "linear"
        else:
            model = f"{architecture['backbone']}, {architecture['depth']} x {architecture['width']}"
        sizes = sum(p.numel() for member in self.members for p in member.parameters())
        many = f"{len(self.members)} models" if len(self.members) > 1 else "1 model"
        many += ", each task by the one of its own best epoch" if self.serves else ""
        lines = [f"Predicts {len(self.tasks)} task{'s' * (len(self.tasks) > 1)}:"]
        lines += [f"  {task.name}: {task.describe()}" for task in self.tasks[:12]]
        if len(self.tasks) > 12:
            lines.append(f"  … ({len(self.tasks)} in all)")
        lines += [
            f"from {len(inputs)} column{'s' * (len(inputs) > 1)}: {shown}",
            f"with {many} ({model}; {sizes:,} parameters)",
            f"made by polytask {versions['polytask']}, torch {versions['torch']}, "
            f"threads: {self.document['threads']}",
        ]
        return "\n".join(lines)

    @property
    def _schema_version(self) -> int:
        """The oldest schema that says all there is to say."""
        return 2 if self.serves else 1

    def _describe(self) -> dict[str, Any]:
        """The manifest of a bundle that was made here."""
        import pandas

        _, encoder = self.encoder.state()
        return {
            "schema_version": self._schema_version,
            "members": [f"member{number}." for number in range(len(self.members))],
            "columns": [column.name for column in self.encoder.columns],
            "tasks": [task_to_json(task) for task in self.tasks],
            "groups": [
                {"name": group.name, "indices": list(group.indices)} for group in self.groups
            ],
            "form": self.form.to_json(),
            "encoder": encoder,
            "architecture": describe_architecture(self.members[0]),
            "run": copy.deepcopy(dict(self.run)),
            **({"serves": dict(self.serves)} if self.serves else {}),
            "versions": {
                "polytask": __version__,
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "pandas": pandas.__version__,
            },
            "threads": torch.get_num_threads(),
        }

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw outputs of all tasks for one batch."""
        with torch.inference_mode():
            runs = [member(inputs).outputs for member in self.members]
            outputs: dict[str, Tensor] = {}
            for group in self.groups:
                stacked = torch.stack([run[group.name] for run in runs])
                for place, task in enumerate(group.tasks):
                    one = stacked[:, :, place]
                    if self.serves:
                        one = one[self.serves[task.name]].unsqueeze(0)
                    outputs[task.name] = one[0] if len(one) == 1 else task.average(one)
        return outputs


def bundle_path(path: Path) -> Path:
    """The file itself: a folder stands for the bundle of the run in it."""
    return path / FILE_NAME if path.is_dir() else path


def _frozen_copy(member: MultiTaskModel | AdaptedModel) -> nn.Module:
    clone = copy.deepcopy(member).cpu().eval()
    return clone.requires_grad_(False)
