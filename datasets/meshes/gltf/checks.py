"""Checks of a glTF file before its decoding allocates what it promises."""

from __future__ import annotations

import importlib.util
from typing import Any

from equissl.datasets.meshes.gltf.document import Document

_MAX_ELEMENTS, _MAX_NODES = 50_000_000, 50_000
DRACO, INSTANCES, TRANSFORM = "KHR_draco_mesh_compression", "EXT_mesh_gpu_instancing", "KHR_texture_transform"
GLOSSINESS, UNLIT = "KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit"
#: Extensions that carry a texture's image in a format that Pillow decodes.
IMAGES = ("EXT_texture_webp", "EXT_texture_avif")
_READ = {DRACO, INSTANCES, TRANSFORM, GLOSSINESS, UNLIT, "KHR_mesh_quantization", *IMAGES}
#: Extensions that change neither the shape nor the looks of the scene as it stands.
_HARMLESS = {"KHR_lights_punctual", "KHR_materials_variants", "KHR_animation_pointer", "KHR_xmp_json_ld", "KHR_xmp"}
_LOOKS = "KHR_materials_"  # beginning of the names of extensions that change only how a surface reflects light


def check_document(document: Document) -> tuple[str, ...]:
    """Refuse a file that cannot be decoded here, or not within reason; return warnings on what is not used.

    Raises:
        ValueError: where the file needs an extension that is not read, or a package that is absent; where its arrays
            without data (zeros, by the standard), or its face corners with all their copies in the scene, are more
            than 50 million, or its nodes more than 50,000.
    """
    _check_required(document.tree.get("extensionsRequired") or [])
    _check_promises(document)
    unread = {*(document.tree.get("extensionsUsed") or [])} - _READ - _HARMLESS
    return (f"extensions of the file are not used: {', '.join(sorted(unread))}",) if unread else ()


def _check_required(names: list[str]) -> None:
    for name in names:
        if name not in _READ | _HARMLESS and not name.startswith(_LOOKS):
            raise ValueError(f"it needs {name}, which is not supported")
    if DRACO in names and importlib.util.find_spec("DracoPy") is None:
        raise ValueError(f"it needs {DRACO}: pip install DracoPy")


def _check_promises(document: Document) -> None:
    if (nodes := len(document.items("nodes"))) > _MAX_NODES:
        raise ValueError(f"it has {nodes} nodes, more than the limit of {_MAX_NODES}")
    empty = sum(_count(accessor) for accessor in document.items("accessors") if "bufferView" not in accessor)
    drawn = _count_drawn(document)
    if max(empty, drawn) > _MAX_ELEMENTS:
        raise ValueError(
            f"it promises {empty} elements without data and {drawn} face corners with all copies, "
            f"more than the limit of {_MAX_ELEMENTS}"
        )


def _count_drawn(document: Document) -> int:
    """Face corners over all nodes that show a mesh; a strip has up to three a vertex."""
    meshes = document.items("meshes")
    corners = [sum(_corners(document, primitive) for primitive in mesh.get("primitives") or []) for mesh in meshes]
    shown = ((node.get("mesh"), _copies(document, node)) for node in document.items("nodes"))
    return sum(corners[i] * copies for i, copies in shown if isinstance(i, int) and 0 <= i < len(corners))


def _corners(document: Document, primitive: dict[str, Any]) -> int:
    index = primitive.get("indices", primitive["attributes"].get("POSITION"))
    several = 3 if primitive.get("mode", 4) in (5, 6) else 1
    return 0 if index is None else several * _count(document.item("accessors", index))


def _copies(document: Document, node: dict[str, Any]) -> int:
    attributes = ((node.get("extensions") or {}).get(INSTANCES) or {}).get("attributes") or {}
    return max([1, *(_count(document.item("accessors", index)) for index in attributes.values())])


def _count(accessor: dict[str, Any]) -> int:
    count = accessor.get("count")
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"expected a count of elements, got {count!r}")
    return count
