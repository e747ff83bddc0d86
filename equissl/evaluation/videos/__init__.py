"""Evaluation of runs on videos: roll-outs, velocities, equivariance."""
