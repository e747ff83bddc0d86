"""Points of PCD files: a header that names the columns, and a table of text, rows, or compressed columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from equissl.datasets.drives.errors import SweepError

PCD_FORMS = ("ascii", "binary", "binary_compressed")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Table:
    """Body of a file, and what its header says: type of a row, number of rows, form."""

    body: bytes
    layout: np.dtype
    count: int
    form: str

    def read(self) -> Columns:
        """Columns by name; fewer rows than ``count`` where the file was cut short."""
        names = self.layout.names or ()
        if self.form == "ascii":
            return self._read_text(names)
        if self.form == "binary_compressed":
            return self._read_compressed(names)
        rows = np.frombuffer(self.body, self.layout, count=min(self.count, len(self.body) // self.layout.itemsize))
        return {name: rows[name] for name in names}

    def _read_text(self, names: tuple[str, ...]) -> Columns:
        widths = [int(np.prod(self.layout[name].shape, dtype=int)) for name in names]
        words = self.body.split()[: self.count * sum(widths)]
        table = np.array(words[: len(words) // sum(widths) * sum(widths)], dtype=np.float64).reshape(-1, sum(widths))
        parts = np.split(table, np.cumsum(widths)[:-1], axis=1)
        return {name: part[:, 0] if part.shape[1] == 1 else part for name, part in zip(names, parts, strict=True)}

    def _read_compressed(self, names: tuple[str, ...]) -> Columns:
        """Two uint32 sizes, and LZF of one column after the other."""
        packed, size = np.frombuffer(self.body[:8], "<u4").tolist()
        if size != self.count * self.layout.itemsize or len(self.body) < 8 + packed:
            wanted = f"{self.count * self.layout.itemsize} bytes of points in {packed} packed ones"
            raise ValueError(f"{wanted}, found {size} in {len(self.body) - 8}: cut short")
        data, columns, start = unpack_lzf(self.body[8 : 8 + packed], size), {}, 0
        for name in names:
            column = np.frombuffer(data, self.layout[name], count=self.count, offset=start)
            columns[name], start = column, start + column.nbytes
        return columns


def unpack_lzf(packed: bytes, size: int) -> bytes:
    """Unpack LZF (LibLZF's format) by the filter of that name in h5py, as a chunk of a file in memory.

    Args:
        packed: compressed bytes.
        size: number of bytes that they become.

    Raises:
        ValueError: for damaged bytes.
    """
    if size == 0:
        return b""
    with h5py.File("lzf", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("data", (size,), np.uint8, chunks=(size,), compression="lzf")
        dataset.id.write_direct_chunk((0,), packed)
        try:
            return dataset[()].tobytes()
        except OSError as error:
            raise ValueError(f"LZF data of {size} bytes, found damaged ones") from error


def read_pcd(data: bytes, path: Path, frame: str) -> Columns:
    """Read the points of a PCD file.

    Args:
        data: bytes of the file.
        path: for messages.
        frame: name of the sweep, for messages.
    """
    head, mark, body = data.partition(b"\nDATA ")
    kind, _, body = body.partition(b"\n")
    form = kind.strip().decode("ascii", "replace")
    words = {w[0]: w[1:] for line in head.decode("ascii", "replace").splitlines() if (w := line.split())}
    try:
        counts = [int(n) for n in words.get("COUNT", ["1"] * len(words["FIELDS"]))]
        kinds = [t.lower() + size for t, size in zip(words["TYPE"], words["SIZE"], strict=True)]
        # padding fields are all called "_"
        names = [name if name != "_" else f"_{i}" for i, name in enumerate(words["FIELDS"])]
        fields = [(n, "<" + k) if c == 1 else (n, "<" + k, (c,)) for n, k, c in zip(names, kinds, counts, strict=True)]
        size = words.get("POINTS") or [str(int(words["WIDTH"][0]) * int(words["HEIGHT"][0]))]
        layout, count = np.dtype(fields), int(size[0])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SweepError(path, frame, f"expected a PCD header with FIELDS, TYPE, SIZE, POINTS: {error!r}") from error
    if not mark or form not in PCD_FORMS:
        raise SweepError(path, frame, f"expected PCD data in {', '.join(map(repr, PCD_FORMS))}, found {form!r}")
    return _whole(_Table(body, layout, count, form), path, frame)


def _whole(table: _Table, path: Path, frame: str) -> Columns:
    """Columns of a table that holds the points of its header.

    Raises:
        SweepError: for fewer.
    """
    try:
        columns = table.read()
    except ValueError as error:
        raise SweepError(path, frame, f"expected {len(table.layout.names or ())} numbers a point: {error}") from error
    found = min((len(column) for column in columns.values()), default=0)
    if found < table.count:
        raise SweepError(path, frame, f"expected {table.count} points by its header, found {found}: cut short")
    return columns
