"""polytask: one PyTorch model for many tasks, defended against overfitting, proven on unseen rows.

Names are imported when they are first touched, so that `import polytask` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from polytask._version import __version__

if TYPE_CHECKING:
    from polytask.balancing import EqualWeights, FixedWeights, PooledLoss, ScheduledWeights
    from polytask.config.run import RunConfig
    from polytask.errors import PolytaskError, PolytaskWarning
    from polytask.estimators import MultiTaskEstimator
    from polytask.export import Bundle, load
    from polytask.gradients import MultiTaskBackward, branch, multitask_backward
    from polytask.pipeline import FitResult, fit_table
    from polytask.sharing import HardSharing, MultiTaskModel
    from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression
    from polytask.training import Trainer

_HOMES = {
    "Binary": "polytask.tasks",
    "Bundle": "polytask.export",
    "Count": "polytask.tasks",
    "EqualWeights": "polytask.balancing",
    "FitResult": "polytask.pipeline",
    "FixedWeights": "polytask.balancing",
    "HardSharing": "polytask.sharing",
    "MultiTaskBackward": "polytask.gradients",
    "MultiTaskEstimator": "polytask.estimators",
    "MultiTaskModel": "polytask.sharing",
    "Multiclass": "polytask.tasks",
    "Multilabel": "polytask.tasks",
    "PolytaskError": "polytask.errors",
    "PolytaskWarning": "polytask.errors",
    "PooledLoss": "polytask.balancing",
    "Regression": "polytask.tasks",
    "RunConfig": "polytask.config.run",
    "ScheduledWeights": "polytask.balancing",
    "Trainer": "polytask.training",
    "branch": "polytask.gradients",
    "fit_table": "polytask.pipeline",
    "load": "polytask.export",
    "multitask_backward": "polytask.gradients",
}

__all__ = [
    "Binary",
    "Bundle",
    "Count",
    "EqualWeights",
    "FitResult",
    "FixedWeights",
    "HardSharing",
    "MultiTaskBackward",
    "MultiTaskEstimator",
    "MultiTaskModel",
    "Multiclass",
    "Multilabel",
    "PolytaskError",
    "PolytaskWarning",
    "PooledLoss",
    "Regression",
    "RunConfig",
    "ScheduledWeights",
    "Trainer",
    "__version__",
    "branch",
    "fit_table",
    "load",
    "multitask_backward",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from its room on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'polytask' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
