"""Evaluation of runs on interactions: full ranking of the items held out."""
