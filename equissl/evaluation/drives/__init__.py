"""Evaluation of runs on pairs of sweeps: equivariance, rotation, collapse."""
