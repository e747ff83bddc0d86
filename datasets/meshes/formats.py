"""Mesh files other than OBJ, through trimesh."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.mtl import MAX_TEXTURE
from equissl.datasets.meshes.obj import read_obj

#: Extension -> the file's up axis where the user does not say: glTF fixes y; OBJ exporters and ShapeNet write y; the
#: others come from CAD and scanning, where z is the habit.
DEFAULT_UP = {"obj": "y", "glb": "y", "off": "z", "ply": "z", "stl": "z"}


def read_mesh(files: Files, path: str, name: str) -> Mesh:
    """Decode ``path`` by its extension, without turning or scaling it.

    Raises:
        MeshError: For an unknown extension or bytes that are not what the extension says.
    """
    extension = path.rsplit(".", 1)[-1].lower()
    if extension not in DEFAULT_UP:
        raise MeshError(f"{name}: expected a file of {', '.join(DEFAULT_UP)}, got {path}")
    if extension == "obj":
        return read_obj(files, path, name)
    data = files.read(path)
    if data is None:
        raise MeshError(f"{name}: {path} is missing in {files.location}")
    import trimesh

    try:
        scene = trimesh.load(io.BytesIO(data), file_type=extension, process=False)
        parts = scene.dump() if isinstance(scene, trimesh.Scene) else [scene]
        return _join([_convert(p) for p in parts if isinstance(p, trimesh.Trimesh) and len(p.faces)], name)
    except MeshError:
        raise
    # damaged bytes leave trimesh's parsers as almost any exception: IndexError, struct.error, KeyError, recursion ...
    except Exception as error:
        raise MeshError(f"{name}: {path} cannot be read as {extension}: {type(error).__name__}: {error}") from error


def _join(parts: list[Mesh], name: str) -> Mesh:
    if not parts:
        raise MeshError(f"{name}: empty mesh (no faces)")
    vertex_start = np.cumsum([0, *(len(p.vertices) for p in parts)])
    material_start = np.cumsum([0, *(len(p.materials) for p in parts)])
    has_uv = any(p.corner_uv is not None for p in parts)
    has_normals = any(p.corner_normals is not None for p in parts)
    return Mesh(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate([p.faces + s for p, s in zip(parts, vertex_start, strict=False)]).astype(np.int32),
        face_material=np.concatenate([p.face_material + s for p, s in zip(parts, material_start, strict=False)]).astype(
            np.int32
        ),
        corner_uv=np.concatenate([_uv_or_zero(p) for p in parts]) if has_uv else None,
        corner_normals=np.concatenate([_normals_or_flat(p) for p in parts]) if has_normals else None,
        materials=tuple(m for p in parts for m in p.materials),
        name=name,
        warnings=tuple(w for p in parts for w in p.warnings),
    )


def _uv_or_zero(mesh: Mesh) -> np.ndarray:
    return np.zeros((len(mesh.faces), 3, 2), np.float32) if mesh.corner_uv is None else mesh.corner_uv


def _normals_or_flat(mesh: Mesh) -> np.ndarray:
    if mesh.corner_normals is not None:
        return mesh.corner_normals
    return np.repeat(mesh.face_normals()[:, None], 3, axis=1)


def _convert(part: Any) -> Mesh:
    """One trimesh geometry with its texture, its colours, or plain grey."""
    faces = np.asarray(part.faces, np.int32)
    if faces.min() < 0 or faces.max() >= len(part.vertices):
        raise ValueError(f"face indices {faces.min()}..{faces.max()} of {len(part.vertices)} vertices")
    uv, material, warnings = _surface(part, faces)
    normals = None
    if "vertex_normals" in part._cache.cache:  # only where the file had them; asking computes them
        normals = np.asarray(part.vertex_normals, np.float32)[faces]
    return Mesh(
        vertices=np.asarray(part.vertices, np.float32),
        faces=faces,
        face_material=np.zeros(len(faces), np.int32),
        corner_uv=uv,
        corner_normals=normals,
        materials=(material,),
        warnings=warnings,
    )


def _surface(part: Any, faces: np.ndarray) -> tuple[np.ndarray | None, Material, tuple[str, ...]]:
    visual = part.visual
    if visual.kind in ("vertex", "face"):
        return _colour_texture(np.asarray(visual.face_colors)[:, :3])
    if visual.kind != "texture" or getattr(visual, "material", None) is None:
        return None, Material(), ()
    material, warnings = _pbr(visual.material)
    if material.texture is None:
        return None, material, warnings
    if visual.uv is None or len(visual.uv) != len(part.vertices):
        return np.zeros((len(faces), 3, 2), np.float32), material, (*warnings, "a texture has no coordinates")
    return np.asarray(visual.uv, np.float32)[faces], material, warnings


def _colour_texture(colours: np.ndarray) -> tuple[np.ndarray, Material, tuple[str, ...]]:
    """Colours per face (M, 3) uint8 sRGB as one texture, a texel per colour: corners sit on the texel's centre."""
    palette, index = np.unique(colours.astype(np.uint8), axis=0, return_inverse=True)
    side = int(np.ceil(np.sqrt(len(palette))))
    texture = np.zeros((side * side, 3), np.uint8)
    texture[: len(palette)] = palette
    row, column = np.divmod(index.reshape(-1), side)
    uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], axis=1).astype(np.float32)
    corner_uv = np.repeat(uv[:, None], 3, axis=1)
    return corner_uv, Material(texture=texture.reshape(side, side, 3)), ()


def _pbr(source: Any) -> tuple[Material, tuple[str, ...]]:
    """A glTF metallic-roughness (or simple) material. Base colour factors are linear, textures sRGB."""
    if hasattr(source, "to_pbr") and not hasattr(source, "baseColorFactor"):
        source = source.to_pbr()
    factor = getattr(source, "baseColorFactor", None)
    factor = np.ones(4) if factor is None else np.asarray(factor, np.float64)
    if factor.max() > 1:
        factor = factor / 255.0  # trimesh keeps factors as uint8
    roughness = getattr(source, "roughnessFactor", None)
    image, texture = getattr(source, "baseColorTexture", None), None
    warnings: tuple[str, ...] = ()
    if image is not None:
        texture = _shrunk(image)
        if not np.allclose(factor[:3], 1, atol=1 / 255):
            texture = _tint(texture, factor[:3])
    if getattr(source, "metallicFactor", None):
        warnings = ("the metallic part of a material is not used",)
    material = Material(
        diffuse=factor[:3].astype(np.float32),
        texture=texture,
        specular=0.5,  # glTF's fixed reflectance of 0.04 is 0.08 times this
        roughness=float(1.0 if roughness is None else roughness),
        alpha=float(factor[3]) if len(factor) > 3 else 1.0,
        name=str(getattr(source, "name", None) or ""),
    )
    return material, warnings


def _shrunk(image: Image.Image) -> np.ndarray:
    rgb = image.convert("RGB")
    rgb.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return np.asarray(rgb, np.uint8)


def _tint(texture: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply an sRGB texture by a linear factor."""
    encoded = texture / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) * factor
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded.clip(0, 1) * 255 + 0.5).astype(np.uint8)
