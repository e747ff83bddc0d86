"""Report page of runs on pairs of sweeps."""
