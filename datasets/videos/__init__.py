"""Videos: digits that move by known one-parameter groups."""
