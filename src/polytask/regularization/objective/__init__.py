"""Penalties: a value and a proximal step."""
