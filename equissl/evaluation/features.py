"""Frozen features of every stored view, computed once and cached."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import torch
from torch import Tensor

from equissl.datasets.schema import ROTATION
from equissl.datasets.store import ViewStore
from equissl.geometry import euler_to_unitquat, rotmat_to_unitquat

if TYPE_CHECKING:
    from equissl.methods import Method


@dataclass(frozen=True)
class FeatureSet:
    """All views of one split.

    Attributes:
        parts: name to features (N, V, D).
        objects: (N,) index of each object in its store.
        labels: (N,) class index.
        quats: (N, V, 4) pose of each view, xyzw, float64; positive half-angle sign where the store holds Euler angles.
    """

    parts: dict[str, Tensor]
    objects: np.ndarray
    labels: Tensor
    quats: Tensor

    @property
    def num_views(self) -> int:
        return self.quats.shape[1]


def has_euler_latents(store: ViewStore) -> bool:
    """Whether the store fixes the published sign of a pose's quaternion (a rotation matrix alone cannot)."""
    return set(ROTATION) <= set(store.schema.names)


def view_quats(store: ViewStore, objects: np.ndarray) -> Tensor:
    """(N, V, 4) pose of every view of ``objects`` as unit quaternions xyzw, float64."""
    if has_euler_latents(store):
        return euler_to_unitquat(torch.from_numpy(store.latents[objects][..., store.schema.columns(*ROTATION)]))
    return rotmat_to_unitquat(store.rotations()[torch.as_tensor(objects)])


@torch.inference_mode()
def extract_features(
    method: Method,
    store: ViewStore,
    objects: np.ndarray,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "32",
    dtype: torch.dtype = torch.float32,
    workers: int = 0,
) -> dict[str, Tensor]:
    """Features of all views of ``objects``, from the frozen network in eval mode.

    Eval mode matters: a backbone left in train mode normalises with batch statistics and keeps updating them, so the
    features depend on the batch and drift while the probe learns.

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
    for start, images in zip(starts, read_ahead(store, chunks, workers), strict=True):
        with autocast:
            batch = method.features(images.to(device))
        for name, values in batch.items():
            if values.ndim != 2 or len(values) != len(images):
                raise ValueError(f"expected part '{name}' of shape ({len(images)}, D), got {tuple(values.shape)}")
            if name not in parts:
                parts[name] = torch.empty(len(indices), values.shape[1], dtype=dtype)
            parts[name][start : start + len(values)] = values.to("cpu", dtype)
    check_finite(parts)
    return {name: values.view(len(objects), num_views, -1) for name, values in parts.items()}


def read_ahead(store: ViewStore, chunks: list[np.ndarray], workers: int) -> Iterator[Tensor]:
    """Decoded images of each chunk of flat indices, in order; ``workers`` threads keep a few chunks ready."""
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
    """Raises ValueError naming the first part that holds a NaN or an infinity."""
    for name, values in parts.items():
        bad = values.numel() - int(torch.isfinite(values).sum())
        if bad:
            hint = "; float16 overflows above 65504, set feature_dtype=float32" if values.dtype == torch.float16 else ""
            raise ValueError(f"expected finite features, but {bad} of {values.numel()} in part '{name}' are not{hint}")


def fingerprint(checkpoint: Path, store: ViewStore, **settings: object) -> str:
    """Hash of everything the features depend on: the weights, the stored views and the extraction settings."""
    digest = hashlib.sha256()
    with checkpoint.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    for array in (store.latents, store.labels, store.split):
        digest.update(np.ascontiguousarray(array).tobytes())
    file_stat = Path(store.path).stat()
    facts = {"image_size": store.image_size, "bytes": file_stat.st_size, "attributes": store.attributes, **settings}
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def load_cache(path: Path, expected: str) -> dict[str, Tensor] | None:
    """Cached parts, or None where the file is absent, unreadable or was made from other weights or views."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("fingerprint") != expected:
                return None
            return {name: torch.from_numpy(file[name][()]) for name in file}
    except OSError:  # truncated by a crash of the machine; the features are computed again
        return None


def save_cache(path: Path, parts: dict[str, Tensor], mark: str) -> None:
    """Writes under a temporary name, then renames: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(partial, "w") as file:
            for name, values in parts.items():
                file.create_dataset(name, data=values.numpy())
            file.attrs["fingerprint"] = mark
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
