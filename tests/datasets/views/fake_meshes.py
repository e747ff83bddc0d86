"""A mesh source and a renderer without geometry; run as a script it builds a store, to be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from equissl.datasets.meshes import Material, Mesh, MeshEntry, MeshError
from equissl.renderers import Rendering


@dataclass
class FakeSource:
    """``count`` objects, classes in turn.

    Those in ``broken`` raise MeshError, ``deadly`` kills the process, or with ``once`` (a file that is made then) the
    first time only, or with ``parent`` the process above it; ``endless`` never returns; ``log`` takes process numbers.
    Those in ``patched`` come with two warnings, one of them twice.
    """

    count: int = 12
    broken: tuple[int, ...] = ()
    deadly: int | None = None
    faulty: int | None = None
    once: str | None = None
    parent: bool = False
    endless: int | None = None
    log: str | None = None
    patched: tuple[int, ...] = (1, 20)
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("apple", "bowl", "chair")
    name: str = "fake"

    def __len__(self) -> int:
        return self.count

    def entry(self, index: int) -> MeshEntry:
        label = index % len(self.classes)
        source = "odd" if index % 2 else "even"
        return MeshEntry(f"{self.classes[label]}/{index:03d}", label, source, "CC0", f"maker {index}")

    def load(self, index: int) -> Mesh:
        if index in self.broken:
            raise MeshError(f"{self.entry(index).name}: no faces")
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{index} {os.getpid()}\n")
        if index == self.deadly and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            above = multiprocessing.parent_process()
            os.kill(above.pid if self.parent and above else os.getpid(), signal.SIGKILL)
            time.sleep(30)
        while index == self.endless:
            time.sleep(1)
        if index == self.faulty:
            raise KeyError("surprise")
        vertices = np.full((3, 3), float(index), np.float32)
        faces = np.array([[0, 1, 2]], np.int32)
        warnings = (
            (f"texture 'skin{index}.png' is missing", "no normals", "no normals") if index in self.patched else ()
        )
        return Mesh(vertices, faces, np.zeros(1, np.int32), None, None, (Material(),), warnings=warnings)


@dataclass
class FakeRenderer:
    """Colours from the mesh and the view; noise from both makes the JPEG sizes differ.

    Views of the objects in ``small`` show them in as many pixels as the view's number, of others in half the image.
    """

    delay: float = 0.0
    small: tuple[int, ...] = (4, 19)
    name: str = "fake"
    version: str = "1"
    options: dict = field(default_factory=dict)

    def render(self, mesh: Mesh, views: list, size: int) -> np.ndarray:
        time.sleep(self.delay)
        images = np.empty((len(views), size, size, 3), np.uint8)
        for image, view in zip(images, views, strict=True):
            seed = [int(mesh.vertices[0, 0]), int(1e6 * (view.rotation[0, 0] + 1))]
            image[:] = np.random.default_rng(seed).integers(0, 256, image.shape)
        return images

    def render_counted(self, mesh: Mesh, views: list, size: int) -> Rendering:
        few = int(mesh.vertices[0, 0]) in self.small
        counts = np.arange(len(views)) if few else np.full(len(views), size * size // 2)
        return Rendering(self.render(mesh, views, size), counts)


if __name__ == "__main__":
    from equissl.datasets.views.build.builder import BuildSpec, build_views

    out, workers, delay, *rest = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]
    spec = BuildSpec(meshes="fake", views=3, size=16, seed=5, objects_per_shard=2)
    print("start", flush=True)
    options = {"shard": rest[0] if rest else None, "source": FakeSource(24), "renderer": FakeRenderer(delay)}
    report = build_views(spec, out, workers, progress=False, **options)
    print(report.joined, flush=True)
