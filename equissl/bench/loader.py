"""Benchmark of loading pairs of views: loose files (two JPEG and two .npy per pair) against stores of the same."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equissl.datasets.sampling import choose_views
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.datasets.views.dataset import ViewDataset
from equissl.datasets.views.folder.layout import unpack
from equissl.datasets.views.store.store import ViewStore, write_store

_MEAN = torch.tensor((0.5016, 0.5037, 0.5060)).view(3, 1, 1)
_STD = torch.tensor((0.1030, 0.0999, 0.0969)).view(3, 1, 1)
_VIEWS = 10

Pairs = Callable[[np.ndarray], tuple[Tensor, Tensor]]  # item numbers -> a batch


def bench_loader(
    images: int = 500,
    size: int = 256,
    batch_size: int = 64,
    seconds: float = 2.0,
    rounds: int = 3,
    memory_batches: int = 1000,
    folder: Path | str | None = None,
) -> dict[str, float]:
    """Measure pairs per second in one process and one thread, and growth of memory.

    Every way yields batches of pairs with their relative quaternions from the same images, all in the page cache:

    * ``original``: per pair, two JPEG files opened with Pillow, converted to RGB and resized (no change of size), two
      .npy files, one relative quaternion; stacked to uint8 (B, 2, 3, S, S).
    * ``jpeg``, ``raw``: a batch of :class:`ViewDataset` from a store with the same JPEG bytes, and with the same pixels
      decoded beforehand; the same end product.
    * ``original_float``, ``jpeg_float``, ``raw_float``: as above, then normalised float32 on the CPU, image by image,
      as the original way does. The stores' own use is to normalise on the device that trains.

    The ways take turns, ``rounds`` times for ``seconds`` each; the best round counts, so that other load on the machine
    does not favour one of them.

    Args:
        images: how many, rendered from procedural meshes.
        size: S.
        batch_size: pairs in a batch.
        seconds, rounds: how long to measure.
        memory_batches: batches of each store read while the resident memory is watched; 0 leaves this out.
        folder: where temporary data go; default the system's.

    Returns:
        ``pairs_per_s/WAY``; ``ratio/WAY`` over ``original``, or over ``original_float`` for those;
        ``resident_mb/WAY/first`` and ``/last``; ``bytes_per_image/jpeg``; and the settings.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="bench-loader-") as name:
            return _bench(Path(name), images, size, batch_size, seconds, rounds, memory_batches)
    finally:
        torch.set_num_threads(threads)


