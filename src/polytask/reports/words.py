"""Numbers and verdicts as a reader wants them."""

from collections.abc import Mapping
from typing import Any

MISSING = "–"
MARKS = {
    "better": "▲",
    "worse": "▼",
    "no clear difference": "○",
}
"""Verdict → sign; the words above the table explain them, and the colour only repeats them."""
VERDICTS = {
    "ok": "✓",
    "overfits": "✖",
    "underfits": "▽",
    "unstable": "≈",
    "too few rows": "…",
}
"""Verdict about a task → sign."""
BASELINES = {
    "linear": "a linear model",
    "single": "one network per task",
    "mean": "the training average",
}
SETS = {"train": "training", "valid": "validation", "test": "test"}


def number(value: float | None, digits: int = 4) -> str:
    """Four significant digits without exponents where that is readable.

    Example:
        >>> [number(x) for x in (0.812345, 54.321, 12345.6, 0.0, None, 3e-9)]
        ['0.8123', '54.32', '12,346', '0', '–', '3e-09']
    """
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10 ** (digits - 1):
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.3g}"
    elif size < 1e-3:
        text = f"{value:.2g}"
    else:
        text = f"{value:#.{digits}g}".rstrip(".")
    return text.replace("-", "−") if size >= 1e-3 else text


def short(value: float) -> float:
    """Five significant digits: more cannot be seen in a drawing, and many points stay small.

    Example:
        >>> short(0.12345678)
        0.12346
    """
    return float(f"{value:.5g}")


def percent(share: float | None) -> str:
    r"""A signed share in per cent.

    Example:
        >>> percent(0.0314), percent(-0.2), percent(None)
        ('+3.1\xa0%', '−20.0\xa0%', '–')
    """
    return MISSING if share is None else f"{100 * share:+.1f}\N{NO-BREAK SPACE}%".replace("-", "−")


def flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of (dotted name, value in words).

    Example:
        >>> flat({"model": {"width": 256, "betas": [0.9, 0.99]}, "id": []})
        [('model.width', '256'), ('model.betas', '0.9, 0.99'), ('id', 'none')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            for position, item in enumerate(value, 1):
                rows += flat(item, f"{name}[{position}].")
        else:
            rows.append((name, _said(value)))
    return rows


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], (), {}):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(_said(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
