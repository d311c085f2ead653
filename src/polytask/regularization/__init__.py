"""Techniques against overfitting, by the point of the step that they touch."""
