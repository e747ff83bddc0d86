"""Random OBJ files: what they state, what the reader reads, and what Blender's importer does.

``EQUISSL_OBJ_FILES=1000`` makes the full count. Blender is asked where an interpreter with ``bpy`` is found.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from blender_answers import ask_blender
from obj_features import Case, Corner, Look, make_case

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.meshes.obj import read_obj
from equissl.util.srgb import srgb_decode

COUNT = int(os.environ.get("EQUISSL_OBJ_FILES", "60"))


def write(case: Case, folder: Path) -> Path:
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "a.obj"


#: What Blender 5.0.1 reads otherwise, and where: the liberties that it does not know.
_LOST = {
    "encoding=utf-8-sig",  # a mark hides the first statement
    "encoding=utf-16",
    "newline=\r",
    "comment that ends in a backslash",  # continues: the next statement is lost
}
_NO_MATERIAL = {
    "library=utf-8-sig",
    "library=utf-16",
    "library newline=\r",
    "comment behind a name",
    "faces without usemtl",
    "names in two encodings",
    "several libraries on one line",
}
EXPLAINED = {
    "number of polygons": set(),
    "positions": set(),
    "uv": set(),
    "normals": set(),
    "colours": {"colours=bytes", "colours=some"},  # not divided by 255; black where there are none
    "material": _NO_MATERIAL,
    "diffuse": _NO_MATERIAL,
    "texture": _NO_MATERIAL | {"lower-case keywords", "path=case"},
    "alpha": _NO_MATERIAL | {"Tr"},
}


def liberties(case: Case) -> set[str]:
    """Those of a case, and the pairs of them that matter."""
    names = set(case.features)
    if ("encoding=latin-1" in names) != ("library=latin-1" in names):
        names.add("names in two encodings")
    if {"several libraries", "libraries on one line"} <= names:
        names.add("several libraries on one line")
    return names


# comparison -----------------------------------------------------------------------------------------------------------
def from_mesh(mesh: Mesh, case: Case) -> list[dict[str, Any]]:
    """Triangles of each polygon, as the polygon's corners."""
    ends = np.cumsum([len(polygon) - 2 for polygon in case.polygons])
    assert ends[-1] == len(mesh.faces), f"{len(mesh.faces)} faces, not {ends[-1]}"
    result = []
    for rows in np.split(np.arange(len(mesh.faces)), ends[:-1]):
        material = mesh.materials[int(mesh.face_material[rows[0]])]
        attributes = {"uv": mesh.corner_uv, "normals": mesh.corner_normals, "colours": mesh.corner_colours}
        texture = None if material.texture is None else material.texture[0, 0].tolist()
        result.append(
            {
                "positions": mesh.vertices[mesh.faces[rows]].reshape(-1, 3),
                "look": {"diffuse": material.diffuse, "texture": texture, "alpha": material.alpha},
                **{k: None if v is None else v[rows].reshape(-1, v.shape[-1]) for k, v in attributes.items()},
            }
        )
    return result


def expected_look(case: Case, name: str | None) -> Look:
    if name is None and len(case.looks) == 1:
        return next(iter(case.looks.values()))
    white = any(corner.colour is not None and corner.colour.min() < 1 for p in case.polygons for corner in p)
    return case.looks[name] if name is not None else Look(np.full(3, 1.0 if white else 0.8))


def differences(case: Case, reading: list[dict[str, Any]]) -> set[str]:
    """Names of what is not as stated."""
    if len(reading) != len(case.polygons):
        return {"number of polygons"}
    found: set[str] = set()
    for polygon, name, read in zip(case.polygons, case.materials, in_order(case, reading), strict=True):
        found |= _compare(case, polygon, expected_look(case, name), read)
    return found


