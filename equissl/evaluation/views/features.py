"""Frozen features of every stored view, computed once and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch
from torch import Tensor

from equissl.datasets.views.schema import ROTATION, LatentSchema
from equissl.datasets.views.store.store import ViewStore
from equissl.geometry import euler_to_unitquat, rotmat_to_unitquat
from equissl.util.files import atomic_path
from equissl.util.progress import staged

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod


Shape = tuple[int, int, int]
Allocate = Callable[[dict[str, Shape], torch.dtype], dict[str, Tensor]]

IN_MEMORY_BYTES = 1 << 30  # a cached part below this is read into memory, a larger one is mapped
BLOCK_OBJECTS = 4096  # objects that a pass over all features takes at a time


@dataclass(frozen=True)
class FeatureSet:
    """All views of one split.

    Attributes:
        parts: name to features (N, V, D).
        objects: (N,) index of each object in its store.
        labels: (N,) class index.
        quats: (N, V, 4) pose of each view, xyzw, float64; positive half-angle sign where the store holds Euler angles.
        latents: (N, V, L) float64 generative factors, for the probes of anything but class and rotation.
        schema: names of their columns.
    """

    parts: dict[str, Tensor]
    objects: np.ndarray
    labels: Tensor
    quats: Tensor
    latents: Tensor | None = None
    schema: LatentSchema | None = None

    @property
    def num_views(self) -> int:
        return self.quats.shape[1]

    def holds(self, *names: str) -> bool:
        """Return True where all these latents are known."""
        return self.latents is not None and self.schema is not None and set(names) <= set(self.schema.names)

    def columns(self, *names: str) -> Tensor:
        """Return (N, V, len(names)) latents by name.

        Raises:
            ValueError: where the store does not hold them.
        """
        if self.latents is None or self.schema is None:
            raise ValueError(f"expected latents {list(names)}, but this feature set has none")
        return self.latents[..., self.schema.columns(*names)]


def has_euler_latents(store: ViewStore) -> bool:
    """Return True where the store fixes the published sign of a pose's quaternion (a rotation matrix alone cannot)."""
    return set(ROTATION) <= set(store.schema.names)


def view_quats(store: ViewStore, objects: np.ndarray) -> Tensor:
    """Return the pose (N, V, 4) of every view of ``objects`` as unit quaternions xyzw, float64.

    Args:
        store: the views.
        objects: (N,) indices of objects in the store.
    """
    if has_euler_latents(store):
        return euler_to_unitquat(torch.from_numpy(store.latents[objects][..., store.schema.columns(*ROTATION)]))
    return rotmat_to_unitquat(store.rotations()[torch.as_tensor(objects)])


@torch.inference_mode()
def extract_features(
    method: ViewMethod,
    store: ViewStore,
    objects: np.ndarray,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "32",
    dtype: torch.dtype = torch.float32,
    workers: int = 0,
    allocate: Allocate | None = None,
) -> dict[str, Tensor]:
    """Compute features of all views of ``objects``, from the frozen network in eval mode.

    Eval mode matters: a backbone left in train mode normalises with batch statistics and keeps updating them, so the
    features depend on the batch and drift while the probe learns.

    Args:
        allocate: gives the tensors to fill, for example in a file (:func:`create_feature_file`); memory where None.

    Returns:
        part name to (N, V, D) features on the CPU.

    Raises:
        ValueError: naming the part that is not finite or has an unexpected shape.
    """
    method.eval().to(device)
    num_views = store.num_views
    indices = (np.asarray(objects)[:, None] * num_views + np.arange(num_views)).reshape(-1)
    autocast = torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bf16")
    parts: dict[str, Tensor] = {}
    starts = range(0, len(indices), batch_size)
    chunks = [indices[start : start + batch_size] for start in starts]
    batches = staged(read_ahead(store, chunks, workers), "features", "batches", len(chunks))
    for start, images in zip(starts, batches, strict=True):
        with autocast:
            batch = method.features(images.to(device))
        for name, values in batch.items():
            if values.ndim != 2 or len(values) != len(images):
                raise ValueError(f"expected part '{name}' of shape ({len(images)}, D), got {tuple(values.shape)}")
        if not parts:
            shapes = {name: (len(objects), num_views, values.shape[1]) for name, values in batch.items()}
            parts = (allocate or in_memory)(shapes, dtype)
        for name, values in batch.items():
            parts[name].flatten(0, 1)[start : start + len(values)] = values.to("cpu", dtype)
    check_finite(parts)
    return parts


