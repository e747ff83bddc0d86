"""Layout of a view store: names, versions and the header that describes every image in it.

A store is one HDF5 file. ``image_bytes`` is one contiguous uint8 blob of all encoded images, object after object and
view after view; ``image_offsets`` (N·V + 1) says where each begins. Everything else is a plain array. A contiguous HDF5
dataset has one file offset, so images are read by position without the HDF5 library, from any number of processes.
A store that was rendered with points holds the contiguous arrays ``points``, ``normals`` and ``colours`` (N, P, 3) too,
one point cloud an object in the object's own reference frame.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from equissl.datasets.views.schema import LatentSchema

FORMAT = "equissl-view-store"
FORMAT_VERSION = 2
GENERATOR_VERSION = 1  # raised whenever the same seed would give another picture or latent
ENCODINGS = ("jpeg", "raw")
BLOB, OFFSETS = "image_bytes", "image_offsets"
STRINGS = ("object_names", "object_sources", "object_licences", "object_creators")
DATASETS = (
    *(BLOB, OFFSETS, "latents", "labels", "split", "object_indices", "object_pixels"),
    *("classes", "skipped", "warnings", "provenance", *STRINGS),
)
NOT_COUNTED = -1  # object pixels of a view that came without them


class StoreError(ValueError):
    """A file that is not a whole view store of a known version; the message says what was expected and what came."""


@dataclass(frozen=True)
class StoreHeader:
    """Description shared by all images of a store.

    Attributes:
        schema: columns of the latent arrays.
        classes: class names; labels index them.
        num_views: V, views of each object.
        image_size: S, side of the square images in pixels.
        encoding: ``jpeg``, or ``raw`` (uint8, rows of RGB pixels, 3·S·S bytes an image).
        attributes: provenance as plain JSON values: seed, renderer, spec, licences.
        num_points: P, points of each object's cloud; 0 for a store without clouds.
    """

    schema: LatentSchema
    classes: tuple[str, ...]
    num_views: int
    image_size: int
    encoding: str = "jpeg"
    attributes: dict = field(default_factory=dict)
    num_points: int = 0

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"expected encoding to be one of {ENCODINGS}, got {self.encoding!r}")
        if self.num_views < 1 or self.image_size < 1:
            raise ValueError(
                f"expected at least 1 view and 1 pixel, got {self.num_views} views, size {self.image_size}"
            )
        if self.num_points < 0:
            raise ValueError(f"expected at least 0 points of each object, got {self.num_points}")

    def to_attributes(self) -> dict[str, str | int]:
        """Convert to HDF5 attributes; structured values as JSON text."""
        points = {"num_points": self.num_points} if self.num_points else {}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "encoding": self.encoding,
            "num_views": self.num_views,
            "image_size": self.image_size,
            "schema": json.dumps(self.schema.to_json()),
            **points,
        }

    def provenance(self) -> str:
        """Return ``attributes`` as JSON text."""
        return json.dumps(self.attributes, sort_keys=True)

    def encode(self, image: np.ndarray) -> bytes:
        """Encode one (S, S, 3) uint8 RGB image to bytes.

        JPEG has quality ``attributes["quality"]`` (95) and half the chroma resolution (4:2:0), as 3DIEBench has.
        """
        expected = (self.image_size, self.image_size, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(f"expected a uint8 image of shape {expected}, got {image.dtype} {image.shape}")
        if self.encoding == "raw":
            return image.tobytes()
        return encode_jpeg(image, int(self.attributes.get("quality", 95)))


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode an RGB image as JPEG; chroma subsampling 4:2:0.

    Args:
        image: (H, W, 3) uint8.
        quality: quality of the encoder, 1 to 100.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()
