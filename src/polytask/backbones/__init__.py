"""Features in, vector out."""
