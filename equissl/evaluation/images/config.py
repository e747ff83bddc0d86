"""Options of an evaluation on images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig


def _linear() -> LinearProbeConfig:
    return LinearProbeConfig(epochs=50)


@dataclass
class ImageOptions:
    """k-NN and linear evaluation of frozen features on whole images.

    Attributes:
        neighbours: numbers k of nearest training images that vote; the first is the one of ``knn/…``, the others are
            ``knn_K/…``. The defaults are those of DINO (arXiv 2104.14294).
        temperature: of the votes, exp(cosine / temperature), 0.07 in InstDisc (arXiv 1805.01978) and DINO.
        linear: budget of the linear probe.
        standardize: centre and scale every feature dimension with statistics of the training images before the linear
            probe, the same way for every encoder.
        calibrate: training images that batch norm's statistics of the encoder before training are taken from; its own
            were never taken. 0 leaves them.
        size: side of the images in pixels; None takes that of training.
        pixels: side at which raw pixels are compared, the control that needs no encoder.
        batch_size: images encoded at a time.
        precision: arithmetic of the encoder; ``auto`` is bf16 where the device computes in it.
        device: ``auto`` takes a GPU where there is one.
        seed: of the linear probe.
        views: what is measured where the run is evaluated on a view store, such as `equissl sequences` writes.
    """

    neighbours: tuple[int, ...] = (20, 200)
    temperature: float = 0.07
    linear: LinearProbeConfig = field(default_factory=_linear)
    standardize: bool = True
    calibrate: int = 512
    size: int | None = None
    pixels: int = 32
    batch_size: int = 256
    precision: Literal["auto", "32", "bf16"] = "32"
    device: str = "auto"
    seed: int = 0
    views: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        if not self.neighbours or min(self.neighbours) < 1 or not self.temperature > 0:
            got = f"{list(self.neighbours)} and {self.temperature}"
            raise ValueError(f"expected neighbours of at least 1 and a temperature above 0, got {got}")
        if min(self.pixels, self.batch_size) < 1 or self.calibrate < 0:
            got = f"{self.pixels}, {self.batch_size} and {self.calibrate}"
            raise ValueError(f"expected pixels and batch_size of at least 1 and calibrate of at least 0, got {got}")
