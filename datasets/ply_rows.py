"""Rows of the elements of a PLY file: scalars and lists, in bytes of one type each."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Property(NamedTuple):
    """A property: its name, its type, and of a list the type of the list's size."""

    name: str
    kind: np.dtype
    size: np.dtype | None


@dataclass
class Element:
    """An element of the header: its name, number of rows, and properties in their order."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """Places of N rows of P properties.

    Attributes:
        starts: (N,) first bytes.
        sizes: (N, P) sizes of lists, 1 of scalars.
        end: byte behind the last row.
        stride: bytes of a row where all are alike, else None.
    """

    starts: np.ndarray
    sizes: np.ndarray
    end: int
    stride: int | None

    def gather(self, body: bytes, at: np.ndarray, sizes: np.ndarray, kind: np.dtype) -> np.ndarray:
        """Gather the values of a property, one row's behind the other's, in the machine's byte order.

        Args:
            body: bytes of all rows.
            at: (N,) where they begin.
            sizes: (N,) how many each row has.
            kind: their type.
        """
        native, total = kind.newbyteorder("="), int(sizes.sum())
        if not total:
            return np.zeros(0, native)
        if self.stride is not None:
            shape, strides = (len(at), int(sizes[0])), (self.stride, kind.itemsize)
            return np.ndarray(shape, kind, body, int(at[0]), strides).astype(native).reshape(-1)
        inside = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        first = np.repeat(at, sizes) + inside * kind.itemsize
        found = np.frombuffer(body, np.uint8)[first[:, None] + np.arange(kind.itemsize)]
        return found.view(kind).reshape(-1).astype(native)


def find_rows(body: bytes, place: int, element: Element, properties: list[Property]) -> Rows:
    """Find the rows of an element.

    Args:
        body: bytes of all rows.
        place: first byte of the first.
        element: with its number of rows.
        properties: of a row, in the types that ``body`` has.

    Raises:
        ValueError: for bytes that end too early.
    """
    count = element.count if properties else 0  # rows without properties take no bytes
    least = sum((p.kind if p.size is None else p.size).itemsize for p in properties)
    if place + count * least > len(body):
        raise ValueError(f"expected {count} rows of {element.name}, the file is cut")
    first = _walk(body, place, element, properties, min(count, 1))
    sizes, stride = np.broadcast_to(first.sizes[:1], (count, len(properties))), first.end - place
    rows = Rows(place + stride * np.arange(count), sizes, place + stride * count, stride)
    if count == 0 or (rows.end <= len(body) and _all_alike(body, rows, properties)):
        return rows
    return _walk(body, place, element, properties, count)


def _all_alike(body: bytes, rows: Rows, properties: list[Property]) -> bool:
    """True where the lists of all rows have the sizes of the first row's."""
    at = int(rows.starts[0])
    for (_, kind, size), expected in zip(properties, rows.sizes[0], strict=True):
        if size is not None:
            found = np.ndarray((len(rows.starts),), size, body, at, (rows.stride,))  # type: ignore[arg-type]
            if not (found == expected).all():
                return False
            at += size.itemsize
        at += int(expected) * kind.itemsize
    return True


def _number(kind: np.dtype) -> struct.Struct:
    return struct.Struct(kind.str[0].replace("|", "=") + kind.char)


def _walk(body: bytes, place: int, element: Element, properties: list[Property], count: int) -> Rows:
    """Find rows one by one."""
    layout = [(p.kind.itemsize, None if p.size is None else _number(p.size)) for p in properties]
    starts, sizes = list[int](), list[list[int]]()
    try:
        for _ in range(count):
            starts.append(place)
            row = []
            for width, size in layout:
                number = 1 if size is None else size.unpack_from(body, place)[0]
                place += (0 if size is None else size.size) + int(number) * width
                row.append(int(number))
                if number < 0 or number != row[-1]:
                    raise ValueError(f"expected the size of a list in row {len(sizes)} of {element.name}, got {number}")
            sizes.append(row)
    except (struct.error, OverflowError):
        place = len(body) + 1
    if place > len(body):
        raise ValueError(f"expected {element.count} rows of {element.name}, the file is cut")
    return Rows(np.array(starts, np.int64), np.array(sizes, np.int64).reshape(-1, len(properties)), place, None)
