"""Architectures that share: backbone features to one representation per task, and heads."""
