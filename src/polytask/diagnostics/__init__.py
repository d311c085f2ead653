"""Computes what reports show; reads, never writes."""
