"""Generated glTF files against the surface that they mean, and against Blender's importer where it is installed.

``EQUISSL_GLTF_FILES=1000`` makes the full count of both. Against Blender, the normals of deformed surfaces and of flat
ones beside others are left out, which its importer does not keep; others agree to the two 16-bit angles that it stores,
which a stretched node coarsens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gltf_files import make_file
from soups import POINTS, Soup, compare, nearest, soup_of

from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.formats import read_mesh
from equissl.renderers.blender import PYTHON_VARIABLE, find_blender_python

COUNT = int(os.environ.get("EQUISSL_GLTF_FILES", "150"))
_WRAPS = {"REPEAT": "repeat", "EXTEND": "clamp", "MIRROR": "mirror"}


def write(folder: Path, seed: int) -> tuple[str, set[str], Soup]:
    """Make a file and what belongs to it in ``folder/SEED``; its name, features and meaning."""
    files, features, truth = make_file(seed)
    for name, data in files.items():
        path = folder / str(seed) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return f"{seed}/{next(iter(files))}", features, truth


def test_files_mean_what_was_put_into_them(tmp_path: Path) -> None:
    files, features = FolderFiles(tmp_path), Counter[str]()
    different = {}
    for seed in range(COUNT):
        name, found, truth = write(tmp_path, seed)
        features.update(found)
        if difference := compare(soup_of(read_mesh(files, name, name)), truth):
            different[seed] = difference
    assert not different
    wanted = ["strip", "fan", "sparse", "strided", "skin", "morph", "instances", "texCoord", "KHR_texture_transform"]
    wanted += ["mirror", "clamp", "COLOR_0 <f4", "COLOR_0 <u1", "COLOR_0 <u2", "GLB", "glTF", "another scene"]
    rare = [word for word in wanted if sum(n for f, n in features.items() if word in f) < COUNT // 30]
    assert not rare, features


@pytest.mark.skipif(
    find_blender_python() is None, reason=f"needs Blender's Python module: install bpy, or set {PYTHON_VARIABLE}"
)
def test_blender_reads_the_same(tmp_path: Path) -> None:
    made = dict(write(tmp_path, seed)[::2] for seed in range(max(COUNT // 6, 24)))
    (tmp_path / "files.txt").write_text("\n".join(made))
    np.save(tmp_path / "points.npy", POINTS)
    worker = Path(__file__).with_name("blender_reading.py")
    subprocess.run([str(find_blender_python()), "-P", str(worker), str(tmp_path)], check=True, capture_output=True)
    different = {}
    for name, truth in made.items():
        theirs = blender_soup(tmp_path / f"{name}.npz")
        if difference := compare(theirs, truth, directions=3e-2, all_normals=False):
            different[name] = difference
    assert not different


def blender_soup(path: Path) -> Soup:
    with np.load(path) as stored:
        arrays = dict(stored)
    assert "error" not in arrays, arrays["error"]
    to_y_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    albedo = np.zeros((len(arrays["material"]), len(POINTS), 3))
    for number in np.unique(arrays["material"]):
        faces = arrays["material"] == number
        albedo[faces] = arrays[f"factor{number}"]
        if f"image{number}" in arrays:
            wrap = _WRAPS[str(arrays[f"wrap{number}"])]
            uv = arrays[f"uv{number}"][faces] * [1, -1] + [0, 1]
            albedo[faces] *= nearest(arrays[f"image{number}"], uv, (wrap, wrap))
        if arrays[f"coloured{number}"]:
            albedo[faces] *= np.einsum("pc,mcx->mpx", POINTS, arrays["colours"][faces])
    return Soup(arrays["corners"] @ to_y_up, arrays["normals"] @ to_y_up, albedo)
