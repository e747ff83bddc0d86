"""Random primitives of glTF files: triangles, attributes, materials and textures, with what they mean."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from gltf_writer import Writer
from PIL import Image

_WRAPS = {"repeat": 10497, "clamp": 33071, "mirror": 33648}


def _store(writer: Writer, values: np.ndarray, kind: str, *, normalised: bool) -> tuple[int, np.ndarray]:
    """An accessor of fractions or whole numbers, and what it says: the values rounded to the type."""
    if kind == "<f4":
        return writer.accessor(values, kind), values.astype(np.float32).astype(float)
    largest = np.iinfo(kind).max
    whole = np.rint(values * largest) if normalised else np.rint(values)
    return writer.accessor(whole, kind, normalised=normalised), whole / largest if normalised else whole


def _material(writer: Writer) -> tuple[int | None, dict[str, Any]]:
    """A material, and what it means."""
    rng, looks = writer.rng, {"factor": np.ones(3), "texture": None}
    if writer.pick("no material", "material", "material", "material") == "no material":
        return None, looks
    body: dict[str, Any] = {}
    names = ("baseColorFactor", "baseColorTexture")
    item: dict[str, Any] = {"pbrMetallicRoughness": body, "doubleSided": writer.chance(0.5)}
    if writer.chance(0.2):
        writer.need("KHR_materials_pbrSpecularGlossiness", writer.chance(0.5))
        item, names = {"extensions": {"KHR_materials_pbrSpecularGlossiness": body}}, ("diffuseFactor", "diffuseTexture")
    elif writer.chance(0.15):
        writer.need("KHR_materials_unlit", writer.chance(0.5))
        item["extensions"] = {"KHR_materials_unlit": {}}
    if writer.pick("factor", "no factor") == "factor":
        looks["factor"] = rng.uniform(0.1, 1, 3)
        body[names[0]] = [*looks["factor"].tolist(), 1.0]
    if writer.pick("texture", "no texture") == "texture":
        body[names[1]], looks["texture"] = _texture(writer)
    return writer.add("materials", item), looks


def _texture(writer: Writer) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = writer.rng
    pixels = rng.integers(0, 256, (int(rng.integers(2, 6)), int(rng.integers(2, 6)), 3)).astype(np.uint8)
    info: dict[str, Any] = {"index": 0}
    if (uv_set := writer.pick(0, 0, 1)) or writer.chance(0.2):
        info["texCoord"] = uv_set
        writer.features.add(f"texCoord {uv_set}")
    same = writer.chance(0.6)
    wrap = (writer.pick("repeat", "mirror", "clamp"), writer.pick("repeat", "mirror", "clamp"))
    wrap = (wrap[0], wrap[0]) if same else wrap
    matrix = np.eye(2, 3)
    if "clamp" not in wrap and writer.chance(0.5):
        extension, matrix, uv_set = _transform(writer, uv_set)
        info["extensions"] = {"KHR_texture_transform": extension}
    info["index"] = writer.add("textures", {"source": _image(writer, pixels), "sampler": _sampler(writer, wrap)})
    return info, {"pixels": pixels, "set": uv_set, "wrap": wrap, "matrix": matrix}


def _sampler(writer: Writer, wrap: tuple[str, str]) -> int:
    return writer.add("samplers", {"wrapS": _WRAPS[wrap[0]], "wrapT": _WRAPS[wrap[1]]})


def _transform(writer: Writer, uv_set: int) -> tuple[dict[str, Any], np.ndarray, int]:
    """KHR_texture_transform; anticlockwise on an image whose v points down is (u, v) -> (cu + sv, -su + cv)."""
    writer.need("KHR_texture_transform", writer.chance(0.5))
    scale, turn, offset = writer.rng.uniform(-2, 2, 2), writer.rng.uniform(-3, 3), writer.rng.uniform(-1, 1, 2)
    extension: dict[str, Any] = {}
    if writer.chance(0.7):
        extension["scale"] = scale.tolist()
    if writer.chance(0.7):
        extension["rotation"] = turn
    if writer.chance(0.7):
        extension["offset"] = offset.tolist()
    if writer.chance(0.2):
        uv_set = extension["texCoord"] = 1
        writer.features.add("texCoord of a transform")
    c, s = np.cos(extension.get("rotation", 0)), np.sin(extension.get("rotation", 0))
    x, y = extension.get("scale", (1, 1))
    dx, dy = extension.get("offset", (0, 0))
    return extension, np.array([[c * x, s * y, dx], [-s * x, c * y, dy]]), uv_set


def _image(writer: Writer, pixels: np.ndarray) -> int:
    data = io.BytesIO()
    mode = writer.pick("RGB", "RGBA", "palette")
    image = Image.fromarray(pixels)
    if mode == "palette":
        colours, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
        image = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8), "P")
        image.putpalette(colours.ravel().tolist())
    (image.convert("RGBA") if mode == "RGBA" else image).save(data, "PNG")
    if writer.pick("image in buffer", "image by URI") == "image in buffer":
        return writer.add("images", {"bufferView": writer.view(data.getvalue()), "mimeType": "image/png"})
    name = f"textures/ä {len(writer.beside)}.png"
    return writer.add("images", {"uri": writer.uri(data.getvalue(), name, "image/png")})


def _indices(writer: Writer, count: int) -> tuple[dict[str, Any], np.ndarray]:
    """Mode and indices of a primitive of ``count`` vertices, and its triangles."""
    mode = writer.pick("triangles", "triangles", "strip", "fan")
    item: dict[str, Any] = {} if mode == "triangles" and writer.chance(0.5) else {"mode": 4}
    item = {"mode": {"strip": 5, "fan": 6}[mode]} if mode != "triangles" else item
    order = np.arange(count)
    if writer.pick("indexed", "not indexed") == "indexed":
        order = writer.rng.permutation(count)
        if mode == "triangles":
            # triangles that share vertices, all different
            more = order.reshape(-1, 3)[:, :1] + [0, 1, 2]
            order = np.concatenate([order.reshape(-1, 3), [row % count for row in more]])
            order = order[np.unique(np.sort(order, axis=1), axis=0, return_index=True)[1]].ravel()
        kind = writer.pick("<u1", "<u2", "<u4")
        item["indices"] = writer.accessor(order[:, None], kind, vertex=False)
    if mode == "triangles":
        return item, order[: len(order) // 3 * 3].reshape(-1, 3)
    if mode == "strip":
        turned = [(i, i + 1, i + 2) if i % 2 == 0 else (i, i + 2, i + 1) for i in range(len(order) - 2)]
        return item, order[turned]
    return item, order[[(0, i + 1, i + 2) for i in range(len(order) - 2)]]


def make_primitive(writer: Writer, targets: int, joints: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rng, count = writer.rng, 3 * writer.integer(2, 5)
    item, faces = _indices(writer, count)
    attributes: dict[str, int] = {}
    meaning: dict[str, Any] = {"faces": faces, "uv": {}, "colours": None, "normals": None, "moves": []}
    kind = writer.pick("<f4", "<f4", "<i2", "<u2", "<i1") if not targets else "<f4"
    normalised = kind != "<f4" and writer.chance(0.5)
    if kind != "<f4":
        writer.need("KHR_mesh_quantization")
    span = 1 if normalised or kind == "<f4" else 100
    points = rng.uniform(0 if kind == "<u2" else -span, span, (count, 3))
    attributes["POSITION"], meaning["positions"] = _store(writer, points, kind, normalised=normalised)
    if writer.pick("normals", "no normals") == "normals":
        kind = writer.pick("<f4", "<i1", "<i2") if "KHR_mesh_quantization" in writer.features else "<f4"
        unit = rng.normal(size=(count, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        attributes["NORMAL"], meaning["normals"] = _store(writer, unit, kind, normalised=kind != "<f4")
    material, looks = _material(writer)
    if material is not None:
        item["material"] = material
    texture = looks["texture"]
    sets = (
        2 if texture and texture["set"] == 1 else int(rng.integers(3)) if texture is None else int(rng.integers(1, 3))
    )
    for number in range(sets):
        kind = writer.pick("<f4", "<u1", "<u2")
        span = 1.0 if kind != "<f4" or (texture and "clamp" in texture["wrap"]) else 3.0
        uv = rng.uniform(1 - span, span, (count, 2))
        attributes[f"TEXCOORD_{number}"], meaning["uv"][number] = _store(writer, uv, kind, normalised=kind != "<f4")
    if writer.pick("colours", "no colours") == "colours":
        kind, width = writer.pick("<f4", "<u1", "<u2"), writer.pick(3, 4)
        values = rng.random((count, width))
        values[:, 3:] = 1
        if writer.chance(0.2):
            values[:] = values[0]
        attributes["COLOR_0"], colours = _store(writer, values, kind, normalised=kind != "<f4")
        meaning["colours"] = colours[:, :3]
        writer.features.add(f"COLOR_0 {kind} VEC{width}")
    if joints:
        for name, value in _weights(writer, count, joints, meaning).items():
            attributes[name] = value
    for _ in range(targets):
        moves = rng.normal(size=(count, 3)).astype(np.float32).astype(float)
        meaning["moves"].append(moves)
        item.setdefault("targets", []).append({"POSITION": writer.accessor(moves, "<f4")})
    return item | {"attributes": attributes}, meaning | looks


def _weights(writer: Writer, count: int, joints: int, meaning: dict[str, Any]) -> dict[str, int]:
    """JOINTS_0 and WEIGHTS_0: two joints a vertex."""
    first, share = writer.rng.integers(joints, size=count), writer.rng.random(count)
    index = np.stack([first, (first + 1) % joints, 0 * first, 0 * first], axis=1)
    weights = np.stack([share, 1 - share, 0 * share, 0 * share], axis=1)
    kind = writer.pick("<f4", "<u2")
    attribute, stored = _store(writer, weights, kind, normalised=kind != "<f4")
    meaning["joints"], meaning["weights"] = index, stored / stored.sum(axis=1, keepdims=True)
    return {"JOINTS_0": writer.accessor(index, writer.pick("<u1", "<u2")), "WEIGHTS_0": attribute}
