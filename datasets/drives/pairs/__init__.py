"""Pairs of consecutive sweeps of one drive."""
