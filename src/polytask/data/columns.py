"""One column of the table as inputs of the model: numbers, truth values, dates, levels."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from polytask._checks import nearest
from polytask.errors import DataError, PolytaskWarning

from .parse import read_booleans, read_datetimes, read_levels, read_numbers
from .scale import Scale, Scaling, fit_scale
from .schema import ColumnKind, ColumnSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

    Floats = NDArray[np.float64]

MISSING, UNSEEN, FIRST_LEVEL = 0, 1, 2
"""Codes of an embedded category."""

FEW_UNSEEN = 10
"""A column of at least so many values, none of which was seen in training, gets a warning."""


class ColumnEncoder(ABC):
    """What `FeatureEncoder` does with one column; fitted on training rows, then constant."""

    name: str

    @property
    @abstractmethod
    def features(self) -> tuple[str, ...]:
        """Names of the numeric inputs that the column becomes; empty for an embedded one."""

    @abstractmethod
    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """Fills ``out [rows, features]``.

        Raises:
            DataError: If a cell is of another type than in training, or infinite.
        """

    @abstractmethod
    def describe(self) -> str:
        """How the column enters the model, in words."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """JSON values."""


@final
@dataclass(frozen=True)
class NumericColumn(ColumnEncoder):
    """A number: gaps filled with the training median and flagged, then scaled.

    Args:
        name: Name of the column.
        median: Of the training values; fills gaps.
        scale: The affine map; factor 0 means constant in training, then there is no value input.
        flagged: Whether a 0/1 input says where a gap was; only if training rows had gaps.
        gaps: Gaps in the training rows.
    """

    name: str
    median: float
    scale: Scale
    flagged: bool
    gaps: int

    @property
    def features(self) -> tuple[str, ...]:
        """The value, and the flag."""
        value = (self.name,) if self.scale.factor else ()
        return (*value, f"{self.name} (missing)") if self.flagged else value

    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """Scaled values and flags."""
        values, strangers = read_numbers(column)
        require_readable(column, strangers, "numbers")
        self.fill(values, out)

    def fill(self, values: Floats, out: NDArray[np.float32]) -> None:
        """Scaled values and flags, from numbers with NaN for gaps."""
        require_finite(self.name, values)
        gaps = np.isnan(values)
        if self.scale.factor:
            scaled = self.scale.apply(np.where(gaps, self.median, values))
            if (np.abs(scaled) > np.finfo(np.float32).max).any():
                raise DataError(
                    f"Column {self.name!r} has values up to {np.nanmax(np.abs(values)):g}, too "
                    "large for single precision; divide it, or use robust scaling."
                )
            out[:, 0] = scaled
        if self.flagged:
            out[:, -1] = gaps

    def describe(self) -> str:
        """Scale and gaps in words."""
        scale = self.scale
        if not scale.factor:
            text = "constant in the training rows, not used"
        elif scale.clip:
            text = f"median {scale.center:.4g}, unit {1 / scale.factor:.4g}, smooth clip at ±3"
        elif scale == Scale(0.0, 1.0, clip=False):
            text = "as it is"
        else:
            text = f"mean {scale.center:.4g}, deviation {1 / scale.factor:.4g}"
        return text + _gaps(self.gaps, f"filled with the median {self.median:.4g} and flagged")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"type": "numeric"} | asdict(self)


@final
@dataclass(frozen=True)
class BooleanColumn(ColumnEncoder):
    """A truth value as 0 or 1; gaps filled with the training mode and flagged.

    Args:
        name: Name of the column.
        mode: The more frequent value in training; fills gaps.
        constant: Whether training had one value only; then there is no value input.
        gaps: Gaps in the training rows; flagged if there were any.
    """

    name: str
    mode: float
    constant: bool
    gaps: int

    @property
    def features(self) -> tuple[str, ...]:
        """The value, and the flag."""
        value = () if self.constant else (self.name,)
        return (*value, f"{self.name} (missing)") if self.gaps else value

    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """0/1 and flags."""
        values, strangers = read_booleans(column)
        require_readable(column, strangers, "truth values")
        gaps = np.isnan(values)
        if not self.constant:
            out[:, 0] = np.where(gaps, self.mode, values)
        if self.gaps:
            out[:, -1] = gaps

    def describe(self) -> str:
        """Values and gaps in words."""
        text = "constant in the training rows, not used" if self.constant else "0 or 1"
        return text + _gaps(self.gaps, f"filled with {self.mode:.0f} and flagged")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"type": "boolean"} | asdict(self)


@final
@dataclass(frozen=True)
class DatetimeColumn(ColumnEncoder):
    """A date as time passed, year, and the places in year, week and day on circles.

    Args:
        name: Name of the column.
        date_format: How texts are read.
        start: First training date, seconds since 1970.
        elapsed: Days since `start`.
        year: The year.
        circles: Which of ``month``, ``weekday``, ``hour`` vary in training; each gives a sine and
            a cosine, both 0 for a gap.
    """

    name: str
    date_format: str
    start: float
    elapsed: NumericColumn
    year: NumericColumn
    circles: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Elapsed time (and flag), year, sines and cosines."""
        waves = [f"{self.name}.{c} ({f})" for c in self.circles for f in ("sin", "cos")]
        return (*self.elapsed.features, *self.year.features, *waves)

    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """All parts."""
        seconds, strangers = read_datetimes(column, self.date_format)
        require_readable(column, strangers, "dates")
        edge = len(self.elapsed.features)
        self.elapsed.fill((seconds - self.start) / 86400, out[:, :edge])
        parts = date_parts(seconds)
        if self.year.features:
            self.year.fill(parts["year"], out[:, edge : edge + 1])
            edge += 1
        for position, circle in enumerate(self.circles):
            angle = 2 * np.pi * parts[circle] / CIRCLES[circle]
            out[:, edge + 2 * position] = np.nan_to_num(np.sin(angle))
            out[:, edge + 2 * position + 1] = np.nan_to_num(np.cos(angle))

    def describe(self) -> str:
        """Parts in words."""
        parts = ["time passed"] * bool(self.elapsed.scale.factor) + ["year"] * bool(
            self.year.features
        )
        text = ", ".join([*parts, *(f"{circle} as sine and cosine" for circle in self.circles)])
        return (text or "constant, not used") + _gaps(self.elapsed.gaps, "filled and flagged")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"type": "datetime"} | asdict(self)


