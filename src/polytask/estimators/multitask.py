"""One multi-task network as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags, Tags, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from polytask._checks import one_of
from polytask.config.run import RunConfig
from polytask.data import as_frame
from polytask.diagnostics.run_report import RunReport
from polytask.errors import InvalidArgument, Unsupported
from polytask.export import Bundle
from polytask.pipeline import fit_table
from polytask.pipeline.columns import assign_columns
from polytask.tasks import TaskSpec
from polytask.training import History

from .answers import (
    Answer,
    Classes,
    answer_columns,
    in_given_order,
    mean_score,
    own_classes,
    stacked,
)
from .arrays import (
    Inputs,
    free_name,
    kind_of,
    read_inputs,
    read_labels_of,
    read_sample_weight,
)
from .settings import (
    Document,
    base_document,
    finished,
    overridden,
    put,
    put_balance,
    seed_of,
    target_documents,
)

if TYPE_CHECKING:
    from pandas import DataFrame

Target = str | TaskSpec | tuple[str, str]
Array = NDArray[Any]


def _predicts_classes(estimator: "MultiTaskEstimator") -> bool:
    return estimator.kind != "regression"


@final
class MultiTaskEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """One multi-task network as a scikit-learn estimator.

    It fits in two ways. ``fit(frame)`` with `targets`: the frame holds inputs and label columns of
    any kind, and predictions are frames. ``fit(X, Y)``: Y has one label per column, and
    predictions are arrays as in scikit-learn. In both a missing label (NaN, None) is left out of
    its task's loss and score, and the row goes on to train the other tasks.

    The columns of a frame are understood one by one (numbers, categories, dates, …); an array
    holds numbers, and NaN is a gap. A part of the rows, `validation_fraction`, decides when to stop
    and is not trained on. Fitting again starts from scratch.

    A parameter that is None has the value of `config`, and if that says nothing, polytask's
    default.

    Args:
        targets: Label columns: names, (name, kind) pairs, or specifications such as
            ``Regression("age", loss="huber")``. None: those of `config`, or the columns of Y.
        kind: How labels without a kind of their own are understood. ``"regression"``,
            ``"classification"``, or ``"auto"``: two values are binary, texts are classes, other
            numbers are regression.
        config: Everything else: a `RunConfig`, a nested mapping, or the path of a run file.
        defence: Preset against overfitting: ``"off"``, ``"safe"``, ``"strong"``, ``"small"`` or
            ``"linear"``; the other parameters win over it.
        width: Hidden units of each layer.
        depth: Hidden layers.
        dropout: Share of hidden units that are dropped in training, at least 0 and below 1.
        learning_rate: Of the optimizer, positive.
        weight_decay: Of the optimizer, at least 0.
        batch_size: Rows per update; 0: by the size of the table.
        epochs: Upper limit of passes over the training rows.
        patience: Epochs without a better validation score before training stops.
        validation_fraction: Share of the rows that decide when to stop; 0: none, all epochs run.
        balance: Name of the balancing method, or the options of ``[balance]``.
        task_weights: Weights by task name, or in the order of the tasks; means fixed weights.
        random_state: A whole number is the seed; a ``RandomState`` is drawn from, so that fits
            differ; None: the seed of `config`, or 0. The global generators are never touched.

    Attributes:
        bundle_: The trained model with its encoders: ``bundle_.save(path)`` writes one file.
        history_: What happened, epoch by epoch.
        report_: Metrics on training and validation rows, findings, settings (no baselines).
        run_: The effective configuration.
        classes_: Of one classification task an array; of several columns of Y a list, with None
            for numbers; of named targets a mapping by label column. Absent without classes.
        n_outputs_: Number of label columns.
        n_features_in_: Number of input columns.
        feature_names_in_: Their names, if X had any.

    Raises:
        PolytaskError: From `fit`: one sentence that names the parameter, the column or the target.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> frame = load_diabetes(as_frame=True).frame
        >>> small = {"width": 16, "depth": 1, "epochs": 2}
        >>> model = MultiTaskEstimator(targets=["target", "sex"], **small).fit(frame)
        >>> list(model.predict(frame.head(2)).columns)
        ['target', 'sex']
        >>> X, Y = frame.drop(columns=["target", "bp"]), frame[["target", "bp"]]
        >>> MultiTaskEstimator(kind="regression", **small).fit(X, Y).predict(X.head(3)).shape
        (3, 2)

    Note:
        With ``kind="classification"`` scikit-learn stratifies its folds by y, and refuses gaps in
        it; pass ``cv=KFold(...)`` then. Predictions are computed in single precision: a row alone
        and the same row among others may differ in the seventh digit.
    """

    def __init__(
        self,
        targets: Sequence[Target] | Target | None = None,
        kind: Literal["auto", "regression", "classification"] = "auto",
        config: RunConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        defence: str | None = None,
        width: int | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float | None = None,
        balance: str | Mapping[str, Any] | None = None,
        task_weights: Mapping[str, float] | Sequence[float] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.targets = targets
        self.kind = kind
        self.config = config
        self.defence = defence
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.balance = balance
        self.task_weights = task_weights
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Trains a new model.

        Args:
            X: A frame with the label columns in it (then `y` is None), or the inputs
                ``[rows, features]``: array, list, frame or Arrow table.
            y: Labels ``[rows]`` or ``[rows, labels]``; NaN and None are missing.
            sample_weight: Weights of the rows ``[rows]``, at least 0. A row of weight 0 is left
                out altogether.

        Raises:
            PolytaskError: One sentence that names the parameter, the column or the target.
            ValueError: scikit-learn's sentence about the shape of `X`.
            TypeError: If `X` is sparse or holds objects that are no numbers.
        """
        one_of("kind", self.kind, ("auto", "regression", "classification"))
        document = base_document(self.config)
        targets = target_documents(self.targets)
        if targets is None:
            targets = target_documents(document.get("targets"))
        inputs: Inputs | None = None
        one_dim = False
        if y is None and targets is not None:
            frame = as_frame(X, source="The frame with the targets")
        else:
            frame, inputs = read_inputs(self, X)
            wanted = None if targets is None else _columns_of(targets)
            labels = read_labels_of(y, wanted=wanted, inputs=inputs.columns)
            check_consistent_length(frame, labels.frame)
            if targets is None:
                targets = [{"name": name} for name in labels.frame.columns]
            frame, one_dim = _joined(frame, labels.frame), labels.one_dim
        document["targets"] = targets
        if sample_weight is not None:
            frame = _weighted(frame, document, sample_weight)
        document["targets"] = [self._with_kind(target, frame) for target in targets]
        if inputs is not None and not inputs.table:
            kinds = dict.fromkeys(inputs.columns, "numeric")
            put(document, "data", "kinds", kinds | document.get("data", {}).get("kinds", {}))
        self.run_ = self._run(document)
        if inputs is not None and self.run_.data.task_column is not None:
            raise Unsupported(
                "`data.task_column` needs the labels in the frame itself: name the label column "
                "in `targets` and call fit(frame)."
            )
        result = fit_table(frame, self.run_, baselines=False)
        self.bundle_: Bundle = result.bundle
        self.history_: History = result.history
        self.report_: RunReport = result.report
        self._inputs, self._one_dim = inputs, one_dim
        self._label_columns = _columns_of(document["targets"])
        self.n_outputs_ = len(self._label_columns)
        if inputs is None:
            names = assign_columns(list(frame.columns), self.run_).of("input")
            self.n_features_in_ = len(names)
            self.feature_names_in_ = np.array(names, dtype=object)
        answers = answer_columns(self.bundle_, frame.head(1))
        given = frame if inputs is not None else None
        self._classes = [
            None if answer.classes is None else own_classes(answer.classes, given, column)
            for answer, column in zip(answers, self._label_columns, strict=True)
        ]
        return self

    def predict(self, X: Any) -> "Array | DataFrame":
        """Predictions: numbers in the user's units, and the most probable classes.

        Args:
            X: Inputs in the form of `fit`. If targets were named in a frame: a frame with the
                input columns, in any order; others are ignored.

        Returns:
            After ``fit(X, Y)`` an array of the shape of Y; its dtype is object if the tasks are of
            kinds that no other dtype holds together. After ``fit(frame)`` a frame with one column
            per label column and the index of `X`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit`.
            DataError: If an input column is missing, or has another type than in training.
        """
        answers = self._answers(X)
        columns = [self._labels(*pair) for pair in zip(answers, self._classes, strict=True)]
        if self._inputs is None:
            return _frame_of(
                dict(zip((answer.column for answer in answers), columns, strict=True)), X
            )
        return columns[0] if self._one_dim else stacked(columns)

    @available_if(_predicts_classes)  # type: ignore[untyped-decorator]  # scikit-learn
    def predict_proba(self, X: Any) -> "Array | list[Array] | dict[str, DataFrame]":
        """Probabilities of the classes, in the order of `classes_`.

        Args:
            X: As for `predict`.

        Returns:
            After ``fit(X, Y)``: ``[rows, classes]`` for one label column, else a list of such
            arrays, one per classification column of Y. After ``fit(frame)``: label column → frame
            with one column per class. Numeric tasks are left out.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit`.
            Unsupported: If no task has classes.
        """
        answers = self._answers(X)
        found = {
            answer.column: (in_given_order(answer.probabilities, classes), classes)
            for answer, classes in zip(answers, self._classes, strict=True)
            if answer.probabilities is not None and classes is not None
        }
        if not found:
            raise Unsupported("There are no probabilities: no target of this model has classes.")
        if self._inputs is None:
            return {
                column: _frame_of(dict(zip(classes.labels.tolist(), chances.T, strict=True)), X)
                for column, (chances, classes) in found.items()
            }
        chances_only = [chances for chances, _ in found.values()]
        return chances_only[0] if self.n_outputs_ == 1 else chances_only

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean over the tasks of R² (numbers) and accuracy (classes).

        Rows without the label of a task are left out of that task; a task without any label is
        left out of the mean. Of a multilabel group the mean accuracy of its columns counts.

        Args:
            X: As for `predict`; if targets were named in a frame and `y` is None, with the labels.
            y: Labels in the form of `fit`.
            sample_weight: Weights of the rows, or None.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit`.
            DataError: If no row has a label.
        """
        frame = self._table(X)
        if y is not None or self._inputs is not None:
            frame = frame.drop(columns=[c for c in self._label_columns if c in frame.columns])
            labels = read_labels_of(y, wanted=self._label_columns, inputs=frame.columns)
            check_consistent_length(frame, labels.frame)
            frame = _joined(frame, labels.frame)
        weights = None if sample_weight is None else read_sample_weight(sample_weight, len(frame))
        return mean_score(self.bundle_, frame, weights)

    @property
    def classes_(self) -> "Array | list[Array | None] | dict[str, Array]":
        """The classes, as the labels were written; see the attributes of the class."""
        check_is_fitted(self, "bundle_")
        if all(classes is None for classes in self._classes):
            raise AttributeError("There is no `classes_`: no target of this model has classes.")
        lists = [None if classes is None else classes.labels for classes in self._classes]
        if self._inputs is None:
            named = zip(self._label_columns, lists, strict=True)
            return {column: labels for column, labels in named if labels is not None}
        if self.n_outputs_ == 1 and lists[0] is not None:
            return lists[0]
        return lists

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        by_columns_of_y = self.targets is None
        tags.input_tags.allow_nan = True
        tags.target_tags.required = by_columns_of_y
        tags.target_tags.one_d_labels = True
        tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        if self.kind == "regression" and by_columns_of_y:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        elif self.kind == "classification" and by_columns_of_y:
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags

    def _with_kind(self, target: Document, frame: "DataFrame") -> Document:
        """A target of one column, and of no kind of its own, with that of the estimator."""
        columns = target.get("columns") or [target["name"]]
        if target.get("kind", "auto") != "auto" or len(columns) > 1:
            return target
        if columns[0] not in frame.columns:
            return target  # the pipeline says which column is meant
        return target | {"kind": kind_of(self.kind, frame[columns[0]])}

    def _run(self, document: Document) -> RunConfig:
        options = {
            "width": self.width,
            "depth": self.depth,
            "dropout": self.dropout,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "patience": self.patience,
            "validation_fraction": self.validation_fraction,
        }
        document = overridden(document, options)
        if self.defence is not None:
            document["defence"] = self.defence
        put_balance(document, self.balance, self.task_weights)
        seed = seed_of(self.random_state)
        if seed is not None:
            document["seed"] = seed
        return finished(document)

    def _table(self, X: Any) -> "DataFrame":
        check_is_fitted(self, "bundle_")
        return as_frame(X) if self._inputs is None else self._inputs.read(self, X)

    def _answers(self, X: Any) -> list[Answer]:
        frame = self._table(X)
        return answer_columns(self.bundle_, frame)

    def _labels(self, answer: Answer, classes: Classes | None) -> Array:
        """The predictions in the caller's type; those of a frame keep the bundle's."""
        if self._inputs is None or answer.probabilities is None or classes is None:
            return answer.values
        return np.asarray(classes.labels[in_given_order(answer.probabilities, classes).argmax(1)])


def _columns_of(targets: Sequence[Document]) -> list[str]:
    return [column for t in targets for column in (t.get("columns") or [t["name"]])]


def _joined(frame: "DataFrame", labels: "DataFrame") -> "DataFrame":
    """Inputs and labels side by side, row by row, whatever their indices are."""
    import pandas

    return pandas.concat([frame.reset_index(drop=True), labels.reset_index(drop=True)], axis=1)


def _weighted(frame: "DataFrame", document: Document, sample_weight: Any) -> "DataFrame":
    """`frame` with a weight column, without the rows of weight 0."""
    if document.get("data", {}).get("weight") is not None:
        raise InvalidArgument(
            "`sample_weight` and `data.weight` of `config` both weigh the rows; keep one of them."
        )
    weights = read_sample_weight(sample_weight, len(frame))
    name = free_name("sample_weight", list(frame.columns))
    put(document, "data", "weight", name)
    return frame.assign(**{name: weights})[weights > 0]


def _frame_of(columns: Mapping[Any, Array], X: Any) -> "DataFrame":
    import pandas

    return pandas.DataFrame(dict(columns), index=as_frame(X).index)
