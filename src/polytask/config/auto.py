"""Options that say "auto", decided from the rest of the run."""

from typing import Any

from .presets import PRESETS
from .run import PenaltyConfig, RunConfig, Section

RIDGES = ("l2", "elastic-net")
"""Penalties that replace weight decay."""


def decide(run: RunConfig) -> RunConfig:
    """The run with its preset applied and every ``auto`` replaced; run files show the decision.

    A preset changes the defaults: an option that was set explicitly keeps its value, and an
    option of the preset that has no meaning beside it is left at its default.

    Weight decay: 0 where a ridge penalty takes its place, unless it was set explicitly.

    Balancing: scheduled if task weights are scheduled, fixed if weights are given, pooled for a
    long table (each row has one label, so each row gets one vote), else equal.

    Args:
        run: What the user said.

    Example:
        >>> long = RunConfig(targets=({"name": "y"},), data={"task_column": "school"})
        >>> decide(long).balance.name
        'pooled'
        >>> decide(RunConfig(targets=({"name": "y"},), defence="off")).model.dropout
        0.0
    """
    run = _without_double_decay(_with_preset(run))
    balance = run.balance
    if balance.name != "auto" or run.defence == "linear":
        return run
    if balance.schedule:
        name = "scheduled"
    elif balance.weights or any(target.weight != 1.0 for target in run.targets):
        name = "fixed"
    else:
        name = "equal" if run.data.task_column is None else "pooled"
    return run.model_copy(update={"balance": balance.model_copy(update={"name": name})})


def _with_preset(run: RunConfig) -> RunConfig:
    from .conditions import CONDITIONS

    preset = PRESETS[run.defence]
    mine = {
        (section, key): value
        for (section, key), value in preset.values.items()
        if key not in getattr(run, section).model_fields_set
    }
    applied = _updated(run, mine)
    useless = {(c.section, c.key) for c in CONDITIONS if not c.applies(applied)}
    if useless & mine.keys():
        applied = _updated(run, {p: v for p, v in mine.items() if p not in useless})
    if preset.penalties and "penalties" not in run.model_fields_set:
        entries = tuple(PenaltyConfig(**entry) for entry in preset.penalties)
        applied = applied.model_copy(update={"penalties": entries})
    return applied


def _without_double_decay(run: RunConfig) -> RunConfig:
    ridges = any(entry.name in RIDGES for entry in run.penalties)
    if not ridges or "weight_decay" in run.optimizer.model_fields_set:
        return run
    return _updated(run, {("optimizer", "weight_decay"): 0.0})


def _updated(run: RunConfig, values: dict[tuple[str, str], Any]) -> RunConfig:
    sections: dict[str, dict[str, Any]] = {}
    for (section, key), value in values.items():
        sections.setdefault(section, {})[key] = value
    update: dict[str, Section] = {
        name: getattr(run, name).model_copy(update=changed) for name, changed in sections.items()
    }
    return run.model_copy(update=update)