@final
@dataclass(frozen=True)
class OneHotColumn(ColumnEncoder):
    """A category with few levels: one 0/1 input per level, and one for gaps if training had any.

    A level that training rows did not have sets none of them, as in scikit-learn's
    ``OneHotEncoder(handle_unknown="ignore")``.

    Args:
        name: Name of the column.
        levels: Training levels in the order of their texts.
        gaps: Gaps in the training rows.
    """

    name: str
    levels: tuple[str, ...]
    gaps: int

    @property
    def features(self) -> tuple[str, ...]:
        """One per level, and the flag."""
        values = tuple(f"{self.name}={level}" for level in self.levels)
        return (*values, f"{self.name} (missing)") if self.gaps else values

    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """Ones at the levels."""
        codes = level_codes(column, self.levels)
        out[:] = 0.0
        seen = codes >= FIRST_LEVEL
        out[np.flatnonzero(seen), codes[seen] - FIRST_LEVEL] = 1.0
        if self.gaps:
            out[:, -1] = codes == MISSING

    def describe(self) -> str:
        """Levels in words."""
        text = f"one input for each of {len(self.levels)} levels"
        return text + (f" and one for {self.gaps} gaps" if self.gaps else "")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"type": "one-hot"} | asdict(self)


@final
@dataclass(frozen=True)
class EmbeddedColumn(ColumnEncoder):
    """A category with many levels: a code for an embedding (0 missing, 1 unseen, 2 … levels).

    Args:
        name: Name of the column.
        levels: Training levels in the order of their texts.
        gaps: Gaps in the training rows.
    """

    name: str
    levels: tuple[str, ...]
    gaps: int

    @property
    def features(self) -> tuple[str, ...]:
        """None: the column is an embedding."""
        return ()

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return FIRST_LEVEL + len(self.levels)

    def write(self, column: Series, out: NDArray[np.float32]) -> None:
        """Nothing: the column has no numeric inputs."""

    def codes(self, column: Series) -> NDArray[np.int64]:
        """Codes ``[rows]``."""
        return level_codes(column, self.levels)

    def describe(self) -> str:
        """Levels in words."""
        return f"embedding of {len(self.levels)} levels" + _gaps(self.gaps, "a level of their own")

    def state(self) -> dict[str, Any]:
        """JSON values."""
        return {"type": "embedding"} | asdict(self)


