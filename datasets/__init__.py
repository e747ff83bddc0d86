"""View stores: built from meshes, read in batches."""

from __future__ import annotations

from equissl.datasets.loader import ViewLoader
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.dataset import ViewDataset, make_batch
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import Latent, LatentSchema, threediebench_schema, threediebench_t_schema
from equissl.datasets.views.split import split_objects
from equissl.datasets.views.store.store import StoreError, ViewStore, write_store

__all__ = [
    "Latent",
    "LatentSchema",
    "StoreError",
    "ViewBatch",
    "ViewDataset",
    "ViewLoader",
    "ViewStore",
    "make_batch",
    "sample_latents",
    "split_objects",
    "threediebench_schema",
    "threediebench_t_schema",
    "write_store",
]
