"""Reading a bundle back: arrays and JSON only, no code."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polytask._files import archive_checksum, read_archive
from polytask.data.batch import Batch
from polytask.data.encode import FeatureEncoder
from polytask.data.forms import form_from_json
from polytask.errors import CorruptFile, FileProblem, InvalidArgument, PolytaskError
from polytask.sharing import AdaptedModel, MultiTaskModel, adapt
from polytask.tasks import Task, TaskGroup, TaskSpec, task_from_json

from .architecture import OWN, build_model
from .bundle import FILE_NAME, KIND, SCHEMA_VERSION, Bundle, bundle_path


def load(
    path: Path | str,
    *,
    model: nn.Module | None = None,
    task_types: Sequence[type[Task] | type[TaskSpec]] = (),
) -> Bundle:
    """Reads a bundle.

    Args:
        path: The file, or the folder of a run.
        model: Your own module, if the bundle was made from one: files hold no code. Its weights
            are not changed, the bundle keeps a copy.
        task_types: The classes of custom tasks.

    Raises:
        FileProblem: If there is no such file.
        CorruptFile: If it is truncated, damaged, no bundle, or of a newer schema version.
        InvalidArgument: If `model` is missing, not needed, or of other parameters.
        UnknownName: If a custom task's class is not among `task_types`.

    Example:
        >>> load("missing.safetensors")
        Traceback (most recent call last):
        polytask.errors.FileProblem: `missing.safetensors` does not exist. Check the path.
    """
    path = Path(path)
    file = bundle_path(path)
    if file != path and not file.exists():
        raise FileProblem(f"The folder `{path}` has no {FILE_NAME}: no run was finished there.")
    tensors, document = read_archive(file, kind=KIND, schema_version=SCHEMA_VERSION)
    try:
        return _assemble(file, tensors, document, model, task_types)
    except PolytaskError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        raise CorruptFile(
            f"`{file}` does not hold a complete bundle ({type(error).__name__}: {error}). "
            "Write it again."
        ) from error


def _assemble(
    path: Path,
    tensors: Mapping[str, Tensor],
    document: dict[str, Any],
    model: nn.Module | None,
    task_types: Sequence[type[Task] | type[TaskSpec]],
) -> Bundle:
    tasks = [task_from_json(entry, task_types) for entry in document["tasks"]]
    groups = tuple(
        TaskGroup(entry["name"], tuple(tasks[i] for i in entry["indices"]), tuple(entry["indices"]))
        for entry in document["groups"]
    )
    encoder = FeatureEncoder.from_state(_part(tensors, "encoder."), document["encoder"])
    states = [_part(tensors, prefix) for prefix in document["members"]]
    architecture = document["architecture"]
    members: list[MultiTaskModel | AdaptedModel]
    if architecture["backbone"] == OWN:
        members = _own_members(path, model, groups, encoder, states)
    elif model is not None:
        raise InvalidArgument(
            f"`model` must be left out: `{path}` holds a model of polytask's own. "
            "Call load(path) without it."
        )
    else:
        members = [build_model(architecture, groups) for _ in states]
        for member, state in zip(members, states, strict=True):
            problem = _mismatch(member.state_dict(), state)
            if problem:
                raise CorruptFile(f"`{path}` contradicts itself: {problem}. Write it again.")
            member.load_state_dict(state)
    form = form_from_json(document["form"], [task.spec for task in tasks])
    document = {**document, "sha256": archive_checksum(path)}
    serves = document.get("serves", {})
    return Bundle(members, form, encoder, document["run"], serves, document)


def _own_members(
    path: Path,
    model: nn.Module | None,
    groups: Sequence[TaskGroup],
    encoder: FeatureEncoder,
    states: Sequence[Mapping[str, Tensor]],
) -> list[MultiTaskModel | AdaptedModel]:
    if model is None:
        raise InvalidArgument(
            f"`model` must be given: `{path}` was made from a module of your own, and files hold "
            "no code. Build the same module and call load(path, model=module)."
        )
    adapted = adapt(copy.deepcopy(model).cpu(), groups, _example(encoder))
    assert isinstance(adapted, MultiTaskModel | AdaptedModel)
    members = [copy.deepcopy(adapted) for _ in states]
    for member, state in zip(members, states, strict=True):
        problem = _mismatch(member.state_dict(), state)
        if problem:
            raise InvalidArgument(
                f"`model` must have the parameters that `{path}` holds; {problem}. "
                "Build the module as it was built for training."
            )
        member.load_state_dict(state)
    return members


def _mismatch(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str:
    """The first difference in names, shapes or types, in words; empty if there is none."""
    for name, tensor in own.items():
        if name not in stored:
            return f"{name!r} is in the model and not in the file"
        there = stored[name]
        if there.shape != tensor.shape:
            shapes = f"{list(there.shape)} in the file and {list(tensor.shape)} in the model"
            return f"{name!r} is {shapes}"
        if there.dtype != tensor.dtype:
            return f"{name!r} is {there.dtype} in the file and {tensor.dtype} in the model"
    extra = [name for name in stored if name not in own]
    return f"{extra[0]!r} is in the file and not in the model" if extra else ""


def _example(encoder: FeatureEncoder) -> Batch:
    """Two rows of zeros, on which a module shows what it returns."""
    inputs: dict[str, Tensor] = {}
    if encoder.numeric_width:
        inputs["numeric"] = torch.zeros(2, encoder.numeric_width)
    if encoder.cardinalities:
        inputs["categories"] = torch.zeros(2, len(encoder.cardinalities), dtype=torch.int64)
    return Batch(inputs, {}, {}, None, torch.arange(2))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