def in_memory(shapes: dict[str, Shape], dtype: torch.dtype) -> dict[str, Tensor]:
    """Allocate uninitialised tensors by part.

    Args:
        shapes: shape of each part.
        dtype: of all parts.
    """
    return {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}


def read_ahead(store: ViewStore, chunks: list[np.ndarray], workers: int) -> Iterator[Tensor]:
    """Yield decoded images of each chunk of flat indices, in order; ``workers`` threads keep a few chunks ready.

    Args:
        store: the views.
        chunks: flat indices (object times views plus view) of each chunk.
        workers: number of threads; 0 reads when asked.
    """
    if not workers:
        yield from map(store.read_images, chunks)
        return
    with ThreadPoolExecutor(workers) as pool:
        ready: deque[Future[Tensor]] = deque()
        for chunk in chunks:
            ready.append(pool.submit(store.read_images, chunk))
            if len(ready) > workers:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()


def check_finite(parts: dict[str, Tensor]) -> None:
    """Raise ValueError naming the first part that holds a NaN or an infinity."""
    for name, values in parts.items():
        bad = values.numel() - sum(int(torch.isfinite(block).sum()) for block in values.split(BLOCK_OBJECTS))
        if bad:
            hint = "; float16 overflows above 65504, set feature_dtype=float32" if values.dtype == torch.float16 else ""
            raise ValueError(f"expected finite features, but {bad} of {values.numel()} in part '{name}' are not{hint}")


def fingerprint(checkpoint: Path, store: ViewStore, **settings: object) -> str:
    """Hash everything the features depend on: the weights, the stored views and the extraction settings.

    Args:
        checkpoint: file of the weights.
        store: the views.
        settings: of the extraction.
    """
    digest = hashlib.sha256()
    with checkpoint.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    for array in (store.latents, store.labels, store.split):
        digest.update(np.ascontiguousarray(array).tobytes())
    facts = {"image_size": store.image_size, "bytes": store.num_bytes, "attributes": store.attributes, **settings}
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def load_cache(path: Path, expected: str) -> dict[str, Tensor] | None:
    """Load cached parts; None where the file is absent, unreadable or was made from other weights or views.

    Small parts are read into memory; large ones are memory-mapped, so that only the rows in use take memory.

    Args:
        path: of the feature file.
        expected: its :func:`fingerprint`.
    """
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("fingerprint") != expected or not len(file):
                return None
            return {name: _read_part(file[name], path) for name in file}
    except (OSError, ValueError):  # truncated by a crash of the machine; the features are computed again
        return None


def _read_part(part: h5py.Dataset, path: Path) -> Tensor:
    if part.nbytes <= IN_MEMORY_BYTES or part.id.get_offset() is None:
        return torch.from_numpy(part[()])
    # copy on write: torch wants writable memory, the file stays as it is
    return torch.from_numpy(np.memmap(path, part.dtype, "c", part.id.get_offset(), part.shape))


def create_feature_file(path: Path, shapes: dict[str, Shape], dtype: torch.dtype) -> dict[str, Tensor]:
    """Create a feature file without a fingerprint, and return its parts as writable memory-mapped tensors.

    The disk space is taken at once: writing to a map of a full disk would end the process without a message.

    Args:
        path: of the file.
        shapes: shape of each part.
        dtype: of all parts.

    Raises:
        OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    places = {}
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            created = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(kind), space, layout)
            places[name] = created.get_offset()
    with path.open("r+b") as raw:
        os.posix_fallocate(raw.fileno(), 0, path.stat().st_size)
    maps = {name: np.memmap(path, kind, "r+", places[name], shape) for name, shape in shapes.items()}
    return {name: torch.from_numpy(values) for name, values in maps.items()}


def cached_features(path: Path, mark: str, compute: Callable[[Allocate], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read parts from the cache file, or compute them straight into it: at no time are they all in memory.

    Args:
        path: the cache file.
        mark: fingerprint that the file must carry.
        compute: fills the tensors that the function it is given allocates.
    """
    if (parts := load_cache(path, mark)) is not None:
        return parts
    with atomic_path(path) as temporary:
        parts = compute(lambda shapes, dtype: create_feature_file(temporary, shapes, dtype))
        with h5py.File(temporary, "r+") as file:
            file.attrs["fingerprint"] = mark
    return parts
