"""MTL material libraries, read as Blender's Wavefront importer of the 3DIEBench generator maps them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.textures import decode_texture

#: Number of arguments of the options that may stand before a texture's file name.
_OPTION_ARGUMENTS = {
    "-blendu": 1,
    "-blendv": 1,
    "-cc": 1,
    "-clamp": 1,
    "-texres": 1,
    "-bm": 1,
    "-imfchan": 1,
    "-type": 1,
}
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


def _find_texture(files: Files, folder: str, name: str) -> bytes | None:
    """Read a texture beside the library; for paths of the author's own machine, its last component there."""
    name = name.replace("\\", "/")
    candidates = [] if name.startswith("/") or name[1:2] == ":" else [posixpath.normpath(posixpath.join(folder, name))]
    candidates.append(posixpath.join(folder, posixpath.basename(name)))
    for path in dict.fromkeys(candidates):
        if not path.startswith("..") and (data := files.read(path)) is not None:
            return data
    return None


def _numbers(argument: str) -> list[float]:
    values = [float(word) for word in argument.split() if _is_number(word)]
    if not values or not np.isfinite(values).all():
        raise ValueError(argument)
    return values


def _material(name: str, keys: dict[str, str], texture: Callable[[str], np.ndarray | None]) -> Material:
    """Map the statements of one material. Values absent get the importer's defaults, which depend on ``illum``."""
    illum = int(_numbers(keys["illum"])[0]) if "illum" in keys else 1
    shiny = "Ks" in keys or illum == 2
    diffuse = np.resize(_numbers(keys.get("Kd", "0.8")), 3).clip(0, 1).astype(np.float32)
    specular = float(np.mean(_numbers(keys["Ks"]))) if "Ks" in keys else float(illum == 2)
    exponent = _numbers(keys["Ns"])[0] if "Ns" in keys else (900.0 if shiny else 0.0)
    return Material(
        diffuse=diffuse,
        texture=texture(keys["map_Kd"]) if "map_Kd" in keys else None,
        specular=min(max(specular, 0.0), 1.0),
        roughness=1.0 - float(np.sqrt(min(max(exponent, 0.0), 900.0))) / 30.0,
        alpha=min(max(_numbers(keys["d"])[-1] if "d" in keys else 1.0, 0.0), 1.0),
        name=name,
    )


def read_mtl(files: Files, path: str, warnings: list[str]) -> dict[str, Material]:
    """Read a library.

    ``Kd`` is linear and used as it is; ``map_Kd`` replaces it; specular is the mean of ``Ks``; roughness is
    ``1 - sqrt(min(Ns, 900)) / 30``; alpha is ``d``. Anything missing or not understood is appended to ``warnings``.

    Args:
        files: Where the library and its textures lie.
        path: The library's path in ``files``.
        warnings: Grows by one sentence per finding.
    """
    data = files.read(path)
    if data is None:
        warnings.append(f"material library {path} is missing")
        return {}
    blocks: list[tuple[str, dict[str, str]]] = []
    for line in data.decode("utf-8", "replace").splitlines():
        key, _, argument = line.strip().partition(" ")
        if key == "newmtl":
            blocks.append((argument.strip(), {}))
        elif blocks and argument and not key.startswith("#"):
            blocks[-1][1][key] = argument.strip()
    decoded: dict[str, np.ndarray | None] = {}

    def texture(argument: str) -> np.ndarray | None:
        if argument not in decoded:
            decoded[argument] = _load_texture(files, posixpath.dirname(path), argument, warnings)
        return decoded[argument]

    materials: dict[str, Material] = {}
    for name, keys in blocks:
        try:
            materials[name] = _material(name, keys, texture)
        except ValueError as error:
            warnings.append(f"material {name!r} in {path} holds a value that is no number: {error}")
            materials[name] = replace(Material(), name=name)
        if "map_d" in keys:
            warnings.append(f"the opacity texture {keys['map_d']!r} of material {name!r} is not used")
    return materials


def _load_texture(files: Files, folder: str, argument: str, warnings: list[str]) -> np.ndarray | None:
    name, options = split_texture_options(argument)
    if set(options) & {"-s", "-o", "-t"}:
        warnings.append(f"placement options {options} of texture {name!r} are not used")
    data = _find_texture(files, folder, name)
    if data is None:
        warnings.append(f"texture {name!r} is missing; the material's Kd is used")
        return None
    try:
        return decode_texture(data)
    except (OSError, ValueError, SyntaxError) as error:
        warnings.append(f"texture {name!r} cannot be decoded ({error}); the material's Kd is used")
        return None
