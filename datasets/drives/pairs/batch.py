"""Batch type of pairs of sweeps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from equissl.datasets.drives.cloud_batch import CloudBatch, Clouds
from equissl.datasets.drives.sweep import Boxes


@dataclass(frozen=True)
class ScenePair(CloudBatch):
    """B pairs of sweeps, each of one drive. Every method on drives takes this type and nothing else.

    Frames, boxes and flow are those of :mod:`equissl.datasets.drives.sweep`.

    Attributes:
        previous: B clouds (P_b, 4) float32 of x, y, z, intensity (0 where the data set has none), in the frame of the
            earlier sweep.
        current: B clouds (N_b, 4) of the later sweeps, in their own frames.
        motion: (B, 4, 4) float32, frame of ``previous`` -> frame of ``current``; None where poses are unknown.
        flow: B times (P_b, 3) float32, so that ``previous + flow`` lies in the frame of ``current``: ego motion is
            contained. None where it was not asked for.
        flow_valid: B times (P_b,) bool, where ``flow`` may be used; None exactly when ``flow`` is.
        flow_provider: who made the flow.
        ground: B times (P_b,) bool of ``previous``, or None.
        boxes, previous_boxes: of ``current`` and of ``previous``, None for a sweep without labels. Always in host
            memory.
        seeds: (B,) int64 from (dataset seed, epoch, index): every random choice about an item derives from it.
        drives: B names of drives.
        sweeps: (B, 2) int64 positions of the two sweeps in their drive.
    """

    previous: Clouds
    current: Clouds
    seeds: Tensor
    drives: tuple[str, ...]
    sweeps: Tensor
    motion: Tensor | None = None
    flow: Clouds | None = None
    flow_valid: Clouds | None = None
    flow_provider: str | None = None
    ground: Clouds | None = None
    boxes: tuple[Boxes | None, ...] = ()
    previous_boxes: tuple[Boxes | None, ...] = ()

    def __post_init__(self) -> None:
        batch = len(self.previous)
        for name in ("boxes", "previous_boxes"):
            if getattr(self, name) == ():
                object.__setattr__(self, name, (None,) * batch)
        for name in ("current", "drives", "boxes", "previous_boxes"):
            if len(getattr(self, name)) != batch:
                raise ValueError(
                    f"expected {batch} {name}, as there are previous clouds, got {len(getattr(self, name))}"
                )
        if (self.flow is None) != (self.flow_valid is None):
            raise ValueError("expected flow and flow_valid together, got one without the other")
        points = [len(cloud) for cloud in self.previous]
        _check_clouds("previous", self.previous, points, (4,))
        _check_clouds("current", self.current, [len(cloud) for cloud in self.current], (4,))
        for name, columns in (("flow", (3,)), ("flow_valid", ()), ("ground", ())):
            if (clouds := getattr(self, name)) is not None:
                _check_clouds(name, clouds, points, columns)
        for name, shape in (("seeds", (batch,)), ("sweeps", (batch, 2)), ("motion", (batch, 4, 4))):
            if (value := getattr(self, name)) is not None and tuple(value.shape) != shape:
                raise ValueError(f"expected {name} of shape {shape}, got {tuple(value.shape)}")

    def __len__(self) -> int:
        return len(self.previous)


def _check_clouds(name: str, clouds: Clouds, points: list[int], columns: tuple[int, ...]) -> None:
    expected = [(count, *columns) for count in points]
    if [tuple(cloud.shape) for cloud in clouds] != expected:
        raise ValueError(f"expected {name} of shapes {expected}, got {[tuple(cloud.shape) for cloud in clouds]}")
