"""Feather and Parquet tables as named numpy columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equissl.datasets.drives.errors import IngestError


def import_arrow() -> Any:
    """Import pyarrow, which only two formats need.

    Raises:
        ImportError: saying what to install.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            "Argoverse 2 and Waymo files are Arrow tables: install pyarrow (pip install 'equissl[lidar]')"
        ) from error
    return pyarrow


def read_feather(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read columns of a Feather file.

    Args:
        path: path of the file.
        columns: names.

    Raises:
        IngestError: for a missing or damaged file, or missing columns.
    """
    pyarrow = import_arrow()
    from pyarrow import feather

    if not path.is_file():
        raise IngestError(f"expected a table at {path}, it is missing")
    try:
        table = feather.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise IngestError(f"expected a whole Feather file at {path}: {error}") from error
    return pick_columns(table, columns, path)


def pick_columns(table: Any, columns: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Convert columns of an Arrow table to arrays; strings as objects.

    Args:
        table: Arrow table.
        columns: names.
        path: for the message.
    """
    if missing := [name for name in columns if name not in table.column_names]:
        found = ", ".join(table.column_names)
        raise IngestError(f"expected columns {', '.join(columns)} in {path}, {', '.join(missing)} not among: {found}")
    return {name: table[name].to_numpy() for name in columns}
