"""Wavefront OBJ files, decoded in bulk with NumPy: statements of one kind are parsed together, not line by line."""

from __future__ import annotations

import posixpath
import warnings as python_warnings
from dataclasses import dataclass, field

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.mtl import read_mtl
from equissl.datasets.meshes.parts import unit_normals
from equissl.datasets.meshes.polygons import triangulate


@dataclass
class _Lines:
    """The statements of a file, sorted by kind."""

    v: list[bytes] = field(default_factory=list)
    vt: list[bytes] = field(default_factory=list)
    vn: list[bytes] = field(default_factory=list)
    f: list[bytes] = field(default_factory=list)
    f_material: list[int] = field(default_factory=list)
    material_names: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


def _sort_lines(data: bytes) -> _Lines:
    """One pass over the lines; indices counted from the end are made absolute here, where the counts are known."""
    names: dict[str, int] = {}
    found, current = _Lines(), -1
    lists = {b"v": found.v, b"vt": found.vt, b"vn": found.vn}
    if b"\\\n" in data or b"\\\r\n" in data:
        data = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    for line in data.replace(b"\t", b" ").splitlines():
        key, _, argument = line.strip().partition(b" ")
        if key in lists:
            lists[key].append(argument)
        elif key == b"f":
            if current < 0:
                current = names.setdefault("", len(names))
            found.f.append(_absolute(argument, found) if b"-" in argument else argument)
            found.f_material.append(current)
        elif key == b"usemtl":
            current = names.setdefault(argument.strip().decode("utf-8", "replace"), len(names))
        elif key == b"mtllib":
            found.libraries.append(argument.strip().decode("utf-8", "replace"))
    found.material_names = list(names)
    return found


def _absolute(argument: bytes, found: _Lines) -> bytes:
    counts = (len(found.v), len(found.vt), len(found.vn))
    words = []
    for word in argument.split():
        indices = word.split(b"/")
        words.append(
            b"/".join(b"%d" % (counts[i] + int(t) + 1) if t.startswith(b"-") else t for i, t in enumerate(indices))
        )
    return b" ".join(words)


def _parse_numbers(joined: bytes) -> np.ndarray:
    with python_warnings.catch_warnings():
        # text that is no number ends the parse with a warning only
        python_warnings.simplefilter("error")
        try:
            return np.fromstring(joined.decode("ascii"), dtype=np.float64, sep=" ")
        except DeprecationWarning as error:
            raise ValueError(str(error)) from None


def _table(lines: list[bytes], columns: int) -> np.ndarray:
    """Numbers of equal statements as (N, columns) float64; extra columns (w, vertex colours) are dropped."""
    if not lines:
        return np.zeros((0, columns))
    width = len(lines[0].split())
    spaces = lines[0].count(b" ")
    if width >= columns and all(line.count(b" ") == spaces for line in lines):
        values = _parse_numbers(b" ".join(lines))
        if values.size == width * len(lines):
            return values.reshape(-1, width)[:, :columns]
    rows = []
    for line in lines:
        row = line.split()
        if len(row) < columns:
            raise ValueError(f"expected {columns} numbers, got {line.decode('ascii', 'replace')!r}")
        rows.append([float(word) for word in row[:columns]])
    return np.asarray(rows)


@dataclass
class _Polygons:
    """Polygons of one corner count: indices (P, n, 3) for v, vt, vn, -1 where absent; ``lines`` (P,) their order."""

    corners: np.ndarray
    lines: np.ndarray


def _faces(lines: list[bytes]) -> list[_Polygons]:
    """Group face statements by layout and decode each group at once."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for i, line in enumerate(lines):
        groups.setdefault((len(line.split()), line.count(b"/"), line.count(b"//")), []).append(i)
    result = []
    for (n, slashes, doubles), members in groups.items():
        if n < 3:
            continue  # points and lines drawn as faces have no area
        columns = {(0, 0): (0,), (n, 0): (0, 1), (2 * n, 0): (0, 1, 2), (2 * n, n): (0, 2)}.get((slashes, doubles))
        if columns is None:
            result.append(_Polygons(_mixed([lines[i] for i in members], n), np.asarray(members)))
            continue
        text = b" ".join([lines[i] for i in members])
        values = _parse_numbers(text.replace(b"/", b" "))
        if values.size != n * len(members) * len(columns):
            raise ValueError(f"expected {n * len(members) * len(columns)} face indices, got {values.size}")
        if not (np.abs(values) < 2**31).all():
            raise ValueError("a face index is not finite or too large")
        corners = np.full((len(members), n, 3), -1, np.int64)
        corners[..., columns] = values.reshape(len(members), n, len(columns)).astype(np.int64) - 1
        result.append(_Polygons(corners, np.asarray(members)))
    return result


def _mixed(lines: list[bytes], n: int) -> np.ndarray:
    """Statements whose corners differ in layout, one word at a time."""
    corners = np.full((len(lines), n, 3), -1, np.int64)
    for row, line in enumerate(lines):
        for column, word in enumerate(line.split()):
            for kind, index in enumerate(word.split(b"/")[:3]):
                if index:
                    corners[row, column, kind] = int(index) - 1
    return corners


def _lookup(table: np.ndarray, index: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table at indices that may be absent (-1 gives zeros), and the mask of those present."""
    if index.max(initial=-1) >= len(table) or index.min(initial=0) < -1:
        raise ValueError(f"{what} index {int(index.max()) + 1} lies outside the {len(table)} in the file")
    present = index >= 0
    rows = np.zeros((*index.shape, table.shape[1]), np.float32)
    rows[present] = table[index[present]]
    return rows, present


