"""Repetitions of a fit."""

from .single_task import compare_with_single_tasks, fit_single_tasks

__all__ = ["compare_with_single_tasks", "fit_single_tasks"]
