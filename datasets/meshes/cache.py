"""Decoded meshes on disk, one ``.npz`` each, checked by CRC and by the fingerprints of what it was made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.meshes.files import Files, RecordingFiles
from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.util.files import atomic_path

logger = logging.getLogger(__name__)
#: Part of every key: raise it when decoding or normalisation changes what a mesh looks like.
CODE_VERSION = 6


def cache_root() -> Path:
    """Compute ``$EQUISSL_CACHE``, else ``~/.cache/equissl``."""
    return Path(os.environ.get("EQUISSL_CACHE") or Path.home() / ".cache" / "equissl")


def cached_mesh(files: Files, path: str, name: str, variant: str, decode: Callable[[Files], Mesh]) -> Mesh:
    """Return the mesh that ``decode`` makes, from the cache where nothing it was made from has changed.

    Entries are written to a temporary name and renamed, so readers in other processes never see half a file. An entry
    that cannot be read is made again; a cache that cannot be written costs a warning, once per process.

    Args:
        files: What ``decode`` reads from.
        path: The main file in ``files``.
        name: Given to the mesh.
        variant: Options of ``decode`` that change its result.
        decode: Called with ``files`` (recording what is read) when there is no valid entry.
    """
    key = json.dumps([CODE_VERSION, files.location, path, variant, files.fingerprint(path)])
    entry = cache_root() / "meshes" / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npz"
    mesh = _load(entry, files)
    if mesh is None:
        recorder = RecordingFiles(files)
        mesh = decode(recorder)
        _store(entry, mesh, recorder.used)
    return replace(mesh, name=name)


def _load(entry: Path, files: Files) -> Mesh | None:
    try:
        with np.load(entry, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        if any(files.fingerprint(path) != mark for path, mark in meta["made_from"].items()):
            return None
        materials = tuple(_unpack_material(m, arrays) for m in meta["materials"])
        return Mesh(
            arrays["vertices"],
            arrays["faces"],
            arrays["face_material"],
            arrays.get("corner_uv"),
            arrays.get("corner_normals"),
            materials=materials,
            warnings=tuple(meta["warnings"]),
            corner_colours=arrays.get("corner_colours"),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None


def _unpack_material(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Material:
    texture = None if meta["texture"] is None else arrays[meta["texture"]]
    return Material(**{**meta, "diffuse": np.asarray(meta["diffuse"], np.float32), "texture": texture})


def _pack(mesh: Mesh, used: dict[str, str]) -> dict[str, np.ndarray]:
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces, "face_material": mesh.face_material}
    optional = ("corner_uv", "corner_normals", "corner_colours")
    arrays |= {k: v for k in optional if (v := getattr(mesh, k)) is not None}
    names: dict[int, str] = {}
    materials = []
    for material in mesh.materials:
        meta = asdict(replace(material, texture=None)) | {"diffuse": material.diffuse.tolist()}
        if material.texture is not None:
            # materials that share a texture share the array
            meta["texture"] = names.setdefault(id(material.texture), f"texture_{len(names)}")
            arrays[meta["texture"]] = material.texture
        materials.append(meta)
    text = json.dumps({"materials": materials, "warnings": mesh.warnings, "made_from": used})
    return arrays | {"meta": np.frombuffer(text.encode(), np.uint8)}


def _store(entry: Path, mesh: Mesh, used: dict[str, str]) -> None:
    try:
        with atomic_path(entry, sync=False) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **_pack(mesh, used))  # type: ignore[arg-type]
    except OSError as error:
        _warn_once(f"decoded meshes cannot be cached in {entry.parent} ({error}); every load decodes the file again")


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if "cache" not in _warned:
        _warned.add("cache")
        logger.warning("%s", message)
