"""Evaluation of detectors: detections and average precision."""
