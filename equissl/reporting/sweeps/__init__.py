"""Report page of detectors."""
