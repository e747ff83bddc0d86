"""Evaluation of runs on images."""
