"""Scene flow that another estimator has written."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np

from equissl.datasets.drives.sweep import Sweep
from equissl.scene_flow.base import FlowError, FlowEstimate

FLOW, VALID = "flow", "flow_is_valid"


class FileFlow:
    """Flow from files, by the timestamp of the sweep.

    Args:
        path: an ``.h5`` file of one drive with a group per timestamp (the layout of OpenSceneFlow), or a folder with a
            file ``<timestamp>.npz`` per sweep.
        key: name of the flow, float (N, 3), in a group or ``.npz``; estimators add their own beside the labels.
        valid_key: name of its validity, bool (N,); where it is absent, all finite flow is valid.
        drive: name of the group that holds the timestamps, in a file of several drives such as a drive store.

    Raises:
        FlowError: when there is nothing at ``path``.
    """

    name = "file"

    def __init__(self, path: Path | str, key: str = FLOW, valid_key: str = VALID, drive: str = "") -> None:
        self.path, self.key, self.valid_key, self.drive = Path(path), key, valid_key, drive
        if not self.path.exists():
            raise FlowError(f"expected a flow file or folder at {self.path}, found nothing")

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Read the flow of a sweep, see :class:`~equissl.scene_flow.base.FlowProvider`.

        Args:
            sweep: whose timestamp names the flow.
            following: not used.

        Raises:
            FlowError: for a missing timestamp or key, another number of points, or a file that cannot be read.
        """
        flow, valid = self._read(str(sweep.timestamp))
        if flow.shape != sweep.points.shape or (valid is not None and valid.shape != flow.shape[:1]):
            raise FlowError(
                f"{self.path}: frame {sweep.timestamp}: expected {self.key} of shape {sweep.points.shape}, as the "
                f"sweep has, got {flow.shape}" + ("" if valid is None else f" and {self.valid_key} {valid.shape}")
            )
        finite = np.isfinite(flow).all(axis=1)
        valid = finite if valid is None else finite & valid.astype(bool)
        return FlowEstimate(np.where(finite[:, None], flow, 0).astype(np.float32), valid)

    def _read(self, stamp: str) -> tuple[np.ndarray, np.ndarray | None]:
        file = self.path / f"{stamp}.npz" if self.path.is_dir() else self.path
        try:
            if self.path.is_dir():
                with np.load(file) as arrays:
                    return self._pick(arrays, file, list(arrays))
            with h5py.File(file, "r") as groups:
                place = f"{self.drive}/{stamp}".lstrip("/")
                if place not in groups:
                    others = ", ".join(list(groups)[:3]) or "nothing"
                    raise FlowError(f"expected a group {place} in {file}, found {len(groups)} others: {others} ...")
                return self._pick(groups[place], file, list(groups[place]))
        except FileNotFoundError as error:
            raise FlowError(f"expected flow of frame {stamp} at {file}, found nothing") from error
        except (OSError, EOFError, ValueError, BadZipFile) as error:
            if isinstance(error, FlowError):
                raise
            raise FlowError(f"{file}: frame {stamp}: cannot be read ({error})") from error

    def _pick(self, arrays: object, file: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
        if self.key not in names:
            raise FlowError(f"expected {self.key!r} in {file}, found {', '.join(names) or 'nothing'}")
        valid = np.asarray(arrays[self.valid_key]) if self.valid_key in names else None  # type: ignore[index]
        return np.asarray(arrays[self.key]), valid  # type: ignore[index]
