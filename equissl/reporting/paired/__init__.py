"""Page and table of runs on paired data."""
