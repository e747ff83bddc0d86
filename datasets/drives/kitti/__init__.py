"""KITTI's own file formats: sweeps, calibration, labels, boxes."""