def in_order(case: Case, reading: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Faces as read, in the order of the statements: Blender's objects have an order of their own."""
    centres = np.array([np.unique(np.array(read["positions"]).round(3), axis=0).mean(0) for read in reading])
    wanted = np.array([np.mean([corner.position for corner in polygon], axis=0) for polygon in case.polygons])
    return [reading[i] for i in np.linalg.norm(centres - wanted[:, None], axis=-1).argmin(axis=1)]


def _compare(case: Case, polygon: list[Corner], look: Look, read: dict[str, Any]) -> set[str]:
    stated, positions = np.array([corner.position for corner in polygon]), np.asarray(read["positions"], float)
    distance = np.linalg.norm(positions[:, None] - stated, axis=-1)
    nearest, found = distance.argmin(axis=1), set()
    if distance.min(axis=1).max() > 1e-5 + 2e-7 * case.offset or set(nearest) != set(range(len(polygon))):
        found.add("positions")
    for key, attribute in (("uv", "uv"), ("normals", "normal"), ("colours", "colour")):
        wanted = [getattr(polygon[i], attribute) for i in nearest]
        if not _attribute_agrees(key, wanted, read[key], look):
            found.add(key)
    return found | _compare_look(look, read["look"])


def _attribute_agrees(key: str, wanted: list[np.ndarray | None], got: Any, look: Look) -> bool:
    # Blender keeps normals in 16 bits, by the angle to the face's
    tolerance = 0.02 if key == "normals" and isinstance(got, list) else 2e-3
    if key == "uv" and look.texture is None:
        return True  # without a texture nothing needs them
    if key == "colours":
        wanted = [np.ones(3) if colour is None else srgb_decode(colour) for colour in wanted]
        return np.allclose(np.ones((len(wanted), 3)) if got is None else got, wanted, atol=2e-3)
    if all(value is None for value in wanted):
        return True
    given = [i for i, value in enumerate(wanted) if value is not None]
    return got is not None and np.allclose(np.asarray(got)[given], [wanted[i] for i in given], atol=tolerance)


def _compare_look(look: Look, got: dict[str, Any] | None) -> set[str]:
    if got is None:  # no material, and none is stated
        return set() if look.texture is None and look.alpha == 1 and len(set(look.diffuse)) == 1 else {"material"}
    found = set()
    if got["texture"] != (None if look.texture is None else list(look.texture)):
        found.add("texture")
    if look.texture is None and not np.allclose(got["diffuse"], look.diffuse, atol=1e-3):
        found.add("diffuse")
    if abs(got["alpha"] - look.alpha) > 1e-3:
        found.add("alpha")
    return found


# tests ----------------------------------------------------------------------------------------------------------------
def test_obj_files_are_read_as_stated(tmp_path: Path) -> None:
    taken: Counter[str] = Counter()
    for seed in range(COUNT):
        case = make_case(seed)
        write(case, tmp_path / str(seed))
        mesh = read_obj(FolderFiles(tmp_path / str(seed)), "a.obj", str(seed))
        wrong = differences(case, from_mesh(mesh, case))
        assert not wrong, f"case {seed} ({sorted(case.features)}): {wrong}, {mesh.warnings}"
        assert not [w for w in mesh.warnings if "missing" in w or "not defined" in w], (seed, mesh.warnings)
        taken.update(case.features)
    if COUNT >= 60:
        assert min(taken.values()) > 0 and len(taken) > 50, taken


def test_cases_are_reproducible() -> None:
    assert make_case(7).files == make_case(7).files != make_case(8).files


def test_blender_reads_the_same_obj_files(tmp_path: Path) -> None:
    """Every second case takes only liberties that Blender knows; it reads those wholly as stated."""
    unknown = _LOST.union(*EXPLAINED.values()) | {"encoding=latin-1", "library=latin-1", "libraries on one line"}
    cases = [make_case(seed, unknown if seed % 2 else frozenset()) for seed in range(COUNT)]
    answers = ask_blender([write(case, tmp_path / str(seed)) for seed, case in enumerate(cases)], tmp_path)
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        taken = liberties(case)
        assert not seed % 2 or not taken & unknown
        if not taken & _LOST:
            unexplained = {name for name in differences(case, answer) if not taken & EXPLAINED[name]}
            assert not unexplained, f"case {seed} ({sorted(taken)}): {unexplained}"
