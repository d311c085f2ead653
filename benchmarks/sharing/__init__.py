"""Benchmarks of sharing architectures and heads."""
