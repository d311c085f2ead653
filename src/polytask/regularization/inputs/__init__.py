"""Regularizers that change the rows of a batch before the model sees them."""
