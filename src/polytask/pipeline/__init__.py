"""One whole fit."""

from .fit import FitResult, fit_table
from .prepare import Prepared, prepare

__all__ = ["FitResult", "Prepared", "fit_table", "prepare"]
