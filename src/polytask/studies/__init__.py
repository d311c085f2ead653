"""Repetitions of a fit."""
