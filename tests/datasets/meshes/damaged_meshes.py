"""Seeded damage to small meshes of every format; run as a script, ``START COUNT`` cases are made and checked."""

from __future__ import annotations

import faulthandler
import io
import itertools
import json
import re
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import trimesh
from gltf_files import make_file
from PIL import Image

from equissl.datasets.meshes import FolderSource, Mesh, MeshError, MeshLimits
from equissl.renderers import get_renderer
from equissl.renderers.scene import ViewParameters

Case = dict[str, bytes]  # file name -> content; the mesh file is the first
Rng = np.random.Generator
FORMATS = ("obj", "off", "ply", "stl", "glb")
SECONDS = 60.0  # far beyond what any case takes: a hang, not a slow machine
_MTL = b"newmtl a\nKd 0.8 0.2 0.1\nKs 0.4 0.4 0.4\nNs 10\nd 1\nillum 2\nmap_Kd t.png\nnewmtl b\nKd 0.1 0.2 0.9\nd 0.5\n"
_NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e38",
    b"-1e39",
    b"1e300",
    b"1e-300",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"1e",
    b"x",
)
_FLOATS = (np.nan, np.inf, -np.inf, 3e38, -1e30, 1e-40, 0.0)
_INTEGERS = (0, 1, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20)
_JSON = (-1, 0, 1, 3, 2**31, 2**40, 1e38, float("nan"), None, "x", [], {}, True, [0] * 16, [float("nan")] * 16)


# whole meshes ------------------------------------------------------------------------------------------
@cache
def picture(bomb: bool = False) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(data, "PNG")
    raw = data.getvalue()
    if not bomb:
        return raw
    header = raw[12:16] + struct.pack(">II", 60000, 60000) + raw[24:29]  # promises 60000 x 60000 pixels
    return raw[:12] + header + struct.pack(">I", zlib.crc32(header)) + raw[33:]


@cache
def shapes() -> list[trimesh.Trimesh]:
    shapes = [trimesh.creation.box((1, 2, 3)), trimesh.creation.icosphere(1), trimesh.creation.cone(0.5, 1, sections=7)]
    coloured = trimesh.creation.cylinder(0.4, 1, sections=6)
    coloured.visual.vertex_colors = np.random.default_rng(0).integers(0, 255, (len(coloured.vertices), 4), np.uint8)
    return [*shapes, coloured]


@cache
def textured() -> trimesh.Trimesh:
    shape = trimesh.creation.box((1, 1, 2))
    uv = np.random.default_rng(0).random((len(shape.vertices), 2))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.open(io.BytesIO(picture())), baseColorFactor=[255, 200, 255, 128], alphaMode="BLEND"
    )
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return shape


def obj(rng: Rng) -> Case:
    shape = shapes()[rng.integers(4)]
    lines = ["mtllib m.mtl", *(f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in shape.vertices)]
    lines += [f"vt {u:.3f} {v:.3f}" for u, v in rng.random((9, 2))] + ["vn 0 0 1", "vn 0 1 0"]
    for k, face in enumerate(shape.faces + 1):
        if k % 8 == 0:
            lines.append(f"usemtl {'ab'[k // 8 % 2]}")
        lines.append("f " + " ".join(f"{i}/{1 + i % 9}/{1 + i % 2}" for i in face))
    lines.append("f 1 2 3 4 5 6" if rng.random() < 0.5 else "f -1 -2 -3 -4")
    return {"t.obj": "\n".join(lines).encode(), "m.mtl": _MTL, "t.png": picture()}


def off(rng: Rng) -> Case:
    text = shapes()[rng.integers(4)].export(file_type="off")
    data = text if isinstance(text, bytes) else text.encode()
    return {"t.off": data.replace(b"OFF\n", b"OFF", 1) if rng.random() < 0.3 else data}


def ply(rng: Rng) -> Case:
    encoding = "ascii" if rng.random() < 0.4 else "binary"
    return {"t.ply": shapes()[rng.integers(4)].export(file_type="ply", encoding=encoding)}


def stl(rng: Rng) -> Case:
    shape = shapes()[rng.integers(4)]
    data = shape.export(file_type="stl_ascii" if rng.random() < 0.4 else "stl")
    return {"t.stl": data if isinstance(data, bytes) else data.encode()}


def glb(rng: Rng) -> Case:
    if rng.random() < 0.5:
        return make_file(int(rng.integers(1000)), glb=True)[0]
    scene = trimesh.Scene()
    scene.graph.update("outer", "world", matrix=trimesh.transformations.rotation_matrix(0.5, [1, 2, 3]))
    scene.add_geometry(textured() if rng.random() < 0.6 else shapes()[rng.integers(4)], parent_node_name="outer")
    if rng.random() < 0.4:
        scene.add_geometry(shapes()[rng.integers(4)], parent_node_name="outer")
    return {"t.glb": scene.export(file_type="glb")}