CIRCLES = {"month": 12.0, "weekday": 7.0, "hour": 24.0}
"""Parts of a date and after how many units they begin again."""


def date_parts(seconds: Floats) -> dict[str, Floats]:
    """Year, month (0 to 11), weekday (0 is Monday) and hour of the day; NaN for gaps."""
    known = ~np.isnan(seconds)
    whole = np.where(known, np.floor(seconds), 0).astype(np.int64).astype("datetime64[s]")
    months = whole.astype("datetime64[M]").astype(np.int64)
    parts = {
        "year": np.floor_divide(months, 12) + 1970.0,
        "month": np.mod(months, 12).astype(np.float64),
        "weekday": np.mod(np.floor_divide(seconds, 86400) + 3, 7),  # 1 January 1970: a Thursday
        "hour": np.mod(seconds, 86400) / 3600,
    }
    return {name: np.where(known, values, np.nan) for name, values in parts.items()}


def fit_column(
    column: Series, schema: ColumnSchema, *, scaling: Scaling, one_hot_up_to: int
) -> ColumnEncoder:
    """Fits the encoder of one column on training rows.

    Args:
        column: Its training rows.
        schema: What the column is.
        scaling: Of numbers and dates.
        one_hot_up_to: Categories with more levels become embeddings.

    Raises:
        DataError: If a cell contradicts the kind, or is infinite.
    """
    name = schema.name
    if schema.kind is ColumnKind.NUMERIC:
        values, strangers = read_numbers(column)
        require_readable(column, strangers, "numbers")
        return _fit_numeric(name, values, scaling)
    if schema.kind is ColumnKind.BOOLEAN:
        values, strangers = read_booleans(column)
        require_readable(column, strangers, "truth values")
        known = values[~np.isnan(values)]
        constant = not len(known) or bool(known.min() == known.max())
        mode = float(known.mean() > 0.5) if len(known) else 0.0
        return BooleanColumn(name, mode, constant, len(values) - len(known))
    if schema.kind is ColumnKind.DATETIME:
        return _fit_datetime(column, schema, scaling)
    codes, levels = read_levels(column)
    gaps = int((codes < 0).sum())
    if len(levels) > one_hot_up_to:
        return EmbeddedColumn(name, tuple(sorted(levels)), gaps)
    if len(levels) == 1 and not gaps:
        levels = []  # a constant input
    return OneHotColumn(name, tuple(sorted(levels)), gaps if levels else 0)


def _fit_numeric(name: str, values: Floats, scaling: Scaling) -> NumericColumn:
    require_finite(name, values)
    known = values[~np.isnan(values)]
    gaps = len(values) - len(known)
    flagged = 0 < gaps < len(values)
    if not len(known) or known.min() == known.max():
        median = float(known[0]) if len(known) else 0.0
        return NumericColumn(name, median, Scale(median, 0.0, clip=False), flagged, gaps)
    scale = fit_scale(values, scaling)
    if not scale.factor or not np.isfinite(scale.center):
        raise DataError(
            f"Column {name!r} runs from {known.min():g} to {known.max():g}, which cannot be scaled "
            "to numbers near 1; multiply it by a constant."
        )
    return NumericColumn(name, float(np.median(known)), scale, flagged, gaps)


