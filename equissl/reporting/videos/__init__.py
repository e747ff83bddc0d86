"""Report page of runs on videos."""
