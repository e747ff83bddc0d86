"""Folders of GLB files named by their ids, with Objaverse's annotations where they are beside them."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import Listed, ListedSource, wrong_tree
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.source import MeshSourceError
from equissl.util.listing import entries, files_below

_LVIS = ("lvis-annotations.json", "lvis-annotations.json.gz")
_ANNOTATIONS = ("annotations.json*", "annotations/*.json*", "metadata/*.json*")
_LICENCES = {
    "by": "CC BY 4.0",
    "by-sa": "CC BY-SA 4.0",
    "by-nd": "CC BY-ND 4.0",
    "by-nc": "CC BY-NC 4.0",
    "by-nc-sa": "CC BY-NC-SA 4.0",
    "by-nc-nd": "CC BY-NC-ND 4.0",
    "cc0": "CC0",
}
UNLABELLED = "object"
_NUMBERED = re.compile(r"\d{3}-\d{3}")


class ObjaverseSource(ListedSource):
    """GLB files ``**/ID.glb``; licence, creator and class of each from Objaverse's annotations.

    With ``lvis-annotations.json`` an object's class is its LVIS category, and objects without one are left out. Else it
    is the first category of the object's annotation, or ``object`` where there is none. No split is published.

    Args:
        root: The folder.
        up: Of the files; y, as glTF says, unless told otherwise.
        limits: On one mesh.

    Raises:
        MeshSourceError: For another tree, with the one expected and what was found; for damaged annotations.
    """

    name = "objaverse"
    expected = """\
  FOLDER/
    glbs/000-023/ID.glb ...   (or ID.glb in the folder itself; ID is 32 hexadecimal digits)
    lvis-annotations.json     category -> list of ids; .gz too; may be absent
    metadata/000-023.json     id -> {license, user, categories, ...}; .gz too; also annotations/ or annotations.json;
                              may be absent"""

    def __init__(self, root: Path | str, up: Up | None = None, limits: MeshLimits | None = None) -> None:
        root = Path(root)
        paths = {Path(path).stem: path for path in sorted(_find_models(root))}
        if not paths:
            raise wrong_tree(type(self), root, "no ID.glb")
        notes, lvis = _read_notes(root, paths), _read_lvis(root)
        labelled = {name: category for category, members in lvis.items() for name in members} if lvis else None
        items = [
            _item(name, paths[name], notes.get(name, {}), labelled)
            for name in sorted(paths)
            if labelled is None or name in labelled
        ]
        if not items:
            raise MeshSourceError(
                f"none of the {len(paths)} GLB files in {root} has a category in its LVIS annotations"
            )
        left = len(paths) - len(items)
        unlabelled = (
            [f"GLB files in {root} without a category in the LVIS annotations are left out: {left}"] if left else []
        )
        super().__init__(root, items, sorted({item.class_name for item in items}), up, limits, notes=unlabelled)

    @classmethod
    def matches(cls, root: Path) -> bool:
        if any((root / name).is_file() for name in _LVIS):
            return True
        files = (*entries(root, "*.glb"), *entries(root, "glbs/*/*.glb"))
        return any(re.fullmatch(r"[0-9a-f]{32}", path.stem) for path in files)


def _find_models(root: Path) -> Iterator[str]:
    return (path.relative_to(root).as_posix() for path in files_below(root) if path.suffix == ".glb")


def _item(name: str, path: str, note: dict[str, Any], labelled: dict[str, str] | None) -> Listed:
    categories = [c["name"] for c in note.get("categories") or [] if isinstance(c, dict) and c.get("name")]
    category = labelled[name] if labelled is not None else next(iter(categories), UNLABELLED)
    licence = str(note.get("license") or "")
    user = note.get("user") or {}
    creator = str(user.get("displayName") or user.get("username") or "")
    class_name = re.sub(r"[^A-Za-z0-9._()-]+", "_", category).strip("_") or UNLABELLED
    return Listed(path, name, class_name, None, _LICENCES.get(licence, licence), creator)


def _read_lvis(root: Path) -> dict[str, list[str]]:
    file = next((root / name for name in _LVIS if (root / name).is_file()), None)
    return {} if file is None else _read_json(file)


def _read_notes(root: Path, paths: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Annotations of the ids in ``paths``. Of ``metadata/000-023.json`` only those whose folder of meshes is there."""
    folders = {Path(path).parent.name for path in paths.values()}
    numbered = all(_NUMBERED.fullmatch(name) for name in folders)
    notes: dict[str, dict[str, Any]] = {}
    for pattern in _ANNOTATIONS:
        for file in entries(root, pattern):
            stem = file.name.split(".")[0]
            if not (numbered and _NUMBERED.fullmatch(stem)) or stem in folders:
                notes |= {name: note for name, note in _read_json(file).items() if name in paths}
    return notes


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        content = json.loads(data)
    except (OSError, EOFError, ValueError) as error:
        raise MeshSourceError(f"expected JSON in {file}: {error}") from error
    if not isinstance(content, dict):
        raise MeshSourceError(f"expected a JSON object in {file}, got a {type(content).__name__}")
    return content