# damage ------------------------------------------------------------------------------------------
def truncated(rng: Rng, data: bytes) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def flipped(rng: Rng, data: bytes) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(_start(rng, data), len(values), size=rng.integers(1, 20))
    values[where] = rng.integers(256, size=len(where))
    return values.tobytes()


def _start(rng: Rng, data: bytes) -> int:
    """Where damage begins: often behind the header, which else refuses most of it."""
    if rng.random() < 0.3 or len(data) < 100:
        return 0
    if data.startswith(b"glTF"):
        return min(28 + struct.unpack("<I", data[12:16])[0], len(data) - 1)
    end = data.find(b"end_header\n")
    return end + 11 if end >= 0 else 84


def cut_out(rng: Rng, data: bytes) -> bytes:
    low, high = np.sort(rng.integers(len(data) + 1, size=2))
    return data[:low] + data[high:]


def doubled(rng: Rng, data: bytes) -> bytes:
    low, high = np.sort(rng.integers(len(data) + 1, size=2))
    return data[:high] + data[low:]


def noise(rng: Rng, data: bytes) -> bytes:
    return bytes(rng.bytes(int(rng.integers(2000))))


def numbers(rng: Rng, data: bytes) -> bytes:
    """Some numbers of a text replaced by others that are out of range, not finite or none."""
    found = list(re.finditer(rb"-?\d[\d.e+-]*", data))
    if not found:
        return flipped(rng, data)
    for match in sorted(
        (found[i] for i in rng.integers(len(found), size=rng.integers(1, 6))), key=lambda m: -m.start()
    ):
        data = data[: match.start()] + _NUMBERS[rng.integers(len(_NUMBERS))] + data[match.end() :]
    return data


def scaled(rng: Rng, data: bytes) -> bytes:
    """Every fraction of a text multiplied: to nothing, to the edge of the number range, or beyond."""
    factor = (0.0, 1e-30, 1e19, 1e37, 1e200)[rng.integers(5)]
    return re.sub(rb"-?\d+\.\d+", lambda m: b"%g" % (float(m[0]) * factor), data)


def flattened(rng: Rng, data: bytes) -> bytes:
    """All fractions of a text zero but every third, or sixth: the points of a line, no face has an area."""
    count, every = itertools.count(), (3, 6)[rng.integers(2)]
    return re.sub(rb"-?\d+\.\d+", lambda m: m[0] if next(count) % every == 0 else b"0.0", data)


def zeroed(rng: Rng, data: bytes) -> bytes:
    """A span of a binary file set to zero: vertices that coincide, faces without area."""
    start = _start(rng, data)
    low, high = np.sort(rng.integers(start, len(data) + 1, size=2)) if start < len(data) else (0, 0)
    return data[:low] + bytes(int(high - low)) + data[high:]


def words(rng: Rng, data: bytes) -> bytes:
    """Some 32-bit words of a binary file replaced by special floats or integers."""
    values = bytearray(data)
    for _ in range(rng.integers(1, 8)):
        start = _start(rng, data)
        at = int(rng.integers(start, max(start + 1, len(values) - 4)))
        at -= (at - start) % 4 if rng.random() < 0.7 else 0
        special = struct.pack("<f", _FLOATS[rng.integers(len(_FLOATS))])
        if rng.random() < 0.5:
            special = struct.pack("<I", _INTEGERS[rng.integers(len(_INTEGERS))])
        values[at : at + 4] = special
    return bytes(values)


