"""Section ``data`` of runs on videos."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.datasets.config import DataConfig


@dataclass(kw_only=True)
class VideosData(DataConfig):
    """Moving digits.

    Attributes:
        store: folder of IDX files, such as MNIST's.
    """

    store: str
