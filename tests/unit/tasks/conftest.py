"""One small column per kind, with gaps."""

import numpy as np
import pytest

from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression

NAN = np.nan


def gaps(*cells):
    return np.array(cells, dtype=object)


@pytest.fixture
def columns():
    """Kind → (spec, raw training cells)."""
    return {
        "regression": (Regression("t"), np.array([1.0, 2.0, NAN, 6.0, 3.0])),
        "binary": (Binary("t"), gaps("no", "yes", None, "no", "no")),
        "multiclass": (Multiclass("t"), gaps("a", "c", None, "b", "a")),
        "multilabel": (
            Multilabel("t", columns=("x", "y")),
            np.array([[0, 1], [1, NAN], [NAN, NAN], [0, 0], [1, 1.0]]),
        ),
        "count": (Count("t"), np.array([0, 3, NAN, 1, 4.0])),
    }