def _fit_datetime(column: Series, schema: ColumnSchema, scaling: Scaling) -> DatetimeColumn:
    name = schema.name
    seconds, strangers = read_datetimes(column, schema.date_format)
    require_readable(column, strangers, "dates")
    known = seconds[~np.isnan(seconds)]
    start = float(known.min()) if len(known) else 0.0
    parts = date_parts(known)
    year = _fit_numeric(f"{name}.year", parts["year"], scaling)
    circles = [c for c in CIRCLES if len(np.unique(parts[c])) > 1]
    elapsed = _fit_numeric(f"{name}.elapsed", (seconds - start) / 86400, scaling)
    return DatetimeColumn(name, schema.date_format, start, elapsed, year, tuple(circles))


def column_encoder_from_state(state: dict[str, Any]) -> ColumnEncoder:
    """The inverse of `ColumnEncoder.state`."""
    kind, name = state["type"], state["name"]
    if kind == "numeric":
        return NumericColumn(
            name, state["median"], Scale(**state["scale"]), state["flagged"], state["gaps"]
        )
    if kind == "boolean":
        return BooleanColumn(name, state["mode"], state["constant"], state["gaps"])
    if kind == "datetime":
        elapsed, year = (
            NumericColumn(
                s["name"], s["median"], Scale(**s["scale"]), s["flagged"], s["gaps"]
            )
            for s in (state["elapsed"], state["year"])
        )  # fmt: skip
        circles = tuple(state["circles"])
        return DatetimeColumn(name, state["date_format"], state["start"], elapsed, year, circles)
    levels = tuple(state["levels"])
    if kind == "one-hot":
        return OneHotColumn(name, levels, state["gaps"])
    assert kind == "embedding", kind
    return EmbeddedColumn(name, levels, state["gaps"])


def level_codes(column: Series, levels: tuple[str, ...]) -> NDArray[np.int64]:
    """Codes of the cells: 0 missing, 1 unseen in training, 2 … for `levels`."""
    codes, found = read_levels(column)
    positions = {level: FIRST_LEVEL + place for place, level in enumerate(levels)}
    lookup = np.array([*(positions.get(level, UNSEEN) for level in found), MISSING], dtype=np.int64)
    if len(codes) >= FEW_UNSEEN and found and (lookup[:-1] == UNSEEN).all() and levels:
        warnings.warn(
            f"Column {column.name!r}: no value, such as {found[0]!r}, occurred in training, where "
            f"it had {len(levels)} levels such as {levels[0]!r}.",
            PolytaskWarning,
            stacklevel=2,
        )
    return lookup[codes]


def require_readable(column: Series, strangers: NDArray[np.bool_], what: str) -> None:
    """Raises `DataError` if a cell is of another type than the column was in training."""
    if strangers.any():
        count = int(strangers.sum())
        example = str(column[strangers].iloc[0])
        raise DataError(
            f"Column {column.name!r} must hold {what}, as in training; {count} of {len(column)} "
            f"cells do not, for example {example[:40]!r}. Correct them, or leave them empty."
        )


def require_finite(name: str, values: Floats) -> None:
    """Raises `DataError` if a value is infinite."""
    count = int(np.isinf(values).sum())
    if count:
        raise DataError(
            f"Column {name!r} has {count} infinite value{'s' * (count > 1)}; replace them by "
            "numbers, or leave the cells empty."
        )


def require_columns(frame: DataFrame, names: list[str]) -> None:
    """Raises `DataError` if the table lacks a column."""
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        shown = ", ".join(repr(name) for name in lacking[:8]) + ", …" * (len(lacking) > 8)
        near = nearest(lacking[0], [str(name) for name in frame.columns])
        hint = f" (is {near!r} meant?)" if near and len(lacking) == 1 else ""
        raise DataError(
            f"The table lacks the column{'s' * (len(lacking) > 1)} {shown}{hint}, which the model "
            "was trained with; add an empty column if the values are unknown."
        )


def _gaps(count: int, what: str) -> str:
    return f"; {count} gap{'s' * (count > 1)} {what}" if count else ""
