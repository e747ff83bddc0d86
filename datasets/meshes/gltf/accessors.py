"""Accessors of a glTF file as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from equissl.datasets.meshes.gltf.document import Document

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_accessor(document: Document, index: Any, *, normalised: bool = False) -> np.ndarray:
    """Decode an accessor: strides, zeros where it has no data, sparse replacements and normalised integers.

    Args:
        document: the file.
        index: number of the accessor.
        normalised: take integers as fractions even where the accessor does not say so.

    Returns:
        (count, components): float64 for floats and normalised integers, integers of the stored type else.

    Raises:
        ValueError: for bytes that are missing, an unknown type, or sparse indices out of range.
    """
    accessor = document.item("accessors", index)
    component, shape, count = accessor["componentType"], accessor["type"], accessor["count"]
    if component not in _TYPES or shape not in _WIDTHS:
        raise ValueError(f"expected components of {[*_TYPES]} in {[*_WIDTHS]}, got {component!r} in {shape!r}")
    kind, width = _TYPES[component], _WIDTHS[shape]
    values = np.zeros((count, width), kind)
    if (view := accessor.get("bufferView")) is not None:
        values = _elements(document, view, accessor.get("byteOffset", 0), kind, (count, width))
    if sparse := accessor.get("sparse"):
        values = _replace(document, values, sparse)
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    return fractions(values) if normalised or accessor.get("normalized") else values


def _elements(document: Document, view: Any, offset: int, kind: str, shape: tuple[int, int]) -> np.ndarray:
    size = np.dtype(kind).itemsize
    stride = document.item("bufferViews", view).get("byteStride") or size * shape[1]
    if offset < 0 or stride < 1:
        raise ValueError(f"expected a byte offset and a stride that are not negative, got {offset} and {stride}")
    return np.ndarray(shape, kind, document.view(view), offset, (stride, size))


def _replace(document: Document, values: np.ndarray, sparse: dict[str, Any]) -> np.ndarray:
    count, where, new = sparse["count"], sparse["indices"], sparse["values"]
    rows = _elements(
        document, where["bufferView"], where.get("byteOffset", 0), _TYPES[where["componentType"]], (count, 1)
    )
    shape = (count, values.shape[1])
    replaced = values.copy()
    replaced[rows[:, 0]] = _elements(document, new["bufferView"], new.get("byteOffset", 0), values.dtype.str, shape)
    return replaced


def fractions(values: np.ndarray) -> np.ndarray:
    """Take integers as fractions of the largest of their type; the lowest signed one is -1, too."""
    return np.maximum(values.astype(np.float64) / np.iinfo(values.dtype).max, -1.0)
