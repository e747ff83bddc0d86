"""Evaluation of runs on views: frozen features, probes, look-up of predictions."""
