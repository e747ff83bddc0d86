"""Specification of a build, and everything that follows from it alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np

from equissl.datasets.meshes.cloud import CLOUD_TYPES
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.source import MeshSource, notes_of
from equissl.datasets.views.bias import Bias
from equissl.datasets.views.findings import MIN_COVERAGE
from equissl.datasets.views.schema import LatentSchema, Triple, threediebench_schema
from equissl.datasets.views.split import split_objects
from equissl.datasets.views.store.format import ENCODINGS, GENERATOR_VERSION, StoreHeader
from equissl.renderers.base import Renderer

_MAX_SHARD_BYTES = 128 << 20  # a worker holds one encoded shard in memory
_BYTES_PER_POINT = 3 * sum(dtype.itemsize for dtype in CLOUD_TYPES.values())


@dataclass(frozen=True)
class ViewSpec:
    """Content and rendering of views, stored or not.

    Attributes:
        meshes: ``sweethome3d``, ``procedural``, a folder of ShapeNetCore, ModelNet, Objaverse or CLASS/FILE,
            ``KIND:FOLDER`` where that is not clear, or several joined by ``+``.
        objects: how many; None for all of a finite source.
        size: side of the images in pixels.
        seed: of the choice of objects, the split and, of stored views, the latents.
        renderer: registered name.
        renderer_options: see the renderer.
        rotation_range: half-widths in radians of the rotations about x, y and z.
        rotation_gap: angles smaller than these are left out: π and a gap of π/2 give 3DIEBench-OOD's poses.
        translation_range: half-width of translations along the object's own axes; 0.5 gives 3DIEBench-T, None none.
        val_fraction: objects held out, per class.
        val_source: hold out objects of this mesh source only.
        classes: only these.
        up: axis of mesh files that points up, for folders; by default that of each format.
        min_coverage: views in which the object covers a smaller share of the image's pixels are counted and named. Does
            not change the views.
    """

    meshes: str = "sweethome3d"
    objects: int | None = None
    size: int = 256
    seed: int = 0
    renderer: str = "raycast"
    renderer_options: dict[str, Any] = field(default_factory=dict)
    rotation_range: Triple = (math.pi / 2,) * 3
    rotation_gap: Triple = (0.0, 0.0, 0.0)
    translation_range: Triple | None = None
    val_fraction: float = 0.2
    val_source: str | None = None
    classes: list[str] | None = None
    up: Up | None = None
    min_coverage: float = MIN_COVERAGE

    def __post_init__(self) -> None:
        self._check_least(objects=1, size=1, seed=0)
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"expected 0 <= min_coverage <= 1, got {self.min_coverage}")
        if self.up not in (None, *get_args(Up)):
            raise ValueError(f"expected up to be one of {', '.join(get_args(Up))}, got {self.up!r}")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"expected 0 <= val_fraction < 1, got {self.val_fraction}")
        if len(self.rotation_range) != 3 or not all(0 <= r <= math.pi for r in self.rotation_range):
            raise ValueError(f"expected three rotation ranges in 0..pi, got {self.rotation_range}")

        if len(self.rotation_gap) != 3 or any(
            gap and not 0 < gap < width for gap, width in zip(self.rotation_gap, self.rotation_range, strict=True)
        ):
            expected = f"0, or less than the rotation ranges {self.rotation_range}"
            raise ValueError(f"expected three rotation gaps, each {expected}, got {self.rotation_gap}")
        if self.translation_range is not None and (
            len(self.translation_range) != 3 or not all(0 <= t < math.inf for t in self.translation_range)
        ):
            raise ValueError(f"expected three finite translation ranges of at least 0, got {self.translation_range}")

    def _check_least(self, **least: int) -> None:
        for name, low in least.items():
            if (value := getattr(self, name)) is not None and value < low:
                raise ValueError(f"expected {name} >= {low}, got {value}")

    @property
    def schema(self) -> LatentSchema:
        return threediebench_schema(self.rotation_range, self.rotation_gap, self.translation_range)

    def split(self, source: MeshSource, indices: Sequence[int]) -> np.ndarray:
        """Split objects into training (0) and validation (1), (N,) uint8.

        Args:
            source: mesh source of the objects.
            indices: N numbers of objects in ``source``.

        Raises:
            ValueError: see :func:`equissl.datasets.views.split.split_objects`.
        """
        entries = [source.entry(int(index)) for index in indices]
        return split_objects(
            [entry.label for entry in entries],
            [entry.source for entry in entries],
            self.val_fraction,
            self.seed,
            self.val_source,
            [entry.split for entry in entries],
        )


@dataclass(frozen=True)
class BuildSpec(ViewSpec):
    """Specification of a store of views. Equal specs give equal bytes.

    Attributes:
        views: V, views of each object.
        encoding: ``jpeg`` (about 0.2 bytes a pixel) or ``raw`` (3 bytes a pixel, many times faster to read).
        quality: of the JPEG files.
        bias: ``LATENT:class:SHARE`` binds ``hue`` (the floor's) or ``light_hue`` to the class in that share of the
            training views; held-out objects stay as they are. ``hue:class:0.99``, see :class:`Bias`.
        points: P, store a point cloud of each object too: so many area-weighted points of its mesh, with normals and
            colours, in the object's own reference frame. None stores none.
        objects_per_shard: most objects in one unit of work; large raw images take fewer. Does not change the result.
    """

    views: int = 50
    encoding: str = "jpeg"
    quality: int = 95
    bias: str | None = None
    points: int | None = None
    objects_per_shard: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_least(views=1, quality=1, points=1, objects_per_shard=1)
        if self.encoding not in ENCODINGS:
            raise ValueError(f"expected encoding to be one of {ENCODINGS}, got {self.encoding!r}")
        if self.bias is not None:
            Bias.parse(self.bias)

    def split(self, source: MeshSource, indices: Sequence[int]) -> np.ndarray:
        """Split as `ViewSpec.split`; with a bias, before it is known which meshes can be used.

        Views of held-out objects are unbiased, so the split has to be settled before they are rendered.

        Args:
            source: mesh source of the objects.
            indices: N numbers of objects in ``source``.
        """
        if self.bias is None:
            return super().split(source, indices)
        return super().split(source, range(len(source)))[np.asarray(indices, dtype=np.int64)]

    @property
    def bytes_per_image(self) -> int:
        """Size of an image: exact for raw, an estimate for JPEG of quality 95 otherwise."""
        pixels = self.size * self.size
        return 3 * pixels if self.encoding == "raw" else 700 + pixels // 5

    @property
    def bytes_per_object(self) -> int:
        """Size of an object with its views and its cloud."""
        return self.views * self.bytes_per_image + (self.points or 0) * _BYTES_PER_POINT

    @property
    def shard_size(self) -> int:
        """Objects in a shard."""
        return max(1, min(self.objects_per_shard, _MAX_SHARD_BYTES // self.bytes_per_object))


def describe_build(spec: BuildSpec, source: MeshSource, renderer: Renderer) -> dict:
    """Describe everything that decides the bytes of the result, as plain JSON values.

    Two builds whose descriptions are equal are the same build; the difference of two is what an error shows.

    Args:
        spec: specification of the build.
        source: mesh source of its objects.
        renderer: renderer of its views.
    """
    description = asdict(spec)
    for name in ("objects_per_shard", "min_coverage", "renderer_options"):
        del description[name]
    for name in ("bias", "points"):  # stores that were built before there were these stay the same build
        if getattr(spec, name) is None:
            del description[name]
    entries = [source.entry(i) for i in range(len(source))]
    listing = json.dumps([[entry.name, entry.label, entry.source] for entry in entries] + [list(source.classes)])
    description |= {
        "renderer": {"name": renderer.name, "version": renderer.version, "options": dict(renderer.options)},
        "generator_version": GENERATOR_VERSION,
        "objects_found": len(entries),
        "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    return json.loads(json.dumps(description, sort_keys=True))


def build_header(spec: BuildSpec, source: MeshSource, description: dict) -> StoreHeader:
    """Create the header of the finished store and of its shards.

    Args:
        spec: specification of the build.
        source: mesh source of its objects.
        description: see :func:`describe_build`.
    """
    entries = [source.entry(i) for i in range(len(source))]
    licences = Counter((entry.source, entry.licence) for entry in entries)
    attributes = {
        "generator_version": GENERATOR_VERSION,
        "seed": spec.seed,
        "quality": spec.quality,
        "renderer": description["renderer"],
        "build": description,
        "sources": [{"source": s, "licence": n, "objects": c} for (s, n), c in sorted(licences.items())],
        "notes": list(notes_of(source)),
    }
    names, points = tuple(source.classes), spec.points or 0
    return StoreHeader(spec.schema, names, spec.views, spec.size, spec.encoding, attributes, points)
