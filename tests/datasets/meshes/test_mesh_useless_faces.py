"""Faces that no pixel shows do not count for the size of an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from equissl.datasets.meshes import FolderSource, MeshError
from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.datasets.meshes.normalise import normalise_mesh

BALL = trimesh.creation.icosphere(1)
ACROSS = 1 / np.sqrt(3)  # of a ball whose bounding box has the diagonal 1


def add(vertices: list, faces: list) -> Mesh:
    """A ball and more; faces count from the first new vertex, negative numbers are the ball's own vertices."""
    count = len(BALL.vertices)
    more = np.where(
        np.array(faces).reshape(-1, 3) < 0, np.array(faces).reshape(-1, 3), np.array(faces).reshape(-1, 3) + count
    )
    more = np.where(more < 0, -1 - more, more)
    points, faces = np.concatenate([BALL.vertices, vertices]), np.concatenate([BALL.faces, more]).astype(np.int32)
    colours = np.repeat(np.linspace(0, 1, len(faces), dtype=np.float32)[:, None, None], 9, axis=1).reshape(-1, 3, 3)
    return Mesh(points, faces, np.zeros(len(faces), np.int32), None, None, (Material(),), "ball", (), colours)


@pytest.mark.parametrize(
    ("vertices", "faces", "warning"),
    [
        ([[500, 0, 0]], [[0, 0, 0]], "faces without area reach 250 times"),  # a point
        ([[500, 0, 0]], [[0, 0, -1]], "faces without area"),  # a line to the ball
        ([[0, 0, 900], [0, 0, 100], [0, 0, 200]], [[0, 1, 2]], "faces without area"),  # three points on a line
        ([[500, 1 / 3, 0], [100, 1 / 15, 0], [300, 0.2, 0]], [[0, 1, 2]], "faces without area"),  # up to rounding
        ([[500, 0, 0]], np.zeros((0, 3), int), None),  # used by no face
        ([[np.nan, 0, 0]], np.zeros((0, 3), int), None),
        ([[0.1, 0, 0]], [[0, 0, 0]], None),  # inside: of no use, and no warning
    ],
)
def test_the_object_keeps_its_size(vertices: list, faces: list, warning: str | None) -> None:
    mesh = normalise_mesh(add(vertices, faces))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), ACROSS, rtol=1e-6)
    assert len(mesh.faces) == len(mesh.corner_colours) == len(BALL.faces)
    assert (mesh.warnings == ()) if warning is None else (warning in mesh.warnings[0])


def test_thin_faces_count() -> None:
    """A needle of a hundredth of a millimetre a metre is a part of the object."""
    mesh = normalise_mesh(add([[500, 0, 0], [500, 0.005, 0], [-500, 0, 0]], [[0, 1, 2]]))
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(1, abs=1e-4) and mesh.warnings == ()


def test_a_few_corners_that_are_not_finite() -> None:
    ball = trimesh.creation.icosphere(3)
    vertices = ball.vertices.copy()
    vertices[100] = np.inf, 0, np.nan
    broken = int((ball.faces == 100).any(axis=1).sum())
    made = Mesh(
        vertices, ball.faces.astype(np.int32), np.zeros(len(ball.faces), np.int32), None, None, (Material(),), "b"
    )
    mesh = normalise_mesh(made)
    assert mesh.warnings == (f"{broken} faces have corners that are not finite: left out",)
    assert len(mesh.faces) == len(ball.faces) - broken and np.isfinite(mesh.vertices).all()
    vertices[::50] = np.nan
    with pytest.raises(MeshError, match=r"b: 13 of 642 vertices are not finite|b: 1. of 642"):
        normalise_mesh(made)


def test_only_faces_without_area() -> None:
    line = Mesh(np.eye(3)[[0, 0, 1]], np.array([[0, 1, 2]]), np.zeros(1, np.int32), None, None, (Material(),), "line")
    with pytest.raises(MeshError, match="line: none of the 1 faces has an area"):
        normalise_mesh(line)


def test_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m" / "a").mkdir(parents=True)
    rows = [
        *(f"v {x} {y} {z}" for x, y, z in BALL.vertices),
        "v 500 0 0",
        *("f {} {} {}".format(*f) for f in BALL.faces + 1),
    ]
    (tmp_path / "m" / "a" / "ball.obj").write_text("\n".join([*rows, "f 43 43 43", ""]))
    mesh = FolderSource(tmp_path / "m").load(0)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), ACROSS, rtol=1e-6)
    assert mesh.warnings
