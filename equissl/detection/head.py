"""Interface of detection heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from equissl.detection.detections import Detections


class DetectionHead(nn.Module, ABC):
    """From a dense bird's-eye map to boxes.

    Attributes:
        velocity: True where the head also tells how fast objects move over ground.
    """

    velocity: bool = False

    def openpcdet(self, stride: int) -> dict[str, Any] | None:
        """Return the keys ``MODEL.DENSE_HEAD`` of OpenPCDet's configs; None where it has no such head.

        Args:
            stride: voxels on a side of a cell of the map.
        """
        return None

    @abstractmethod
    def loss(
        self,
        outputs: Any,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        velocities: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its detached terms.

        Args:
            outputs: outputs of ``forward``.
            boxes: (M_b, 7) objects of each sweep.
            labels: (M_b,) int64 their classes.
            velocities: (M_b, 2) metres a second along x and y, NaN where unknown; None where all are. Heads without
                velocities pass over them.
        """

    @abstractmethod
    def detect(self, outputs: Any) -> list[Detections]:
        """Detect boxes in each sweep, from the outputs of ``forward``."""
