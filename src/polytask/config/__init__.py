"""Typed run file, catalogue of names, builders."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .balance import build_balance
    from .build import (
        build_backbone,
        build_optimizer_spec,
        build_plateau,
        build_schedule,
        build_stopping,
        target_spec,
    )
    from .catalogue import FAMILIES, METHODS, find, methods, resolve
    from .checks import check_run
    from .effective import run_document, run_to_toml, save_run
    from .method import Method
    from .overrides import apply_overrides
    from .run import RunConfig, TargetConfig
    from .toml import read_toml, to_toml
    from .validate import load_run, run_from_document

_FILES = {
    "FAMILIES": "catalogue",
    "METHODS": "catalogue",
    "Method": "method",
    "RunConfig": "run",
    "TargetConfig": "run",
    "apply_overrides": "overrides",
    "build_backbone": "build",
    "build_balance": "balance",
    "build_optimizer_spec": "build",
    "build_plateau": "build",
    "build_schedule": "build",
    "build_stopping": "build",
    "check_run": "checks",
    "find": "catalogue",
    "load_run": "validate",
    "methods": "catalogue",
    "read_toml": "toml",
    "resolve": "catalogue",
    "run_document": "effective",
    "run_from_document": "validate",
    "run_to_toml": "effective",
    "save_run": "effective",
    "target_spec": "build",
    "to_toml": "toml",
}

__all__ = [
    "FAMILIES",
    "METHODS",
    "Method",
    "RunConfig",
    "TargetConfig",
    "apply_overrides",
    "build_backbone",
    "build_balance",
    "build_optimizer_spec",
    "build_plateau",
    "build_schedule",
    "build_stopping",
    "check_run",
    "find",
    "load_run",
    "methods",
    "read_toml",
    "resolve",
    "run_document",
    "run_from_document",
    "run_to_toml",
    "save_run",
    "target_spec",
    "to_toml",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from its file on first use: the catalogue must not load pydantic."""
    if name not in _FILES:
        raise AttributeError(f"module 'polytask.config' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_FILES[name]}", __name__), name)
    globals()[name] = value
    return value
