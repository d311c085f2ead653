"""LibMTL's weighting classes, from a checkout that the variable LIBMTL names."""

import importlib
import os
import sys
import types
from pathlib import Path
from types import ModuleType


def libmtl_weighting() -> ModuleType | None:
    """``LibMTL.weighting``, or None where LIBMTL names no checkout.

    The package itself imports every architecture, and with them torch_geometric: an empty one
    stands for it.
    """
    folder = os.environ.get("LIBMTL")
    if not folder:
        return None
    package = sys.modules.setdefault("LibMTL", types.ModuleType("LibMTL"))
    package.__path__ = [str(Path(folder) / "LibMTL")]
    return importlib.import_module("LibMTL.weighting")
