"""Random paired batches and small methods on them."""

from __future__ import annotations

from typing import Any

import torch

from equissl.datasets.paired.batch import CloudBatch, PairedBatch, TextBatch
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import threediebench_schema
from equissl.encoders.cloud.config import CloudEncoderConfig
from equissl.encoders.config import EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.geometry import random_rotmat

ENCODER = EncoderConfig(width=4)
CLOUD = CloudEncoderConfig("pointnet")
EQUIVARIANT = CloudEncoderConfig("equivariant", options={"irreps": "8x0e+4x1e+4x2e", "width": 4, "centres": 8})
TEXT = TextEncoderConfig(options={"width": 16, "heads": 2, "layers": 1, "length": 12})
SMALL: dict[str, Any] = {"encoder": ENCODER, "projector": (16, 8)}


def random_batch(
    objects: int = 6, views: int = 1, clouds: int = 1, texts: int = 1, points: int = 24, seed: int = 0
) -> PairedBatch:
    generator = torch.Generator().manual_seed(seed)
    schema = threediebench_schema((1.5, 1.5, 1.5))
    images = torch.randint(256, (objects, views, 3, 32, 32), generator=generator, dtype=torch.uint8)
    rotations = random_rotmat(objects * views, generator).view(objects, views, 3, 3)
    labels = torch.arange(objects) % 3
    shown = ViewBatch(images, rotations, torch.zeros(objects, views, len(schema)), labels, schema)
    places = torch.randn(objects, 1, points, 3, generator=generator).expand(-1, clouds, -1, -1).clone()
    turns = random_rotmat(objects * clouds, generator).view(objects, clouds, 3, 3)
    turned = places @ turns.mT
    cloud = CloudBatch(turned, turned / turned.norm(dim=3, keepdim=True), torch.rand(turned.shape), turns)
    tokens = torch.randint(2, 200, (objects, texts, 12), generator=generator)
    text = TextBatch(tokens, torch.full((objects, texts), 12))
    return PairedBatch(shown, cloud, text, labels, torch.arange(objects))
