"""From columns to tensors: fitted on training rows, then the same for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import at_least, one_of, unknown
from polytask.errors import DataError

from .columns import (
    ColumnEncoder,
    EmbeddedColumn,
    column_encoder_from_state,
    fit_column,
    require_columns,
)
from .scale import Scaling
from .schema import ColumnSchema

if TYPE_CHECKING:
    from pandas import DataFrame


@final
@dataclass(frozen=True)
class FeatureEncoder:
    """All input columns as ``{"numeric": float32 [rows, n], "categories": int64 [rows, c]}``.

    A key with no columns is absent. Everything that is learned from data is learned from the rows
    given to `fit`.

    Args:
        columns: One fitted encoder per input column, in the table's order.

    Example:
        >>> import pandas
        >>> from polytask.data.schema import infer_schema
        >>> train = pandas.DataFrame({"age": [20.0, None, 40.0], "city": ["Ulm", "Bonn", "Ulm"]})
        >>> encoder = FeatureEncoder.fit(train, infer_schema(train).columns)
        >>> encoder.feature_names
        ('age', 'age (missing)', 'city=Bonn', 'city=Ulm')
        >>> encoder.transform(pandas.DataFrame({"age": [30], "city": ["Jena"]}))["numeric"]
        tensor([[0., 0., 0., 0.]])
    """

    columns: tuple[ColumnEncoder, ...]

    @classmethod
    def fit(
        cls,
        frame: DataFrame,
        columns: Sequence[ColumnSchema],
        *,
        scaling: Scaling = "robust",
        one_hot_up_to: int = 9,
    ) -> Self:
        """Learns medians, scales and levels.

        Args:
            frame: Training rows only.
            columns: The input columns; unused kinds (identifier, constant, ignore) are skipped.
            scaling: ``robust`` (median, quartiles, smooth clip), ``standard`` (mean, deviation)
                or ``none``.
            one_hot_up_to: A category with more levels becomes an embedding.

        Raises:
            DataError: If a column is missing, contradicts its kind, has infinite values, or if no
                input is left.
        """
        one_of("data.numeric_scaling", scaling, ("robust", "standard", "none"))
        at_least("data.one_hot_up_to", one_hot_up_to, 0)
        used = [column for column in columns if column.used]
        require_columns(frame, [column.name for column in used])
        fitted = tuple(
            fit_column(frame[column.name], column, scaling=scaling, one_hot_up_to=one_hot_up_to)
            for column in used
        )
        encoder = cls(fitted)
        if not encoder.numeric_width and not encoder.cardinalities:
            raise DataError(
                "No input column is left: every column is a target, an identifier, constant in "
                "the training rows or ignored. Set kinds with `--set data.kinds.NAME=numeric`."
            )
        return encoder

    def transform(self, frame: DataFrame) -> dict[str, Tensor]:
        """Encodes any rows; one that has never been seen is no error.

        Args:
            frame: Has at least the input columns, in any order.

        Shapes:
            ``numeric``: ``[rows, numeric_width]``; ``categories``: ``[rows, cardinalities]``.

        Raises:
            DataError: If a column is missing, has another type than in training, or holds an
                infinite value.
        """
        require_columns(frame, [column.name for column in self.columns])
        numeric = np.zeros((len(frame), self.numeric_width), dtype=np.float32)
        edge = 0
        for column in self.columns:
            width = len(column.features)
            column.write(frame[column.name], numeric[:, edge : edge + width])
            edge += width
        inputs = {"numeric": torch.from_numpy(numeric)} if self.numeric_width else {}
        if self._embedded:
            codes = [column.codes(frame[column.name]) for column in self._embedded]
            inputs["categories"] = torch.from_numpy(np.stack(codes, axis=1))
        return inputs

    @cached_property
    def _embedded(self) -> tuple[EmbeddedColumn, ...]:
        return tuple(column for column in self.columns if isinstance(column, EmbeddedColumn))

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the numeric inputs."""
        return tuple(name for column in self.columns for name in column.features)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The column of the table behind every input: the numeric ones, then the categories."""
        numeric = (column.name for column in self.columns for _ in column.features)
        return (*numeric, *self.category_names)

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """Numeric inputs that encode one column together: its parts, its levels, its flag."""
        edges = np.cumsum([0, *(len(column.features) for column in self.columns)]).tolist()
        spans = [tuple(range(start, end)) for start, end in pairwise(edges)]
        return tuple(span for span in spans if len(span) > 1)

    @property
    def numeric_width(self) -> int:
        """Number of numeric inputs."""
        return len(self.feature_names)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each embedded category, the codes 0 and 1 included."""
        return tuple(column.cardinality for column in self._embedded)

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the embedded categories."""
        return tuple(column.name for column in self._embedded)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Columns that give no input because they are constant in the training rows."""
        return tuple(
            column.name
            for column in self.columns
            if not column.features and not isinstance(column, EmbeddedColumn)
        )

    def describe(self, column: str) -> str:
        """How `column` enters the model, in words."""
        for encoder in self.columns:
            if encoder.name == column:
                return encoder.describe()
        raise unknown("column", column, [encoder.name for encoder in self.columns], DataError)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON values from which `from_state` builds an equal encoder.

        Every learned number is in one float64 tensor, so that none passes through decimal text.
        """
        numbers: list[float] = []
        document = [_take_floats(column.state(), numbers) for column in self.columns]
        return {"numbers": torch.tensor(numbers, dtype=torch.float64)}, {"columns": document}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        numbers = tensors["numbers"].tolist()
        columns = [_put_floats(column, numbers) for column in document["columns"]]
        return cls(tuple(column_encoder_from_state(column) for column in columns))


def _take_floats(value: Any, numbers: list[float]) -> Any:
    """`value` with every float replaced by its position in `numbers`."""
    if isinstance(value, float):
        numbers.append(value)
        return {"number": len(numbers) - 1}
    if isinstance(value, dict):
        return {key: _take_floats(item, numbers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_take_floats(item, numbers) for item in value]
    return value


def _put_floats(value: Any, numbers: Sequence[float]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"number"}:
            return numbers[value["number"]]
        return {key: _put_floats(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_floats(item, numbers) for item in value]
    return value
