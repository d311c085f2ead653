"""Arrays, lists and frames of inputs and labels as pandas tables."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from polytask._checks import require, unknown
from polytask.data import as_frame, label_values
from polytask.errors import DataError, InvalidArgument

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from sklearn.base import BaseEstimator


def is_table(values: object) -> bool:
    """Whether `values` is a pandas DataFrame or an Arrow table: something with column names."""
    import pandas
    import pyarrow

    return isinstance(values, pandas.DataFrame | pyarrow.Table)


@final
@dataclass(frozen=True)
class Inputs:
    """How the inputs came at fit; later ones are brought into the same form.

    An array holds numbers, whatever its values look like, and NaN is a gap. A frame may hold
    anything that polytask reads, and its columns are understood one by one.

    Args:
        columns: Names of the columns; ``x0``, ``x1``, … for an array.
        table: Whether the inputs were a frame.
    """

    columns: tuple[str, ...]
    table: bool

    def read(self, estimator: "BaseEstimator", values: Any) -> "DataFrame":
        """Rows to predict as the table that the model expects.

        Raises:
            ValueError: scikit-learn's sentence, if the columns are others than at fit.
        """
        import pandas

        if self.table and is_table(values):
            return _checked_table(estimator, values, reset=False)
        kind = None if self.table else "numeric"
        array = validate_data(
            estimator, values, reset=False, dtype=kind, ensure_all_finite="allow-nan"
        )
        frame = pandas.DataFrame(array, columns=list(self.columns))
        return frame.infer_objects() if self.table else frame


def read_inputs(estimator: "BaseEstimator", values: Any) -> tuple["DataFrame", Inputs]:
    """Training inputs as a table; sets ``n_features_in_`` and ``feature_names_in_``.

    Raises:
        ValueError: scikit-learn's sentence, if the array is not two-dimensional, complex, empty,
            has one sample only, or holds infinite values.
        TypeError: If it is sparse, or holds objects that are no numbers.
    """
    import pandas

    if is_table(values):
        frame = _checked_table(estimator, values, reset=True)
        return frame, Inputs(tuple(frame.columns), table=True)
    array = validate_data(
        estimator, values, dtype="numeric", ensure_all_finite="allow-nan", ensure_min_samples=2
    )
    columns = tuple(f"x{place}" for place in range(array.shape[1]))
    return pandas.DataFrame(array, columns=list(columns)), Inputs(columns, table=False)


def _checked_table(estimator: "BaseEstimator", values: Any, *, reset: bool) -> "DataFrame":
    import pyarrow

    if isinstance(values, pyarrow.Table):
        values = as_frame(values)
    validate_data(estimator, values, reset=reset, skip_check_array=True)
    return _refuse_complex(as_frame(values))


def _refuse_complex(frame: "DataFrame") -> "DataFrame":
    for name in frame.columns:
        if frame[name].dtype.kind == "c":
            raise DataError(f"Complex data not supported: column {name!r} is complex.")
    return frame


@final
@dataclass(frozen=True)
class Labels:
    """The labels of a fit, or of a score.

    Args:
        frame: One column per label, named.
        one_dim: Whether they came as a one-dimensional array.
    """

    frame: "DataFrame"
    one_dim: bool


def read_labels_of(values: Any, *, wanted: Sequence[str] | None, inputs: Collection[str]) -> Labels:
    """Y, in any of its forms, as a table.

    A frame or a named series keeps its names; the columns of an array are called like the targets,
    if those are named, and else ``y``, or ``y0``, ``y1``, ….

    Args:
        values: ``[rows]`` or ``[rows, labels]``: array, list, series or frame.
        wanted: The label columns that the targets name.
        inputs: Names of the input columns.

    Raises:
        ValueError: If there are more axes than two, or values are complex.
        DataError: If a frame lacks a wanted column, the number of columns is not that of the
            targets, or a column has the name of an input.
    """
    frame, one_dim = _label_frame(values, wanted, inputs)
    clash = [name for name in frame.columns if name in inputs]
    if clash:
        raise DataError(
            f"The label column {clash[0]!r} has the name of an input column; an input must not "
            "hold the label. Remove the column from X, or rename one of them."
        )
    return Labels(frame, one_dim)


def _label_frame(
    values: Any, wanted: Sequence[str] | None, inputs: Collection[str]
) -> tuple["DataFrame", bool]:
    import pandas

    if values is None:
        raise InvalidArgument(
            "This MultiTaskEstimator requires y to be passed, but the target y is None. Pass y, or "
            "name the label columns of the frame: MultiTaskEstimator(targets=[...])."
        )
    if is_table(values):
        frame = _refuse_complex(as_frame(values, source="`y`"))
        for name in wanted or ():
            if name not in frame.columns:
                raise unknown("targets", name, list(frame.columns), DataError)
        return (frame if wanted is None else frame[list(wanted)]), False
    if isinstance(values, pandas.Series):
        names = _names(1, wanted, inputs if values.name is None else (), values.name or "y")
        return _refuse_complex(values.to_frame(names[0])), True
    array = check_array(
        _from_list(values) if isinstance(values, list | tuple) else values,
        dtype=None,
        ensure_2d=False,
        ensure_all_finite=False,
        allow_nd=True,
        ensure_min_samples=0,
        input_name="y",
    )
    require(array.ndim in (1, 2), "y", "have one or two axes", array.shape)
    cells = array.reshape(len(array), -1)
    names = _names(cells.shape[1], wanted, inputs, "y")
    return pandas.DataFrame(cells, columns=names).infer_objects(), array.ndim == 1


def _from_list(values: Sequence[Any]) -> "np.ndarray[Any, Any]":
    """A list as an array; texts and gaps mixed stay what they are."""
    array = np.asarray(values, dtype=object)
    kinds = {type(cell) for cell in array.ravel()}
    return array if str in kinds and len(kinds) > 1 else np.asarray(values)


def _names(
    count: int, wanted: Sequence[str] | None, taken: Collection[str], name: object
) -> list[str]:
    """Names for `count` label columns without names: those of the targets, or made from `name`."""
    if wanted is None:
        names = [str(name)] if count == 1 else [f"{name}{place}" for place in range(count)]
        return [free_name(made, taken) for made in names]
    if len(wanted) != count:
        raise DataError(
            f"`y` has {count} columns and `targets` name {len(wanted)}: "
            f"{', '.join(map(repr, wanted[:8]))}. Name one target per column."
        )
    return list(wanted)


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, with underscores behind it until no column has it.

    Example:
        >>> free_name("y", ["y", "x"])
        'y_'
    """
    while name in taken:
        name += "_"
    return name