def _bench(
    folder: Path, images: int, size: int, batch_size: int, seconds: float, rounds: int, memory_batches: int
) -> dict[str, float]:
    jpeg, raw, loose = make_three_forms(folder, max(2, images // _VIEWS), size)
    sets = {"jpeg": ViewDataset(jpeg, None), "raw": ViewDataset(raw, None)}
    plain: dict[str, Pairs] = {"original": OriginalWay(loose)} | {n: _pairs_of(s) for n, s in sets.items()}
    ways = plain | {f"{name}_float": _normalised(way) for name, way in plain.items()}
    speeds = _measure(ways, jpeg.num_objects, batch_size, seconds, rounds)
    results: dict[str, float] = {f"pairs_per_s/{name}": speed for name, speed in speeds.items()}
    for name, speed in speeds.items():
        kind = "original_float" if name.endswith("_float") else "original"
        if name != kind:
            results[f"ratio/{name}"] = speed / speeds[kind]
    for name in sets if memory_batches else ():
        first, last = _watch_memory(plain[name], jpeg.num_objects, min(batch_size, 16), memory_batches)
        results |= {f"resident_mb/{name}/first": first, f"resident_mb/{name}/last": last}
    sizes = {
        "images": jpeg.num_objects * _VIEWS,
        "size": size,
        "batch_size": batch_size,
        "memory_batches": memory_batches,
    }
    return results | {"bytes_per_image/jpeg": float(jpeg.tables.sizes.mean())} | sizes


def make_three_forms(folder: Path, objects: int, size: int) -> tuple[ViewStore, ViewStore, Path]:
    """Make a JPEG store of rendered views, a raw store of its pixels, and its JPEG files in the original layout.

    Args:
        folder: to write to.
        objects: number of objects.
        size: pixels on a side.
    """
    spec = BuildSpec("procedural", objects=objects, views=_VIEWS, size=size, val_fraction=0.0)
    build_views(spec, folder / "jpeg.h5", workers=0, progress=False)
    jpeg = ViewStore(folder / "jpeg.h5")
    pixels = jpeg.read_images(np.arange(jpeg.num_objects * _VIEWS)).permute(0, 2, 3, 1).numpy()
    pixels = pixels.reshape(jpeg.num_objects, _VIEWS, size, size, 3)
    write_store(
        folder / "raw.h5", pixels, jpeg.latents, jpeg.labels, jpeg.schema, jpeg.classes, encoding="raw"
    )  # fmt: skip
    return jpeg, ViewStore(folder / "raw.h5"), unpack(jpeg, folder / "loose")


class OriginalWay:
    """Pairs from loose files, item by item."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = np.load(folder / "train_images.npy")

    def __call__(self, items: np.ndarray) -> tuple[Tensor, Tensor]:
        views = choose_views(0, np.zeros_like(items), items, 2, _VIEWS)
        pairs = [self.pair(item, *chosen) for item, chosen in zip(items.tolist(), views.tolist(), strict=True)]
        return torch.stack([images for images, _ in pairs]), torch.stack([quat for _, quat in pairs])

    def pair(self, item: int, first: int, second: int) -> tuple[Tensor, Tensor]:
        place = str(self.folder) + self.objects[item % len(self.objects)]
        images = [self.image(f"{place}image_{view}.jpg") for view in (first, second)]
        latents = [np.load(f"{place}latent_{view}.npy") for view in (first, second)]
        return torch.stack(images), torch.from_numpy(relative_quaternion(latents[0][:3], latents[1][:3]))

    @staticmethod
    def image(path: str) -> Tensor:
        with Path(path).open("rb") as file:
            image = Image.open(file).convert("RGB")
        image = image.resize(image.size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def relative_quaternion(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the quaternion (4,) xyzw of R(first)ᵀ R(second) of one pair, with NumPy alone.

    Args:
        first: (3,) extrinsic x-y-z angles in radians.
        second: (3,) extrinsic x-y-z angles in radians.
    """
    (x1, y1, z1, w1), (x, y, z, w) = _quaternion(first), _quaternion(second)
    x1, y1, z1 = -x1, -y1, -z1
    return np.array(
        [
            w1 * x + x1 * w + y1 * z - z1 * y,
            w1 * y - x1 * z + y1 * w + z1 * x,
            w1 * z + x1 * y - y1 * x + z1 * w,
            w1 * w - x1 * x - y1 * y - z1 * z,
        ]
    )


def _quaternion(euler: np.ndarray) -> tuple[float, float, float, float]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler / 2).tolist(), np.sin(euler / 2).tolist()
    return (
        sx * cy * cz - cx * sy * sz,
        cx * sy * cz + sx * cy * sz,
        cx * cy * sz - sx * sy * cz,
        cx * cy * cz + sx * sy * sz,
    )


def _pairs_of(dataset: ViewDataset) -> Pairs:
    def pairs(items: np.ndarray) -> tuple[Tensor, Tensor]:
        indices = items % len(dataset)
        batch = dataset.__getitems__(np.stack([items // len(dataset), indices], axis=1).tolist())
        return batch.images, batch.relative_quats(sign="legacy")

    return pairs


def _normalised(way: Pairs) -> Pairs:
    def pairs(items: np.ndarray) -> tuple[Tensor, Tensor]:
        images, quats = way(items)
        images = images.contiguous()
        out = torch.from_numpy(np.empty(images.shape, np.float32))
        for target, image in zip(out.flatten(0, 1), images.flatten(0, 1), strict=True):
            target.copy_(image).div_(255).sub_(_MEAN).div_(_STD)
        return out, quats

    return pairs


def _measure(ways: dict[str, Pairs], objects: int, batch_size: int, seconds: float, rounds: int) -> dict[str, float]:
    best = dict.fromkeys(ways, 0.0)
    for way in ways.values():
        way(np.arange(max(batch_size, objects)))  # files into the page cache
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = max(best[name], _pairs_per_second(way, _items(objects, batch_size), batch_size, seconds))
    return best


def _items(objects: int, batch_size: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.integers(0, 1000 * objects, batch_size)


def _pairs_per_second(way: Pairs, items: Iterator[np.ndarray], batch_size: int, seconds: float) -> float:
    start, batches = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not batches:
        way(next(items))
        batches += 1
    return batches * batch_size / passed


def _watch_memory(way: Pairs, objects: int, batch_size: int, batches: int) -> tuple[float, float]:
    """Measure resident megabytes after the first tenth of ``batches`` and after all."""
    items, tenth = _items(objects, batch_size), max(1, batches // 10)
    for _ in range(tenth):
        way(next(items))
    first = resident_megabytes()
    for _ in range(batches - tenth):
        way(next(items))
    return first, resident_megabytes()


def resident_megabytes() -> float:
    """Return the physical memory of this process, file pages included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
