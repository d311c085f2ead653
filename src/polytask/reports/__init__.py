"""HTML and JSON; renders, computes nothing."""
