"""glTF files: what they need, what lies beside them, opacity, and scenes that are no trees."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from equissl.datasets.meshes import FolderSource, Mesh, MeshError
from equissl.datasets.meshes.files import FolderFiles
from equissl.datasets.meshes.formats import read_mesh

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [1, 0, 3], [0, 2, 3]], "<f4")
UV = np.array([[0.1, 0.1], [0.3, 0.1], [0.1, 0.6], [0.7, 0.1], [0.9, 0.1], [0.7, 0.6]], "<f4")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUISSL_CACHE", str(tmp_path / "cache"))


def png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


HALVES = np.full((4, 8, 4), 255, np.uint8)  # red; its right half as opaque as a test says
HALVES[..., 1:3] = 0


def two_triangles(**more: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """A file of two triangles, each on one half of a texture, and its buffer; ``more`` are further attributes."""
    arrays = {"POSITION": POINTS, "TEXCOORD_0": UV, **more}
    kinds = {"float32": 5126, "uint8": 5121, "uint16": 5123}
    tree: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    tree |= {"accessors": [], "bufferViews": [], "meshes": [{"primitives": [{"attributes": {}, "material": 0}]}]}
    tree |= {"materials": [{"pbrMetallicRoughness": {"metallicFactor": 0}}]}
    blob = b""
    for number, (name, array) in enumerate(arrays.items()):
        tree["meshes"][0]["primitives"][0]["attributes"][name] = number
        kind, shape = kinds[array.dtype.name], f"VEC{array.shape[1]}"
        tree["accessors"].append({"bufferView": number, "componentType": kind, "count": len(array), "type": shape})
        tree["bufferViews"].append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes})
        blob += array.tobytes() + bytes(-array.nbytes % 4)
    return tree | {"buffers": [{"byteLength": len(blob)}]}, blob


def with_texture(tree: dict[str, Any], blob: bytes, image: bytes, **sampler: int) -> bytes:
    """Give the material a texture whose image lies at the end of the buffer, which is returned."""
    tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    tree |= {"textures": [{"source": 0, "sampler": 0}], "samplers": [sampler]}
    tree |= {"images": [{"bufferView": len(tree["bufferViews"]), "mimeType": "image/png"}]}
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(image)})
    return blob + image


def glb(tree: dict[str, Any], blob: bytes) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    blob += bytes(-len(blob) % 4)
    head = b"glTF" + struct.pack("<II", 2, 28 + len(text) + len(blob))
    return head + struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(blob)) + b"BIN\0" + blob


def read(folder: Path, data: bytes, name: str = "t.glb") -> Mesh:
    (folder / name).write_bytes(data)
    return read_mesh(FolderFiles(folder), name, "a thing")


def beside(tree: dict[str, Any], uri: str) -> bytes:
    return json.dumps(tree | {"buffers": [tree["buffers"][0] | {"uri": uri}]}).encode()


# what a file needs ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("extension", "message"),
    [
        ("KHR_texture_basisu", "it needs KHR_texture_basisu, which is not supported"),
        ("EXT_meshopt_compression", "it needs EXT_meshopt_compression, which is not supported"),
        ("KHR_draco_mesh_compression", "it needs KHR_draco_mesh_compression: pip install DracoPy"),
        ("VENDOR_shape", "it needs VENDOR_shape, which is not supported"),
    ],
)
def test_extensions_that_cannot_be_honoured_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    tree, blob = two_triangles()
    tree["extensionsUsed"] = [extension]
    assert len(read(tmp_path, glb(tree, blob)).faces) == 2
    tree["extensionsRequired"] = [extension]
    with pytest.raises(MeshError, match=rf"a thing: t\.glb .*{message}"):
        read(tmp_path, glb(tree, blob))


def test_looks_that_are_not_used_are_told_once(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    assert read(tmp_path, glb(tree, blob)).warnings == ()
    tree["materials"][0] |= {"normalTexture": {"index": 0}, "emissiveFactor": [0, 0, 1], "name": "gold"}
    del tree["materials"][0]["pbrMetallicRoughness"]["metallicFactor"]  # then it is 1
    tree["extensionsUsed"] = ["KHR_materials_sheen", "KHR_lights_punctual", "KHR_materials_unlit"]
    tree["extensionsRequired"] = ["KHR_materials_sheen"]
    tree["meshes"][0]["primitives"] += [deepcopy(tree["meshes"][0]["primitives"][0]) | {"mode": 1}]
    tree["scenes"][0]["nodes"] = [0, 1]
    tree["nodes"] += [{"mesh": 0, "translation": [5, 0, 0]}]
    mesh = read(tmp_path, glb(tree, blob))
    assert set(mesh.warnings) == {
        "extensions of the file are not used: KHR_materials_sheen",
        "points and lines are not drawn",
        "the metallic part of a material is not used",
        "the normal map of a material is not used",
        "the emission of a material is not used",
    }
    assert len(mesh.warnings) == 5 and len(mesh.faces) == 4
    assert [material.name for material in mesh.materials] == ["gold"]  # shared by both


def test_draco(tmp_path: Path) -> None:
    """Against the arrays that were packed; its quantisation to 14 bits is the only loss."""
    draco = pytest.importorskip("DracoPy", reason="needs the extra draco")
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (6, 4)).astype(np.uint8)
    packed = draco.encode(
        POINTS,
        np.array([[0, 1, 2], [3, 4, 5]]),
        quantization_bits=14,
        preserve_order=True,
        colors=colours,
        tex_coord=UV.astype(float),
    )
    tree, _ = two_triangles(COLOR_0=colours)
    names = ("POSITION", "NORMAL", "COLOR_0", "TEXCOORD_0")
    found = {names[a["attribute_type"]]: a["unique_id"] for a in draco.decode(packed).attributes}
    assert set(found) == {"POSITION", "TEXCOORD_0", "COLOR_0"}
    for accessor in tree["accessors"]:
        del accessor["bufferView"]
    extension = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": found}}
    tree["meshes"][0]["primitives"][0]["extensions"] = extension
    tree["extensionsUsed"] = tree["extensionsRequired"] = list(extension)
    tree["bufferViews"], tree["buffers"] = [{"buffer": 0, "byteLength": len(packed)}], [{"byteLength": len(packed)}]
    mesh = read(tmp_path, glb(tree, packed))
    order = np.argsort(mesh.vertices[mesh.faces].mean(axis=(1, 2)))
    np.testing.assert_allclose(mesh.vertices[mesh.faces[order]].reshape(6, 3), POINTS, atol=3e-4)
    assert mesh.corner_colours is not None
    np.testing.assert_allclose(mesh.corner_colours[order].reshape(6, 3), colours[:, :3] / 255, atol=1e-6)


# what lies beside it --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "uri", ["my%20data.bin", "my data.bin", ".\\my%20data.bin", "C:/Users/ann/my data.bin", "data:"]
)
def test_buffers_are_found(tmp_path: Path, uri: str) -> None:
    tree, blob = two_triangles()
    (tmp_path / "my data.bin").write_bytes(blob)
    uri = f"data:application/gltf-buffer;base64,{base64.b64encode(blob).decode()}" if uri == "data:" else uri
    mesh = read(tmp_path, beside(tree, uri), "t.gltf")
    np.testing.assert_array_equal(mesh.vertices, POINTS)


@pytest.mark.parametrize("uri", ["../secret.bin", "/etc/hostname", "https://example.org/a.bin", "%2e%2e/secret.bin"])
def test_nothing_outside_is_read(tmp_path: Path, uri: str) -> None:
    tree, blob = two_triangles()
    (tmp_path / "meshes").mkdir()
    (tmp_path / "secret.bin").write_bytes(blob)
    with pytest.raises(MeshError, match=r"t\.gltf cannot be read .*buffer 0 .* is missing"):
        read(tmp_path / "meshes", beside(tree, uri), "t.gltf")


def test_a_folder_of_gltf_notices_changes_beside_it(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    blob = with_texture(tree, blob, png(HALVES))
    tree["images"] = [{"uri": "looks/red.png"}]
    folder = tmp_path / "meshes" / "thing"
    (folder / "looks").mkdir(parents=True)
    (folder / "t.gltf").write_bytes(beside(tree, "t.bin"))
    (folder / "t.bin").write_bytes(blob)
    (folder / "looks" / "red.png").write_bytes(png(HALVES))
    source = FolderSource(tmp_path / "meshes")
    before = source.load(0)
    assert source.entry(0).name == "thing/t.gltf" and before.materials[0].texture is not None
    assert np.argmax(np.ptp(before.vertices, axis=0)) == 1  # z of the file: y up is turned to z up
    (folder / "looks" / "red.png").write_bytes(png(255 - HALVES))
    assert (source.load(0).materials[0].texture != before.materials[0].texture).any()
    (folder / "t.bin").write_bytes((POINTS * [1, 1, 2]).astype("<f4").tobytes() + blob[POINTS.nbytes :])
    assert np.ptp(source.load(0).vertices, axis=0)[1] > np.ptp(before.vertices, axis=0)[1]


@pytest.mark.parametrize("damage", ["missing", "no image", "another format"])
def test_without_its_image_the_factor_is_used(tmp_path: Path, damage: str) -> None:
    tree, blob = two_triangles()
    blob = with_texture(tree, blob, b"no image" * 9 if damage == "no image" else png(HALVES))
    tree["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 0.25, 1, 1]
    if damage == "missing":
        tree["images"] = [{"uri": "gone.png"}]
    if damage == "another format":
        tree["textures"][0] = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    mesh = read(tmp_path, glb(tree, blob))
    assert mesh.materials[0].texture is None and mesh.materials[0].diffuse.tolist() == [0.5, 0.25, 1]
    (warning,) = mesh.warnings
    word = {
        "missing": "'gone.png' is missing",
        "no image": "image 0: cannot identify",
        "another format": "KHR_texture_basisu",
    }
    assert warning.startswith("a texture cannot be used") and word[damage] in warning


def test_loose_ends_of_exporters(tmp_path: Path) -> None:
    """JSON filled up with zeros, bytes behind the end, and a byte order mark."""
    tree, blob = two_triangles()
    padded = glb(tree, blob)
    text = json.dumps(tree).encode()
    padded = padded.replace(text + b" " * (-len(text) % 4), text + b"\0" * (-len(text) % 4))
    for data, name in ((padded + b"rest of a block", "t.glb"), (b"\xef\xbb\xbf" + beside(tree, "t.bin"), "t.gltf")):
        (tmp_path / "t.bin").write_bytes(blob)
        np.testing.assert_array_equal(read(tmp_path, data, name).vertices, POINTS)
    tree["nodes"][0]["translation"] = [0, float("nan"), 0]
    with pytest.raises(MeshError, match="expected numbers, got NaN"):
        read(tmp_path, glb(tree, blob))
    del tree["nodes"][0]["translation"]
    tree["accessors"][0]["componentType"] = 5130
    with pytest.raises(MeshError, match="got 5130 in 'VEC3'"):
        read(tmp_path, glb(tree, blob))


def test_an_image_of_many_materials_is_decoded_once(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    blob = with_texture(tree, blob, png(HALVES))
    tree["materials"] *= 2
    tree["meshes"][0]["primitives"] += [tree["meshes"][0]["primitives"][0] | {"material": 1}]
    first, second = read(tmp_path, glb(tree, blob)).materials
    assert first is not second and first.texture is second.texture


# looks ----------------------------------------------------------------------------------------------------------------
def test_default_material_is_white_and_dielectric(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    del tree["meshes"][0]["primitives"][0]["material"]
    (material,) = read(tmp_path, glb(tree, blob)).materials
    assert material.diffuse.tolist() == [1, 1, 1] and (material.specular, material.roughness) == (0.5, 1.0)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_integer_colours_are_fractions_even_unsaid(tmp_path: Path, kind: str) -> None:
    """The standard has them normalised always; some exporters forget to say so."""
    largest = np.iinfo(kind).max
    colours = np.full((6, 4), largest // 2, kind)
    colours[3:] = largest
    mesh = read(tmp_path, glb(*two_triangles(COLOR_0=colours)))
    assert mesh.corner_colours is not None
    np.testing.assert_allclose(mesh.corner_colours[:, 0, 0], [0.5, 1], atol=0.003)


@pytest.mark.parametrize(
    ("mode", "alpha", "faces", "opacity"),
    [
        ("OPAQUE", 0.0, 2, 1.0),
        ("MASK", 0.4, 1, 1.0),
        ("MASK", 0.6, 2, 1.0),
        ("BLEND", 0.0, 1, 1.0),
        ("BLEND", 0.5, 2, 0.75),
    ],
)
def test_opacity_of_colours(tmp_path: Path, mode: str, alpha: float, faces: int, opacity: float) -> None:
    """The second face's colours are as opaque as ``alpha``."""
    colours = np.ones((6, 4), "<f4")
    colours[3:, 3] = alpha
    tree, blob = two_triangles(COLOR_0=colours)
    tree["materials"][0] |= {"alphaMode": mode}
    mesh = read(tmp_path, glb(tree, blob))
    assert len(mesh.faces) == faces and mesh.materials[0].alpha == pytest.approx(opacity)


