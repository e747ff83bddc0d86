"""Kind ``videos``: digits that move by known one-parameter groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from equissl.datasets.videos.config import VideosData
from equissl.datasets.videos.moving_digits import MovingDigits, VideoBatch
from equissl.evaluation.videos.evaluate import VideoEvaluateConfig, evaluate_videos
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.methods.videos.fernn import VideoMethod
from equissl.reporting.videos.page import page
from equissl.reporting.videos.table import baselines, columns
from equissl.runs.config import PretrainConfig


class Videos(Kind):
    """Videos of moving digits."""

    name, unit = "videos", "frames"
    batch, data, options = VideoBatch, VideosData, VideoEvaluateConfig
    source = "a folder of IDX files, such as MNIST's"
    evaluate = staticmethod(evaluate_videos)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)

    def recognises(self, path: Path) -> bool:
        return False  # such a folder may also be one of images

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> MovingDigits:
        data = cast(VideosData, config.data)
        seed = config.seed if data.seed is None else data.seed
        return MovingDigits(data.store, split or "train", cast(VideoMethod, method).videos, seed=seed)

    def card(self, method: Any, config: PretrainConfig) -> dict[str, Any]:
        spec = method.videos
        return {
            "parts": {"all": method.feature_dim},
            "videos": {"frames": spec.frames, "size": spec.size, "channels": 1, "values": "float in 0..1"},
        }


VIDEOS = Videos()
