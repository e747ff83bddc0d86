"""Files that hold the points of one sweep: raw floats, .npy, .ply and .pcd, checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.pcd import Columns, read_pcd
from equissl.datasets.drives.sweep import Sweep
from equissl.datasets.ply import Table, decode_ply

FARTHEST = 1000.0  # metres; no automotive sensor reaches farther, so larger numbers are not coordinates
INTENSITY = ("intensity", "i", "reflectance", "reflectivity", "remission", "scalar_intensity")
WIDTHS = range(3, 9)  # columns of raw files that a message proposes


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
            f"cut short, or with another number of columns{fitting_columns(data, columns)}",
        )  # fmt: skip
    return np.frombuffer(data, "<f4").reshape(-1, columns)


def fitting_columns(data: bytes, columns: int) -> str:
    """Say which other numbers of float32 columns the bytes of a raw file can be read with; empty where none.

    Coordinates within 1 km in the first three and no negative number in the fourth, the intensity.

    Args:
        data: bytes of the file.
        columns: the number that does not fit.
    """
    found = []
    for width in WIDTHS:
        if width == columns or len(data) % (4 * width):
            continue
        values = np.frombuffer(data, "<f4").reshape(-1, width)
        near = not (np.abs(values[:, :3]) > FARTHEST).any() and not np.isinf(values).any()
        if near and (width == 3 or not (values[:, 3] < 0).any()):
            found.append(width)
    # a file of more columns looks like one of three, too
    found = [width for width in found if width > 3] or found
    return f" ({' or '.join(map(str, found))} would fit)" if found else ""


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


def check_sweep(sweep: Sweep, path: Path) -> Sweep:
    """Leave out the returns without coordinates, counting them, and check the others: finite and within 1 km.

    Args:
        sweep: as it is in its file.
        path: for the message.

    Raises:
        SweepError: saying how many points are wrong and which is the first.
    """
    sweep = drop_no_returns(sweep)
    if not len(sweep):
        none = f"none with coordinates among {sweep.no_returns}" if sweep.no_returns else "none"
        raise SweepError(path, sweep.frame, f"expected points, found {none}")
    points = sweep.points
    _refuse(~np.isfinite(points).all(axis=1), points, path, sweep.frame, "finite coordinates")
    _refuse(
        (np.abs(points) > FARTHEST).any(axis=1), points, path, sweep.frame,
        f"coordinates within {FARTHEST:.0f} m (are these the right columns?)",
    )  # fmt: skip
    return sweep


def drop_no_returns(sweep: Sweep) -> Sweep:
    """Leave out points of which no coordinate is finite, how many formats write "no return", and count them."""
    returned = np.isfinite(sweep.points).any(axis=1)
    if returned.all():
        return sweep
    return replace(sweep.select(returned), no_returns=sweep.no_returns + int((~returned).sum()))


def check_intensity(points: np.ndarray, intensity: np.ndarray, path: Path, frame: str) -> None:
    """Check the intensity of returns to be in [0, 1]; other numbers are in the wrong columns.

    Args:
        points: (N, 3).
        intensity: (N,).
        path: for the message.
        frame: name of the sweep, for the message.
    """
    wrong = np.isfinite(points).any(axis=1) & ~((intensity >= -1e-3) & (intensity <= 1.001))
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
    form = path.suffix.lower()
    if form == ".npy":
        return _read_npy(path, frame)
    if form in (".ply", ".pcd"):
        read = _read_ply if form == ".ply" else read_pcd
        return _check_columns(read(read_file(path, frame), path, frame), path, frame)
    return _name_columns(read_floats(path, columns, frame))


def intensity_of(columns: Columns) -> np.ndarray | None:
    """Return the column of intensity, whatever it is called; None where there is none."""
    values = next((columns[name] for name in INTENSITY if name in columns), None)
    return None if values is None else values.astype(np.float32)


def _name_columns(array: np.ndarray) -> Columns:
    return dict(zip(("x", "y", "z", "intensity"), array.T, strict=False))


def _read_npy(path: Path, frame: str) -> Columns:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SweepError(path, frame, "expected this file, it is missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise SweepError(path, frame, f"expected an array of numbers: {error}") from error
    if array.dtype.names:
        return _check_columns({name: array[name].reshape(-1) for name in array.dtype.names}, path, frame)
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise SweepError(path, frame, f"expected numbers of shape (N, 3 or more), got {array.dtype} {array.shape}")
    return _name_columns(array)


def _check_columns(columns: Columns, path: Path, frame: str) -> Columns:
    columns = {name.lower(): column for name, column in columns.items()}
    if missing := [name for name in "xyz" if name not in columns]:
        raise SweepError(path, frame, f"expected columns x, y, z, {missing} are not among {[*columns]}")
    return columns


def _read_ply(data: bytes, path: Path, frame: str) -> Columns:
    """The vertices of a PLY file."""
    try:
        return decode_ply(data).tables.get("vertex", Table()).scalars
    except ValueError as error:
        raise SweepError(path, frame, str(error)) from error