def test_specular_glossiness(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    glossy = {"diffuseFactor": [0.1, 0.2, 0.3, 1], "specularFactor": [0.04, 0.04, 0.04], "glossinessFactor": 0.3}
    tree["materials"][0]["extensions"] = {"KHR_materials_pbrSpecularGlossiness": glossy}
    (material,) = read(tmp_path, glb(tree, blob)).materials
    np.testing.assert_allclose(material.diffuse, [0.1, 0.2, 0.3], rtol=1e-6)
    assert (material.specular, material.roughness) == pytest.approx((0.5, 0.7))


@pytest.mark.parametrize(("wrap", "told"), [(33071, True), (33648, False), (10497, False)])
def test_an_extended_edge_is_told_where_it_is_seen(tmp_path: Path, wrap: int, told: bool) -> None:
    tree, blob = two_triangles()
    blob = with_texture(tree, blob, png(HALVES), wrapS=wrap, wrapT=wrap)
    assert read(tmp_path, glb(tree, blob)).warnings == ()
    blob = blob.replace(UV.tobytes(), (UV + 1).tobytes())
    warnings = read(tmp_path, glb(tree, blob)).warnings
    assert warnings == (("a texture repeats where the file extends its edge",) if told else ())


# scenes ---------------------------------------------------------------------------------------------------------------
def test_without_scenes_all_nodes_are_shown(tmp_path: Path) -> None:
    tree, blob = two_triangles()
    tree["nodes"] = [{"children": [1], "translation": [0, 0, 7]}, {"mesh": 0}]
    del tree["scene"], tree["scenes"]
    np.testing.assert_array_equal(read(tmp_path, glb(tree, blob)).vertices, POINTS + np.array([0, 0, 7]))


def test_a_flattened_node_keeps_its_normals(tmp_path: Path) -> None:
    normals = np.tile(np.array([[0, 0, 2]], "<f4"), (6, 1))
    tree, blob = two_triangles(NORMAL=normals)
    tree["nodes"][0]["scale"] = [1e-5, 1e-5, 0]
    mesh = read(tmp_path, glb(tree, blob))
    assert mesh.corner_normals is not None
    np.testing.assert_allclose(np.abs(mesh.corner_normals), np.tile([0.0, 0, 1], (2, 3, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [{"mesh": 0, "children": [0]}]}, "the nodes form a circle"),
        ({"nodes": [{"children": [2]}, {"children": [2]}, {"mesh": 0}]}, "node 2 has two parents, 0 and 1"),
        ({"scenes": [{"nodes": [4]}]}, r"nodes\[4\] does not exist: there are 1"),
        ({"scenes": [{}]}, "empty mesh"),
        ({"asset": {"version": "1.0"}}, "expected glTF 2.0, got version 1.0"),
        (
            {"buffers": [{"byteLength": 10}, {"byteLength": 9}], "bufferViews": [{"buffer": 1, "byteLength": 1}] * 2},
            "missing",
        ),
        ({"bufferViews": [{"buffer": 0, "byteOffset": 9, "byteLength": 999}] * 2}, "bytes 9..1008 of a buffer of 120"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    tree, blob = two_triangles()
    with pytest.raises(MeshError, match=f"a thing: .*{message}"):
        read(tmp_path, glb(tree | change, blob))
    with pytest.raises(MeshError, match="the file ends within a chunk"):
        read(tmp_path, glb(tree, blob)[:-1])
