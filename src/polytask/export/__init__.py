"""Bundles: one file that predicts anywhere."""
