"""From the estimator's parameters to one run configuration."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from polytask._checks import require
from polytask.config import read_toml, run_from_document
from polytask.config.run import RunConfig
from polytask.errors import InvalidArgument, Unsupported
from polytask.tasks import TaskSpec
from polytask.tasks.catalogue import SPECS

Document = dict[str, Any]

PLACES: dict[str, tuple[str, str]] = {
    "width": ("model", "width"),
    "depth": ("model", "depth"),
    "dropout": ("model", "dropout"),
    "learning_rate": ("optimizer", "learning_rate"),
    "weight_decay": ("optimizer", "weight_decay"),
    "batch_size": ("training", "batch_size"),
    "epochs": ("training", "epochs"),
    "patience": ("training", "patience"),
    "validation_fraction": ("split", "valid"),
}
"""Parameter of the estimator → option of the run file that it overrides."""

OWN = "MultiTaskEstimator"


def base_document(config: object) -> Document:
    """The values that the parameters override.

    Args:
        config: None, a `RunConfig`, a nested mapping as in a run file, or the path of one.

    Raises:
        InvalidArgument: If it is something else.
        FileProblem: If the run file cannot be read.
    """
    if config is None:
        return {}
    if isinstance(config, RunConfig):
        # What was not chosen is left out: it must not count as chosen where it has no meaning.
        return config.model_dump(mode="json", exclude_unset=True)
    if isinstance(config, Mapping):
        document: Document = plain(config)
        return document
    if isinstance(config, str | Path):
        return read_toml(Path(config))
    raise InvalidArgument(
        "`config` must be a RunConfig, a nested mapping or the path of a run file; got "
        f"{type(config).__name__}."
    )


def target_documents(targets: object) -> list[Document] | None:
    """The parameter ``targets`` as ``[[targets]]`` entries; None for None.

    Raises:
        InvalidArgument: If it, or one of them, has another form.
        Unsupported: If a specification says what a run file cannot.

    Example:
        >>> from polytask.tasks import Regression
        >>> target_documents(["sex", ("visits", "count")])
        [{'name': 'sex'}, {'name': 'visits', 'kind': 'count'}]
        >>> target_documents([Regression("age", loss="huber")])
        [{'name': 'age', 'kind': 'regression', 'loss': 'huber'}]
    """
    if targets is None:
        return None
    if isinstance(targets, str | TaskSpec):
        targets = [targets]
    if isinstance(targets, np.ndarray):
        targets = targets.tolist()
    if not isinstance(targets, Sequence) or not targets:
        raise InvalidArgument(
            "`targets` must be a list of column names, (name, kind) pairs or task specifications; "
            f"got {targets!r}."
        )
    return [_target(target) for target in targets]


def _target(target: object) -> Document:
    if isinstance(target, str):
        return {"name": str(target)}
    if isinstance(target, Mapping) and "name" in target:
        return dict(target)
    if isinstance(target, TaskSpec):
        return _from_spec(target)
    if (
        isinstance(target, tuple | list)
        and len(target) == 2
        and all(isinstance(part, str) for part in target)
    ):
        return {"name": target[0], "kind": target[1]}
    raise InvalidArgument(
        "Each of `targets` must be a column name, a (name, kind) pair or a task specification "
        f'such as Regression("age"); got {target!r}.'
    )


def _from_spec(spec: TaskSpec) -> Document:
    if type(spec) not in SPECS.values():
        raise Unsupported(
            f"`targets` cannot hold {type(spec).__name__}({spec.name!r}): the estimator knows the "
            f"kinds {', '.join(SPECS)}. Train tasks of your own with polytask.Trainer."
        )
    document: Document = {"name": spec.name, "kind": spec.kind}
    for field in fields(spec):
        value = vars(spec)[field.name]
        default = None if field.default is MISSING else field.default
        if field.name == "name" or value == default:
            continue
        if field.name in ("center", "scale", "classes"):
            raise Unsupported(
                f"`{field.name}` of target {spec.name!r} cannot be set here: the estimator learns "
                "it from the training rows. Leave it out, or use polytask.Trainer."
            )
        document[field.name] = plain(value)
    return document


def overridden(document: Document, options: Mapping[str, Any]) -> Document:
    """A copy of `document` with every option that is not None put in its place.

    Args:
        document: Nested tables.
        options: Parameter of `PLACES` → value.

    Example:
        >>> overridden({"model": {"depth": 2}}, {"width": 8, "epochs": None})
        {'model': {'depth': 2, 'width': 8}}
    """
    result = copy.deepcopy(document)
    for option, value in options.items():
        if value is not None:
            put(result, *PLACES[option], plain(value))
    return result


def put(document: Document, section: str, key: str, value: Any) -> None:
    """``document[section][key] = value``.

    Raises:
        InvalidArgument: If the section is no table.
    """
    table = document.setdefault(section, {})
    require(isinstance(table, dict), f"config.{section}", "be a table of options", table)
    table[key] = value


def put_balance(document: Document, balance: object, task_weights: object) -> None:
    """``balance`` and ``task_weights`` in their places; weights alone mean fixed weights.

    Args:
        document: With its targets.
        balance: None, the name of a method, or the options of ``[balance]``.
        task_weights: None, a mapping by task name, or one weight per task in their order.

    Raises:
        InvalidArgument: If one of them has another form, or the number of weights is wrong.
    """
    if isinstance(balance, Mapping):
        document["balance"] = plain(balance)
    elif balance is not None:
        put(document, "balance", "name", plain(balance))
    if task_weights is None:
        return
    weights = plain(task_weights)
    if isinstance(weights, list):
        names = [target["name"] for target in document["targets"]]
        if len(weights) != len(names):
            raise InvalidArgument(
                f"`task_weights` must have one weight per task; got {len(weights)} for "
                f"{len(names)} tasks: {', '.join(names[:8])}{', …' * (len(names) > 8)}."
            )
        weights = dict(zip(names, weights, strict=True))
    require(isinstance(weights, dict), "task_weights", "be a mapping or a list", task_weights)
    put(document, "balance", "weights", weights)
    document["balance"].setdefault("name", "fixed")


def finished(document: Document) -> RunConfig:
    """The typed run; a sentence about a parameter names the parameter.

    Raises:
        PolytaskError: For an unknown option or a value that its rule forbids.
    """
    sources = [(place, f"`{option}` of {OWN}") for option, place in PLACES.items()]
    return run_from_document(document, source=OWN, sources=sources)


def seed_of(random_state: object) -> int | None:
    """An integer is the seed itself; a ``RandomState`` gives its next number; None gives None.

    Raises:
        InvalidArgument: If it is something else, or negative.
    """
    if random_state is None:
        return None
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        require(bool(random_state >= 0), "random_state", "be at least 0", random_state)
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    raise InvalidArgument(
        "`random_state` must be None, a whole number or a numpy.random.RandomState; got "
        f"{random_state!r}."
    )


def plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python values, tuples as lists, at any depth.

    Example:
        >>> plain({"width": np.int64(8), "betas": (0.9, np.float32(0.5))})
        {'width': 8, 'betas': [0.9, 0.5]}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
