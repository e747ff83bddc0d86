"""Options of the ``raycast`` renderer and its quality presets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equissl.renderers import scene
from equissl.renderers.base import RendererError
from equissl.renderers.camera import SUBPIXEL_OFFSETS
from equissl.renderers.image import VIEW_TRANSFORMS

#: What each quality sets, over the defaults of the options; given options come on top.
PRESETS: dict[str, dict[str, Any]] = {
    "draft": {"antialias": 1},
    "plain": {},
    "fast": {"relight": False, "floor_nodes": 20, "floor_rays": 4, "specular": True, "transparency": True},
    "soft": {
        "relight": False,
        "spot_samples": 4,
        "gather": 4,
        "gloss_rays": 1,
        "filter_levels": 2,
        "floor_nodes": 32,
        "floor_rays": 6,
        "specular": True,
        "transparency": True,
    },
    "reference": {
        "antialias": 3,
        "spot_samples": 8,
        "gather": 16,
        "bounces": 2,
        "gloss_rays": 4,
        "filter_levels": 1,
        "floor_nodes": 64,
        "floor_rays": 64,
        "specular": True,
        "transparency": True,
    },
}

_RANGES: dict[str, tuple[float, float]] = {
    "spot_samples": (1, 256),
    "gather": (0, 4096),
    "bounces": (0, 3),
    "hit_light": (0, 1),
    "filter_levels": (0, 6),
    "gloss_rays": (0, 4096),
    "floor_nodes": (0, 1024),
    "floor_rays": (0, 4096),
}


@dataclass(frozen=True)
class RaycastOptions:
    """Options of the ``raycast`` renderer. ``quality`` sets those not given.

    Attributes:
        quality: ``plain`` (defaults below: closed-form sky, hard shadow), ``draft`` (the same with one sample a pixel:
            what is thinner than a pixel becomes dots or nothing), ``fast``, ``soft`` or ``reference``.
        antialias: samples per pixel side: 1, 2 (2x2, close to Cycles' pixel filter) or 3.
        relight: light every sample; false: one point per pixel, more at edges.
        spot_samples: shadow rays per lit point. 1: hard shadow from the spot light's centre; more: soft, from its disk
            of radius 0.25.
        gather: rays over the hemisphere of each lit point for sky, sun, floor and the object's own light; 0: in closed
            form, as if the object were convex.
        bounces: how often light is followed on where such a ray meets the object; 0: an estimate.
        hit_light: the estimate's share of open sky and spot light.
        filter_levels: passes of the edge-aware filter on light.
        specular: GGX reflection of the spot light, and with ``gather`` of the sky.
        gloss_rays: rays per lit point for the sky's reflection.
        floor_nodes: side of the grid of nodes for the object's shadow from sun and sky on the floor; 0: none.
        floor_rays: rays per node.
        transparency: look through materials with alpha below 1, up to 8 layers.
        view_transform: ``filmic`` (Blender's, as the data set) or ``standard`` (sRGB).
        sun_strength: irradiance of open ground by the sun.
        swap_red_blue: exchange red and blue as the files of the published data set do.
        field_of_view: of the camera, in radians; half the default shows the object at twice its size.
    """

    quality: str = "plain"
    antialias: int = 2
    relight: bool = True
    spot_samples: int = 1
    gather: int = 0
    bounces: int = 0
    hit_light: float = 0.5
    filter_levels: int = 0
    specular: bool = False
    gloss_rays: int = 0
    floor_nodes: int = 0
    floor_rays: int = 0
    transparency: bool = False
    view_transform: str = "filmic"
    sun_strength: float = scene.SUN_IRRADIANCE
    swap_red_blue: bool = False
    field_of_view: float = scene.CAMERA_FIELD_OF_VIEW

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> RaycastOptions:
        """Apply the given values on top of the preset's."""
        quality = given.get("quality", cls.quality)
        if quality not in PRESETS:
            raise RendererError(f"expected quality in {sorted(PRESETS)}, got {quality!r}")
        return cls(**(PRESETS[quality] | dict(given)))

    def __post_init__(self) -> None:
        self._choice("antialias", sorted(SUBPIXEL_OFFSETS))
        self._choice("view_transform", VIEW_TRANSFORMS)
        self._choice("quality", sorted(PRESETS))
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise RendererError(f"expected {name} in {low}..{high}, got {getattr(self, name)!r}")
        if not (math.isfinite(self.sun_strength) and self.sun_strength >= 0):
            raise RendererError(f"expected a finite sun_strength >= 0, got {self.sun_strength!r}")
        if not 0 < self.field_of_view < math.pi / 2:
            raise RendererError(f"expected field_of_view above 0 and below pi/2, got {self.field_of_view!r}")
        if self.gather and self.floor_nodes < 2:
            raise RendererError(f"gather needs floor_nodes of at least 2, got {self.floor_nodes!r}")
        for rays, user in (("floor_rays", self.floor_nodes), ("gloss_rays", self.gather and self.specular)):
            if user and getattr(self, rays) < 1:
                raise RendererError(f"expected {rays} in 1..{_RANGES[rays][1]}, got {getattr(self, rays)!r}")

    def _choice(self, name: str, allowed: Sequence[Any]) -> None:
        if getattr(self, name) not in allowed:
            raise RendererError(f"expected {name} in {allowed}, got {getattr(self, name)!r}")
