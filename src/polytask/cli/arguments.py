"""From what was typed to a typed run: run file, then options, then ``--set``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from polytask._checks import sentence
from polytask.config.overrides import apply_overrides
from polytask.config.run import RunConfig
from polytask.config.toml import read_toml
from polytask.config.validate import Path_, run_from_document
from polytask.errors import InvalidArgument


@final
@dataclass(frozen=True)
class Typed:
    """The options of ``fit`` that change the run; None and empty mean "not typed".

    Args:
        targets: ``NAME`` or ``NAME:KIND``.
        task_column: As the option.
        group: As the option.
        time: As the option.
        weight: As the option.
        id: As the option.
        ignore: As the option.
        valid: A fraction, or a file.
        balance: Name of a balancing method.
        defence: Name of a preset.
        penalties: ``NAME=STRENGTH`` each.
        seed: As the option.
        config: The run file.
        overrides: ``key=value`` each.
    """

    targets: Sequence[str] = ()
    task_column: str | None = None
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    id: Sequence[str] = ()
    ignore: Sequence[str] = ()
    valid: str | None = None
    balance: str | None = None
    defence: str | None = None
    penalties: Sequence[str] = ()
    seed: int | None = None
    config: Path | None = None
    overrides: Sequence[str] = ()


def merge(typed: Typed) -> tuple[RunConfig, Path | None]:
    """The run that was asked for, and the file of validation rows if there is one.

    An option replaces the same option of the run file; targets that are typed replace the list,
    and keep the details that the file gives to a target of the same name.

    Raises:
        PolytaskError: One sentence that names the file or option.
    """
    document: dict[str, Any] = {} if typed.config is None else read_toml(typed.config)
    sources: list[tuple[Path_, str]] = []

    def put(section: str | None, key: str, value: Any, option: str) -> None:
        if value is None or value == []:
            return
        place: Path_ = (key,) if section is None else (section, key)
        table = document if section is None else document.setdefault(section, {})
        if not isinstance(table, dict):
            raise InvalidArgument(f"{typed.config}: " + sentence(str(section), "be a table", table))
        table[key] = value
        sources.append((place, option))

    fraction, valid_file = _valid(typed.valid)
    if typed.targets:
        document["targets"] = _targets(typed.targets, document.get("targets"))
        sources.append((("targets",), "--target"))
    put("data", "task_column", typed.task_column, "--task-column")
    put("data", "group", typed.group, "--group")
    put("data", "time", typed.time, "--time")
    put("data", "weight", typed.weight, "--weight")
    put("data", "id", list(typed.id), "--id")
    put("data", "ignore", list(typed.ignore), "--ignore")
    put("split", "valid", fraction, f"--valid {typed.valid}")
    put("balance", "name", typed.balance, f"--balance {typed.balance}")
    put(None, "defence", typed.defence, f"--defence {typed.defence}")
    put(None, "penalties", [_penalty(text) for text in typed.penalties], "--penalty")
    put(None, "seed", typed.seed, f"--seed {typed.seed}")
    document, overridden = apply_overrides(document, typed.overrides)
    run = run_from_document(
        document,
        source="options" if typed.config is None else str(typed.config),
        sources=[*sources, *overridden],
        valid_file=valid_file is not None,
    )
    return run, valid_file


def _targets(typed: Sequence[str], known: object) -> list[dict[str, Any]]:
    from polytask.tasks.infer import parse_target

    entries = known if isinstance(known, list) else []
    details = {entry.get("name"): entry for entry in entries if isinstance(entry, dict)}
    targets = []
    for text in typed:
        name, kind = parse_target(text)
        entry = dict(details.get(name, {"name": name}))
        if kind is not None:
            entry["kind"] = kind
        targets.append(entry)
    return targets


def _penalty(text: str) -> dict[str, Any]:
    """``l1=0.001`` as a ``[[penalties]]`` entry."""
    name, _, strength = text.partition("=")
    try:
        return {"name": name.strip(), "strength": float(strength)}
    except ValueError:
        raise InvalidArgument(
            sentence("--penalty", "have the form NAME=STRENGTH, such as l1=0.001", text)
        ) from None


def _valid(text: str | None) -> tuple[float | None, Path | None]:
    """``--valid``: a fraction, or a file."""
    if text is None:
        return None, None
    try:
        fraction = float(text)
    except ValueError:
        return None, Path(text)
    if not 0 <= fraction < 1:
        raise InvalidArgument(
            sentence("--valid", "be a file or a fraction of at least 0 and below 1", text)
        )
    return fraction, None
