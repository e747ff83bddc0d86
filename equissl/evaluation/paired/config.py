"""Options of an evaluation on paired data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from equissl.evaluation.views.config import EvaluateConfig

TEMPLATES = ("a {}", "a photo of a {}", "a render of a {}")


@dataclass(frozen=True)
class PoseOptions:
    """Pose of an object in an image, by matching the image with the object's cloud.

    Attributes:
        candidates: rotations that are tried, drawn from those of training views.
        refinements: of the best candidate, each on a lattice half as wide as the one before; 0 leaves it.
    """

    candidates: int = 4096
    refinements: int = 5


def _views() -> EvaluateConfig:
    return EvaluateConfig(protocols=["classification", "rotation"], diagnostic_batches=0)


@dataclass
class PairedOptions:
    """Options of an evaluation across modalities, and of the branch of images.

    Attributes:
        at: numbers k of R@k.
        templates: of the sentences that name a class, with ``{}`` for it; their embeddings are averaged.
        pose: settings of pose matching.
        views: probes of the image branch on view stores.
        batch_size: objects encoded at a time.
        device: ``auto`` takes a GPU where there is one.
        seed: of captions, candidates and probes.
    """

    at: tuple[int, ...] = (1, 5, 10)
    templates: tuple[str, ...] = TEMPLATES
    pose: PoseOptions = field(default_factory=PoseOptions)
    views: EvaluateConfig = field(default_factory=_views)
    batch_size: int = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1 or not self.templates or not all("{}" in t for t in self.templates):
            raise ValueError(
                f"expected numbers of at least 1 in at, and templates with {{}}, got {self.at} and {self.templates}"
            )
