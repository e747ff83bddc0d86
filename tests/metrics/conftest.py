"""Tests in this folder import nuscenes_case.py and kitti_oracle.py by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # also where pytest imports files without their folders
