"""Masked metrics."""
