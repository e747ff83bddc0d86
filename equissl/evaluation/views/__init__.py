"""Evaluation of runs on views: frozen features, probes, retrieval of predictions."""
