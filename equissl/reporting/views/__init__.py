"""Report page of runs on views."""
