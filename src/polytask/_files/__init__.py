"""Files that are never half-written: atomic writes, checksummed archives, fail points."""
