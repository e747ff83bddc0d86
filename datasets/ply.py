"""PLY files: their header, and the elements of all three encodings as tables.

Greg Turk's format: elements in any order, each with scalar and list properties; ASCII, or binary of either byte order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from equissl.datasets.ply_rows import Element, Property, find_rows
from equissl.util.numbers import parse_numbers

#: Scalar types by both of their names.
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_END = re.compile(rb"[\r\n][ \t]*end_header[ \t]*(?:\r\n|\n|\r|$)")
_COMMENT = re.compile(rb"^[ \t]*(?:comment|obj_info)[ \t]+([^\r\n]*)", re.MULTILINE)
_NUMBER = np.dtype("=f8")


@dataclass(frozen=True)
class Lists:
    """Lists of a property, one behind the other: (N,) sizes and (sum of sizes,) values."""

    sizes: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Table:
    """Columns of an element, by name.

    Attributes:
        scalars: (N,) numbers; float64 and int64 of an ASCII file, which may have more digits than its types.
        lists: columns whose rows are lists.
        kinds: type of each, as the header states it.
    """

    scalars: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, Lists] = field(default_factory=dict)
    kinds: dict[str, np.dtype] = field(default_factory=dict)


@dataclass(frozen=True)
class PlyFile:
    """A PLY file: tables by element, comments and ``obj_info``, and the bytes or numbers behind the last element."""

    tables: dict[str, Table]
    comments: tuple[bytes, ...]
    trailing: int


def decode_ply(data: bytes) -> PlyFile:
    """Decode a PLY file.

    Raises:
        ValueError: for bytes that are no PLY file, and for one that is cut.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    end = _END.search(data) if data.startswith(b"ply") else None
    if end is None:
        raise ValueError("expected a PLY header from 'ply' to 'end_header'")
    lines = [line.split() for line in data[: end.start()].decode("utf-8", "replace").splitlines()]
    form = next((line[1] for line in lines if line[:1] == ["format"] and len(line) > 1), "none")
    if form not in _ORDERS:
        raise ValueError(f"expected a format of {', '.join(_ORDERS)} in the PLY header, got {form}")
    order, body = _ORDERS[form], data[end.end() :]
    if form == "ascii":  # rows of float64 are read as those of a binary file
        body = parse_numbers(body).tobytes()
    comments = tuple(match[1] for match in _COMMENT.finditer(data[: end.start()]))
    tables, place, begins = {}, 0, list[np.ndarray]()
    for element in _read_header(lines, order):
        tables[element.name], place, starts = _read_element(body, place, element, form == "ascii")
        begins.append(starts)
    if form == "ascii":
        _check_lines(data[end.end() :], np.concatenate([*begins, np.zeros(0, np.int64)]) // _NUMBER.itemsize)
    return PlyFile(tables, comments, (len(body) - place) // (_NUMBER.itemsize if form == "ascii" else 1))


def _check_lines(text: bytes, begins: np.ndarray) -> None:
    """Raise ValueError where there is a line for each row, but rows do not begin where lines do: one lacks a number."""
    widths = np.array([width for line in text.splitlines() if (width := len(line.split()))], np.int64)
    expected = np.cumsum(widths) - widths
    if len(expected) == len(begins) and (shifted := expected != begins).any():
        raise ValueError(f"row {max(int(shifted.argmax()) - 1, 0)} behind the header has too few numbers or too many")


def _read_header(lines: list[list[str]], order: str) -> list[Element]:
    elements: list[Element] = []
    for line in lines:
        try:
            if line[:1] == ["element"]:
                elements.append(Element(line[1], int(line[2])))
            elif line[:2] == ["property", "list"]:
                elements[-1].properties.append(Property(line[4], _type(line[3], order), _type(line[2], order)))
            elif line[:1] == ["property"]:
                elements[-1].properties.append(Property(line[2], _type(line[1], order), None))
        except (IndexError, KeyError, ValueError):
            raise ValueError(f"expected an element or a property in the PLY header, got {' '.join(line)!r}") from None
    names = [element.name for element in elements]
    if len(set(names)) < len(names) or any(element.count < 0 for element in elements):
        raise ValueError(f"expected elements of different names, with 0 rows or more, got {names}")
    return elements


def _type(name: str, order: str) -> np.dtype:
    return np.dtype(TYPES[name]).newbyteorder(order)  # type: ignore[arg-type]


def _read_element(body: bytes, place: int, element: Element, is_text: bool) -> tuple[Table, int, np.ndarray]:
    """Columns of an element whose rows begin at byte ``place``, where they end, and where each begins."""
    table = Table(kinds={p.name: p.kind for p in reversed(element.properties)})
    properties = element.properties
    if is_text:
        properties = [Property(p.name, _NUMBER, None if p.size is None else _NUMBER) for p in properties]
    rows = find_rows(body, place, element, properties)
    at = rows.starts
    for number, (name, kind, size) in enumerate(properties):
        sizes = rows.sizes[:, number]
        at = at + (0 if size is None else size.itemsize)
        values = rows.gather(body, at, sizes, kind)
        if is_text and element.properties[number].kind.kind in "iu":
            values = _whole(values)
        if size is None:
            table.scalars.setdefault(name, values)
        else:
            table.lists.setdefault(name, Lists(sizes, values))
        at = at + sizes * kind.itemsize
    return table, rows.end, rows.starts


def _whole(values: np.ndarray) -> np.ndarray:
    """Integers; a few programs write fractions where the header states integers, and those stay."""
    whole = np.rint(values)
    return whole.astype(np.int64) if (values == whole).all() and (np.abs(values) < 2**53).all() else values
