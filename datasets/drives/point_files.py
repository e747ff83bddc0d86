"""Files that hold the points of one sweep: raw floats, .npy, .ply and .pcd, checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import SweepError
from equissl.datasets.ply import Table, decode_ply

FARTHEST = 1000.0  # metres; no automotive sensor reaches farther, so larger numbers are not coordinates
Columns = dict[str, np.ndarray]


def read_floats(path: Path, columns: int, frame: str) -> np.ndarray:
    """Read little-endian float32 numbers, ``columns`` a point.

    Args:
        path: path of the file.
        columns: C.
        frame: name of the sweep, for the message.

    Returns:
        (N, columns) float32.

    Raises:
        SweepError: for a missing or empty file, or one that does not hold whole points.
    """
    data = read_file(path, frame)
    if len(data) % (4 * columns):
        raise SweepError(
            path, frame,
            f"expected a multiple of {4 * columns} bytes ({columns} float32 a point), found {len(data)} bytes: "
            f"cut short, or with another number of columns",
        )  # fmt: skip
    return np.frombuffer(data, "<f4").reshape(-1, columns)


def read_file(path: Path, frame: str) -> bytes:
    """Read all bytes of a file that must be there and hold something.

    Args:
        path: path of the file.
        frame: name of the sweep, for the message.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SweepError(path, frame, "expected this file, it is missing") from None
    except OSError as error:
        raise SweepError(path, frame, f"cannot be read: {error}") from error
    if not data:
        raise SweepError(path, frame, "expected points, found an empty file")
    return data


def check_points(points: np.ndarray, path: Path, frame: str, intensity: np.ndarray | None = None) -> None:
    """Check for finite coordinates within 1 km, and intensity in [0, 1]; others are in the wrong columns.

    Args:
        points: (N, 3).
        path: for the message.
        frame: name of the sweep, for the message.
        intensity: (N,), or None.

    Raises:
        SweepError: saying how many points are wrong and which is the first.
    """
    if not len(points):
        raise SweepError(path, frame, "expected points, found none")
    _refuse(~np.isfinite(points).all(axis=1), points, path, frame, "finite coordinates")
    _refuse(
        (np.abs(points) > FARTHEST).any(axis=1), points, path, frame,
        f"coordinates within {FARTHEST:.0f} m (are these the right columns?)",
    )  # fmt: skip
    if intensity is not None:
        wrong = ~((intensity >= -1e-3) & (intensity <= 1.001))
        _refuse(wrong, intensity, path, frame, "intensity in [0, 1] (has the file another number of columns?)")


def _refuse(wrong: np.ndarray, values: np.ndarray, path: Path, frame: str, expected: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise SweepError(
            path, frame,
            f"expected {expected}, found {int(wrong.sum())} of {len(wrong)} points without, first point {first}: "
            f"{values[first].tolist()}",
        )  # fmt: skip


def read_points(path: Path, frame: str, columns: int = 4) -> Columns:
    """Read the named columns of a .bin, .npy, .ply or .pcd file; at least x, y, z.

    Raw floats and arrays have the columns x, y, z, intensity and then whatever follows, unnamed.

    Args:
        path: path of the file.
        frame: name of the sweep, for the message.
        columns: columns of raw floats.
    """
    if path.suffix == ".npy":
        return _name_columns(_read_npy(path, frame))
    if path.suffix == ".ply":
        return _check_columns(_read_ply(path, frame), path, frame)
    if path.suffix == ".pcd":
        return _check_columns(_read_pcd(path, frame), path, frame)
    return _name_columns(read_floats(path, columns, frame))


def _name_columns(array: np.ndarray) -> Columns:
    return dict(zip(("x", "y", "z", "intensity"), array.T, strict=False))


def _read_npy(path: Path, frame: str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SweepError(path, frame, "expected this file, it is missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise SweepError(path, frame, f"expected an array of numbers: {error}") from error
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise SweepError(path, frame, f"expected numbers of shape (N, 3 or more), got {array.dtype} {array.shape}")
    return array


def _check_columns(columns: Columns, path: Path, frame: str) -> Columns:
    if missing := [name for name in "xyz" if name not in columns]:
        raise SweepError(path, frame, f"expected columns x, y, z, {missing} are not among {[*columns]}")
    return columns


def _read_ply(path: Path, frame: str) -> Columns:
    """The vertices of a PLY file."""
    try:
        return decode_ply(read_file(path, frame)).tables.get("vertex", Table()).scalars
    except ValueError as error:
        raise SweepError(path, frame, str(error)) from error


def _read_pcd(path: Path, frame: str) -> Columns:
    """A PCD file. Points without any finite coordinate are how the format writes "no return": they are left out."""
    data = read_file(path, frame)
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
        layout, count = np.dtype(fields), int(words["POINTS"][0])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SweepError(path, frame, f"expected a PCD header with FIELDS, TYPE, SIZE, POINTS: {error!r}") from error
    if not mark or form not in ("ascii", "binary"):
        raise SweepError(path, frame, f"expected PCD data in 'ascii' or 'binary', found {form!r}")
    columns = _check_columns(_parse(body, layout, count, form == "ascii", path, frame), path, frame)
    returned = ~(np.isnan(columns["x"]) & np.isnan(columns["y"]) & np.isnan(columns["z"]))
    return {name: column[returned] for name, column in columns.items()}


def _parse(body: bytes, layout: np.dtype, count: int, is_text: bool, path: Path, frame: str) -> Columns:
    names = layout.names or ()
    if is_text:
        try:
            table = np.array(body.split(), dtype=np.float64).reshape(-1, len(names))[:count]
        except ValueError as error:
            raise SweepError(path, frame, f"expected {len(names)} numbers a point: {error}") from error
        found, columns = len(table), dict(zip(names, table.T, strict=True))
    else:
        found = min(count, len(body) // layout.itemsize)
        rows = np.frombuffer(body, layout, count=found)
        columns = {name: rows[name] for name in names}
    if found < count:
        raise SweepError(path, frame, f"expected {count} points by its header, found {found}: cut short")
    return columns