def structure(rng: Rng, data: bytes) -> bytes:
    """The JSON of a GLB with keys removed and values replaced: counts, offsets, types, node graphs with cycles."""
    length = struct.unpack("<I", data[12:16])[0]
    tree = json.loads(data[20 : 20 + length])
    for _ in range(rng.integers(1, 4)):
        owner, key = _places(tree)[rng.integers(len(_places(tree)))]
        if rng.random() < 0.25:
            del owner[key]
        else:
            number = isinstance(owner[key], int) and rng.random() < 0.7
            owner[key] = int(rng.integers(8)) if number else deepcopy(_JSON[rng.integers(len(_JSON))])
    if rng.random() < 0.2 and isinstance(tree.get("nodes"), list):
        for node in filter(_is_dict, tree["nodes"]):
            node["children"] = list(range(len(tree["nodes"])))
    if rng.random() < 0.1 and isinstance(tree.get("accessors"), list):
        # promises of gigabytes behind which there is nothing
        for accessor in filter(_is_dict, tree["accessors"]):
            accessor.pop("bufferView", None)
            accessor["count"] = 10 ** int(rng.integers(6, 11))
    if rng.random() < 0.1 and isinstance(tree.get("nodes"), list):
        size, copies = len(tree["nodes"]), (10**3, 10**4, 3 * 10**5)[rng.integers(3)]
        tree["nodes"] += [node for node in tree["nodes"] if _is_dict(node) and "mesh" in node] * (copies // size)
        tree["nodes"].append({"children": list(range(size, len(tree["nodes"])))})
        tree["scenes"] = [{"nodes": [len(tree["nodes"]) - 1]}]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return data[:8] + struct.pack("<II", 20 + len(text) + len(rest), len(text)) + b"JSON" + text + rest


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _places(tree: dict | list) -> list[tuple]:
    found = []
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += _places(tree[key])
    return found or [({"": 0}, "")]


_ANY: tuple[Callable[[Rng, bytes], bytes], ...] = (truncated, flipped, cut_out, doubled, noise)
_TEXT, _BINARY = (numbers, numbers, scaled, flattened), (words, words, zeroed)


def make_case(seed: int) -> tuple[str, Case]:
    """What was done, and the files."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0xBAD]))
    kind = FORMATS[seed % len(FORMATS)]
    files = {"obj": obj, "off": off, "ply": ply, "stl": stl, "glb": glb}[kind](rng)
    main = next(iter(files))
    if kind == "obj" and rng.random() < 0.25:
        return f"obj: {_damage_surroundings(rng, files)}", files
    binary = b"\0" in files[main]
    options = [*_ANY, *(_BINARY if binary else _TEXT), *([structure] * 4 if kind == "glb" else [])]
    damage = options[rng.integers(len(options))]
    files[main] = damage(rng, files[main])
    return f"{kind}: {damage.__name__}", files


def _damage_surroundings(rng: Rng, files: Case) -> str:
    name = ("m.mtl", "t.png")[rng.integers(2)]
    if rng.random() < 0.3:
        del files[name]
        return f"{name} missing"
    if name == "t.png" and rng.random() < 0.2:
        files[name] = picture(bomb=True)
        return "t.png too large"
    files[name] = (truncated, flipped, numbers, noise)[rng.integers(4)](rng, files[name])
    return f"{name} damaged"


# checks ------------------------------------------------------------------------------------------
def check_case(seed: int, folder: Path) -> str:
    """``refused`` or ``drawn``; an AssertionError, or anything else but those, is a defect."""
    what, files = make_case(seed)
    place = folder / "things"
    place.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    source = FolderSource(folder, limits=MeshLimits(seconds=SECONDS))
    main = next(iter(files))
    try:
        mesh = source.load(0)
    except MeshError as error:
        assert f"things/{main}" in str(error), f"case {seed} ({what}) is not named: {error}"
        assert "takes longer" not in str(error), f"case {seed} ({what}) hangs"
        return "refused"
    finally:
        for name in files:
            (place / name).unlink()
    check_mesh(mesh)
    image = _renderer().render(mesh, [ViewParameters()], 16)
    assert image.shape == (1, 16, 16, 3) and image.dtype == np.uint8, f"case {seed} ({what})"
    return "drawn"


@cache
def _renderer():
    return get_renderer("raycast")


def check_mesh(mesh: Mesh) -> None:
    """What renderers rely on."""
    assert np.isfinite(mesh.vertices).all() and mesh.vertices.dtype == np.float32
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices) and mesh.faces.dtype == np.int32
    assert 0 <= mesh.face_material.min() <= mesh.face_material.max() < len(mesh.materials)
    assert len(mesh.face_material) == len(mesh.faces)
    assert abs(np.linalg.norm(np.ptp(mesh.vertices.astype(float), axis=0)) - 1) < 1e-3
    for attribute, width in ((mesh.corner_uv, 2), (mesh.corner_normals, 3), (mesh.corner_colours, 3)):
        assert attribute is None or (attribute.shape == (len(mesh.faces), 3, width) and np.isfinite(attribute).all())
    assert mesh.corner_colours is None or (mesh.corner_colours.min() >= 0 and mesh.corner_colours.max() <= 1)
    for material in mesh.materials:
        values = [*material.diffuse, material.specular, material.roughness, material.alpha]
        assert all(0 <= value <= 1 for value in values), material
        texture = material.texture
        assert texture is None or (texture.dtype == np.uint8 and texture.ndim == 3 and texture.shape[2] == 3)


def main(start: int, count: int) -> int:
    faulthandler.enable()
    results: Counter[str] = Counter()
    slowest, began = (0.0, -1), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(start, start + count):
            faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
            then = time.monotonic()
            try:
                result = check_case(seed, Path(folder))
            except BaseException as error:
                print(f"case {seed} ({make_case(seed)[0]}): {type(error).__name__}: {error}", flush=True)
                result = "defect"
            results[f"{make_case(seed)[0].split(':')[0]} {result}"] += 1
            slowest = max(slowest, (time.monotonic() - then, seed))
    faulthandler.cancel_dump_traceback_later()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{count} cases from {start}: {dict(sorted(results.items()))}")
    print(f"{time.monotonic() - began:.0f} s, slowest {slowest[0]:.1f} s (case {slowest[1]}), peak {memory} MB")
    return any(name.endswith("defect") for name in results)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
