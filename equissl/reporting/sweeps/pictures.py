"""Labels and detections of a sweep, seen from above."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from equissl.datasets.sweeps.labelled_sweeps import LabelledSweep
from equissl.detection import Detections
from equissl.reporting.bev import Window, draw_sweep

SURE = 0.3  # detections below this score are left out of pictures


def draw_detections(
    frame: LabelledSweep, found: Detections, point_range: Sequence[float], pixels: int = 560, score: float = SURE
) -> Image.Image:
    """Draw a sweep with its objects and the detections.

    Args:
        frame: to draw.
        found: in it.
        point_range: what to show.
        pixels: height of the picture.
        score: of the least sure detection that is drawn.
    """
    window = Window((point_range[0], point_range[3]), (point_range[1], point_range[4]), pixels)
    boxes = found.boxes[found.scores >= score].numpy()
    return draw_sweep(frame.points, frame.objects.boxes, window=window, found=boxes)
