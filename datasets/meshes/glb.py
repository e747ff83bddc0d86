"""Check of a GLB file's table of contents before its decoding allocates what that promises."""

from __future__ import annotations

import importlib.util
import json
import struct
from typing import Any

_MAX_ELEMENTS, _MAX_NODES = 50_000_000, 50_000
#: Extensions without which the geometry cannot be had, and the Python package that decodes them, if any.
_COMPRESSION = {"KHR_draco_mesh_compression": "DracoPy", "EXT_meshopt_compression": None}


def check_glb(data: bytes) -> None:
    """Raise ValueError for a GLB file that cannot be decoded here, or not within reason.

    That is one whose geometry is compressed and the package that unpacks it absent; or whose arrays without data
    (zeros, by the standard), or face corners with all their copies in the scene, are more than 50 million, or its
    nodes more than 50,000.
    """
    tree = _contents(data)
    for name in tree.get("extensionsRequired") or []:
        package = _COMPRESSION.get(name, "numpy")
        if package is None:
            raise ValueError(f"it needs {name}, which is not supported")
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"it needs {name}: pip install {package}")
    if (nodes := len(tree.get("nodes") or [])) > _MAX_NODES:
        raise ValueError(f"it has {nodes} nodes, more than the limit of {_MAX_NODES}")
    accessors = tree.get("accessors") or []
    empty = sum(
        _count(accessor) for accessor in accessors if isinstance(accessor, dict) and "bufferView" not in accessor
    )
    drawn = _count_drawn(tree, accessors)
    if max(empty, drawn) > _MAX_ELEMENTS:
        raise ValueError(
            f"it promises {empty} elements without data and {drawn} face corners with all copies, "
            f"more than the limit of {_MAX_ELEMENTS}"
        )


def _contents(data: bytes) -> dict[str, Any]:
    if len(data) < 20 or data[:4] != b"glTF":
        raise ValueError("no GLB header")
    tree = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    if not isinstance(tree, dict):
        raise ValueError(f"expected a JSON object, got a {type(tree).__name__}")
    return tree


def _count_drawn(tree: dict[str, Any], accessors: list[Any]) -> int:
    """Face corners over all nodes that show a mesh."""
    corners = []
    for mesh in tree.get("meshes") or []:
        primitives = mesh.get("primitives") or [] if isinstance(mesh, dict) else []
        corners.append(sum(_corners(primitive, accessors) for primitive in primitives))
    shown = (node.get("mesh") for node in tree.get("nodes") or [] if isinstance(node, dict))
    return sum(corners[i] for i in shown if isinstance(i, int) and 0 <= i < len(corners))


def _corners(primitive: Any, accessors: list[Any]) -> int:
    if not isinstance(primitive, dict):
        return 0
    attributes = primitive.get("attributes")
    index = primitive.get("indices", attributes.get("POSITION") if isinstance(attributes, dict) else None)
    return _count(accessors[index]) if isinstance(index, int) and 0 <= index < len(accessors) else 0


def _count(accessor: Any) -> int:
    count = accessor.get("count") if isinstance(accessor, dict) else 0
    return count if isinstance(count, int) else 0
