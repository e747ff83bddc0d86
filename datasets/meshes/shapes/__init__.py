"""Parametric shapes of everyday classes."""