def kind_of(kind: str, column: "Series") -> str:
    """The kind of a target that the user did not name himself.

    Args:
        kind: ``auto``, ``regression`` or ``classification``.
        column: Its labels.

    Raises:
        DataError: If classes are asked for and the labels are numbers on a continuous scale.
    """
    if kind != "classification":
        return kind
    values = label_values(column)
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if not np.all(np.isfinite(known) & (known == np.round(known))):
            raise DataError(
                f"Unknown label type: {column.name!r} holds continuous numbers, no classes. Set "
                'kind="regression", or turn them into classes first.'
            )
    return "binary" if len(distinct(values)) <= 2 else "multiclass"


def distinct(values: "np.ndarray[Any, Any]") -> list[Any]:
    """The values that occur, gaps apart, in the order of their first occurrence."""
    import pandas

    found: list[Any] = pandas.unique(pandas.Series(values).dropna()).tolist()
    return found


def read_sample_weight(values: Any, rows: int) -> "np.ndarray[Any, Any]":
    """Row weights as float64.

    Raises:
        InvalidArgument: If there is not one finite weight of at least 0 per row, or all are zero.
    """
    weights = check_array(
        values, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name="sample_weight"
    )
    shape = tuple(weights.shape)
    require(shape == (rows,), "sample_weight", f"have one weight per row, {(rows,)}", shape)
    require(bool((weights >= 0).all()), "sample_weight", "be at least 0", float(weights.min()))
    if not weights.sum() > 0:
        raise InvalidArgument("`sample_weight` must not be zero in every row.")
    return np.asarray(weights)
