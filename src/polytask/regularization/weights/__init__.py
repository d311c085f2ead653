"""Averages over the weights of many updates."""
