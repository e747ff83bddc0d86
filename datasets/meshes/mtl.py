"""MTL material libraries, read as Blender's Wavefront importer of the 3DIEBench generator maps them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from equissl.datasets.meshes.beside import find_beside
from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.text import decode_name, logical_lines, to_utf8, without_comment
from equissl.datasets.meshes.textures import decode_texture

#: Number of arguments of the options that may stand before a texture's file name.
_OPTION_ARGUMENTS = dict.fromkeys(("-blendu", "-blendv", "-cc", "-clamp", "-texres", "-bm", "-imfchan", "-type"), 1)
_OPTION_ARGUMENTS |= {"-boost": 1, "-mm": 2}


def split_texture_options(argument: str) -> tuple[str, list[str]]:
    """Separate a ``map_*`` argument into file name (spaces allowed) and the options in front of it."""
    words = argument.split()
    options: list[str] = []
    while words and words[0] in {*_OPTION_ARGUMENTS, "-s", "-o", "-t"}:
        options.append(words.pop(0))
        count = _OPTION_ARGUMENTS.get(options[-1], 3)
        while words and count and (options[-1] in _OPTION_ARGUMENTS or _is_number(words[0])):
            words.pop(0)
            count -= 1
    return (" ".join(words) if options else argument.strip()), options


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(argument: str) -> list[float]:
    text = without_comment(argument.encode()).decode()
    values = [float(word) for word in text.split() if _is_number(word)]
    if not values or not np.isfinite(values).all():
        raise ValueError(argument)
    return values


def _material(name: str, keys: dict[str, str], texture: Callable[[str], np.ndarray | None]) -> Material:
    """Map the statements of one material. Values absent get the importer's defaults, which depend on ``illum``."""
    illum = int(_numbers(keys["illum"])[0]) if "illum" in keys else 1
    shiny = "ks" in keys or illum == 2
    diffuse = np.resize(_numbers(keys.get("kd", "0.8")), 3).clip(0, 1).astype(np.float32)
    specular = float(np.mean(_numbers(keys["ks"]))) if "ks" in keys else float(illum == 2)
    exponent = _numbers(keys["ns"])[0] if "ns" in keys else (900.0 if shiny else 0.0)
    return Material(
        diffuse=diffuse,
        texture=texture(keys["map_kd"]) if "map_kd" in keys else None,
        specular=min(max(specular, 0.0), 1.0),
        roughness=1.0 - float(np.sqrt(min(max(exponent, 0.0), 900.0))) / 30.0,
        alpha=min(max(_opacity(keys), 0.0), 1.0),
        name=name,
    )


def _opacity(keys: dict[str, str]) -> float:
    """``d``, else what ``Tr`` leaves; nothing left is the fault of programs that write ``d`` under that name."""
    if "d" in keys:
        return _numbers(keys["d"])[-1]
    return (1.0 - _numbers(keys["tr"])[0] or 1.0) if "tr" in keys else 1.0


def read_mtl(files: Files, path: str, data: bytes, warnings: list[str]) -> dict[str, Material]:
    """Read a library.

    ``Kd`` is linear and used as it is; ``map_Kd`` replaces it; specular is the mean of ``Ks``; roughness is
    ``1 - sqrt(min(Ns, 900)) / 30``; alpha is ``d``, or one minus ``Tr``. Keywords are read without regard to case.

    Args:
        files: Where its textures lie.
        path: The library's path in ``files``.
        data: Its bytes.
        warnings: Grows by one sentence per finding: what is missing or not understood.
    """
    decoded: dict[str, np.ndarray | None] = {}

    def texture(argument: str) -> np.ndarray | None:
        if argument not in decoded:
            decoded[argument] = _load_texture(files, posixpath.dirname(path), argument, warnings)
        return decoded[argument]

    materials: dict[str, Material] = {}
    for name, keys in _blocks(data, path, warnings):
        try:
            materials[name] = _material(name, keys, texture)
        except ValueError as error:
            warnings.append(f"material {name!r} in {path} holds a value that is no number: {error}")
            materials[name] = replace(Material(), name=name)
        if "map_d" in keys:
            warnings.append(f"the opacity texture {keys['map_d']!r} of material {name!r} is not used")
    return materials


def _blocks(data: bytes, path: str, warnings: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Name and statements, by keyword in lower case, of each material."""
    blocks: list[tuple[str, dict[str, str]]] = []
    try:
        lines = logical_lines(to_utf8(data))
    except ValueError as error:
        warnings.append(f"material library {path} cannot be read: {error}")
        return []
    for line in lines:
        key, _, argument = line.strip().partition(b" ")
        if key.lower() == b"newmtl":
            blocks.append((material_name(argument), {}))
        elif blocks and argument and not key.startswith(b"#"):
            blocks[-1][1][decode_name(key).lower()] = decode_name(argument).strip()
    return blocks


def material_name(argument: bytes) -> str:
    """Return the name behind ``newmtl`` or ``usemtl``, with one blank between its words."""
    return " ".join(decode_name(argument).split())


def _load_texture(files: Files, folder: str, argument: str, warnings: list[str]) -> np.ndarray | None:
    name, options = split_texture_options(argument)
    if set(options) & {"-s", "-o", "-t"}:
        warnings.append(f"placement options {options} of texture {name!r} are not used")
    found = find_beside(files, folder, name)
    if found is None:
        warnings.append(f"texture {name!r} is missing; the material's Kd is used")
        return None
    try:
        return decode_texture(found[1])
    except (OSError, ValueError, SyntaxError) as error:
        warnings.append(f"texture {name!r} cannot be decoded ({error}); the material's Kd is used")
        return None
