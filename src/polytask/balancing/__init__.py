"""Task losses to one objective."""
