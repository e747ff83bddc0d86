"""Evaluation of methods on paired data: retrieval, zero-shot classification and poses across modalities."""
