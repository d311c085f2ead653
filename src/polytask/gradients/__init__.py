"""The engine that drives balancing and aggregation."""
