"""The presets of ``--defence``: what each one changes against the defaults, and in words."""

from dataclasses import dataclass, field
from typing import Any, final

Place = tuple[str, str]
"""Section and option of the run file."""


@final
@dataclass(frozen=True)
class Preset:
    """One preset.

    Args:
        name: As it is typed.
        one_line: What it is for, as a sentence.
        cost: Besides that of `safe`, on a CPU, where the members of an ensemble add up.
        values: (section, option) → value; options that a user sets explicitly win.
        penalties: ``[[penalties]]`` entries, where the user gives none.
    """

    name: str
    one_line: str
    cost: str
    values: dict[Place, Any] = field(default_factory=dict)
    penalties: tuple[dict[str, Any], ...] = ()


_STRONG: dict[Place, Any] = {
    ("model", "backbone"): "tabm",
    ("model", "members"): 32,
    ("model", "embedding"): "piecewise-linear",
    ("optimizer", "learning_rate"): 2e-3,
}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "off",
            "Nothing is done against overfitting: for teaching and for comparisons.",
            "none",
            {
                ("data", "numeric_scaling"): "standard",
                ("model", "dropout"): 0.0,
                ("optimizer", "weight_decay"): 0.0,
                ("optimizer", "clip_norm"): 0.0,
                ("training", "stopping"): "none",
            },
        ),
        Preset(
            "safe",
            "Robust scaling, dropout, weight decay, clipping, early stopping: the default.",
            "none",
        ),
        Preset(
            "strong",
            "As safe, with an ensemble of 32 networks that share weights, and embedded numbers.",
            "up to 30 plain updates",
            _STRONG,
        ),
        Preset(
            "small",
            "For few rows: an ensemble, mixed rows, the epoch of five splits, then all rows.",
            "six times strong below 2,000 rows, else twice",
            {
                **_STRONG,
                ("model", "embedding"): "none",
                ("inputs", "mixup"): 0.2,
                ("training", "refit"): True,
                ("training", "splits"): 0,
            },
        ),
        Preset(
            "linear",
            "A linear model with a penalty across tasks, chosen by cross-validation.",
            "seconds",
            {("data", "numeric_scaling"): "standard"},
        ),
    )
}


def describe_preset(name: str) -> list[str]:
    """What a preset changes against the defaults, one line per option.

    Example:
        >>> describe_preset("off")[1]
        'model.dropout = 0.0'
    """
    preset = PRESETS[name]
    lines = [
        f"{section}.{key} = {_shown(value)}" for (section, key), value in preset.values.items()
    ]
    return lines + [
        f"penalty {entry['name']} = {entry['strength']:g}" for entry in preset.penalties
    ]


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
