"""One whole fit."""