def _materials(found: _Lines, files: Files, folder: str, warnings: list[str]) -> tuple[Material, ...]:
    library: dict[str, Material] = {}
    for name in found.libraries:
        library |= read_mtl(files, posixpath.normpath(posixpath.join(folder, name.replace("\\", "/"))), warnings)
    for name in found.material_names:
        if name and name not in library:
            warnings.append(f"material {name!r} is not defined; a plain grey is used")
    return tuple(library.get(name, Material(name=name)) for name in found.material_names)


def read_obj(files: Files, path: str, name: str) -> Mesh:
    """Decode an OBJ file with its material libraries and textures, as it is: no turn, no scaling.

    Polygons are triangulated, concave ones too; statement order is kept, so a polygon of n corners gives n - 2
    consecutive triangles. Without ``vn`` a face has its own flat normal.

    Args:
        files: Where the file, its libraries and textures lie.
        path: The file's path in ``files``.
        name: For messages.

    Raises:
        MeshError: For a file that is missing or not OBJ.
    """
    data = files.read(path)
    if data is None:
        raise MeshError(f"{name}: {path} is missing in {files.location}")
    try:
        return _build(data, files, path, name)
    except (ValueError, IndexError, OverflowError) as error:
        raise MeshError(f"{name}: {path} cannot be read as OBJ: {error}") from error


def _build(data: bytes, files: Files, path: str, name: str) -> Mesh:
    found, warnings = _sort_lines(data), list[str]()
    vertices, uv, normals = _table(found.v, 3), _table(found.vt, min(2, _columns(found.vt))), _table(found.vn, 3)
    polygons = _faces(found.f)
    if not polygons:
        raise MeshError(f"{name}: empty mesh ({len(vertices)} vertices, 0 faces)")
    for group in polygons:
        if group.corners[..., 0].max() >= len(vertices) or group.corners[..., 0].min() < 0:
            raise ValueError(f"a face uses a vertex outside the {len(vertices)} in the file")
    corners, lines = triangulate(vertices, [(g.corners, g.lines) for g in polygons])
    materials = _materials(found, files, posixpath.dirname(path), warnings)
    face_material = np.asarray(found.f_material, np.int32)[lines]
    mesh = Mesh(
        vertices=vertices,
        faces=corners[..., 0].astype(np.int32),
        face_material=face_material,
        corner_uv=_corner_uv(uv, corners[..., 1], face_material, materials, warnings),
        corner_normals=None,
        materials=materials,
        name=name,
    )
    corner_normals = _corner_normals(mesh, normals, corners[..., 2])
    return Mesh(**{**mesh.__dict__, "corner_normals": corner_normals, "warnings": tuple(warnings)})


def _columns(lines: list[bytes]) -> int:
    return len(lines[0].split()) if lines else 2


def _corner_uv(
    table: np.ndarray,
    index: np.ndarray,
    face_material: np.ndarray,
    materials: tuple[Material, ...],
    warnings: list[str],
) -> np.ndarray | None:
    textured = np.array([m.texture is not None for m in materials], bool)[face_material]
    if not textured.any():
        return None
    if table.shape[1] < 2:
        table = np.pad(table, ((0, 0), (0, 1)))
    rows, present = _lookup(table, index, "texture coordinate")
    rows[~np.isfinite(rows)] = 0
    if missing := int((textured & ~present.all(axis=1)).sum()):
        warnings.append(f"{missing} textured faces have no texture coordinates; (0, 0) is used")
    return rows


def _corner_normals(mesh: Mesh, table: np.ndarray, index: np.ndarray) -> np.ndarray | None:
    """Unit normals of the file; the face's own normal where the file has none or a useless one."""
    if not len(table) or (index < 0).all():
        return None
    return unit_normals(_lookup(table, index, "normal")[0], mesh)
