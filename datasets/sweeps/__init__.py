"""Labelled sweeps: boxes by class, subsets of labels, ground-truth sampling."""
