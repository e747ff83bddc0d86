"""Random materials by kind, some with a small drawn texture."""

from __future__ import annotations

import colorsys

import numpy as np

from equissl.datasets.meshes.mesh import Material

#: kind -> hue, saturation and value ranges (linear RGB), specular range, roughness range, chance of a texture
_KINDS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float], float]] = {
    "wood": ((0.04, 0.11), (0.35, 0.8), (0.12, 0.7), (0.45, 0.8), 0.5),
    "fabric": ((0.0, 1.0), (0.05, 0.75), (0.08, 0.75), (0.75, 1.0), 0.35),
    "leather": ((0.0, 0.1), (0.1, 0.7), (0.03, 0.5), (0.4, 0.7), 0.0),
    "plastic": ((0.0, 1.0), (0.0, 0.9), (0.1, 0.85), (0.3, 0.7), 0.0),
    "paint": ((0.0, 1.0), (0.5, 0.95), (0.15, 0.8), (0.2, 0.5), 0.0),
    "metal": ((0.55, 0.65), (0.0, 0.1), (0.25, 0.7), (0.2, 0.5), 0.0),
    "brass": ((0.1, 0.13), (0.5, 0.7), (0.4, 0.7), (0.2, 0.45), 0.0),
    "white": ((0.0, 1.0), (0.0, 0.06), (0.6, 0.9), (0.4, 0.8), 0.0),
    "dark": ((0.0, 1.0), (0.0, 0.2), (0.01, 0.06), (0.3, 0.8), 0.0),
    "glass": ((0.45, 0.6), (0.05, 0.3), (0.25, 0.6), (0.05, 0.2), 0.0),
    "bottle": ((0.05, 0.4), (0.4, 0.95), (0.04, 0.45), (0.1, 0.3), 0.0),
    "leaf": ((0.2, 0.38), (0.5, 0.9), (0.08, 0.4), (0.5, 0.9), 0.0),
    "flower": ((0.8, 1.15), (0.3, 0.9), (0.5, 0.9), (0.6, 0.9), 0.0),
    "bark": ((0.05, 0.1), (0.3, 0.6), (0.06, 0.25), (0.8, 1.0), 0.0),
    "clay": ((0.02, 0.08), (0.3, 0.8), (0.15, 0.6), (0.7, 1.0), 0.0),
    "stone": ((0.08, 0.15), (0.0, 0.2), (0.35, 0.7), (0.7, 1.0), 0.4),
    "skin": ((0.04, 0.08), (0.35, 0.6), (0.2, 0.75), (0.6, 0.8), 0.0),
    "hair": ((0.03, 0.12), (0.3, 0.8), (0.01, 0.35), (0.5, 0.8), 0.0),
    "red": ((0.98, 1.02), (0.8, 0.95), (0.4, 0.7), (0.2, 0.5), 0.0),
    "light": ((0.1, 0.16), (0.05, 0.3), (0.8, 1.0), (0.2, 0.6), 0.0),
}
_SPECULAR = {
    "metal": 0.8,
    "brass": 0.8,
    "paint": 0.5,
    "glass": 0.6,
    "bottle": 0.6,
    "fabric": 0.05,
    "leaf": 0.1,
    "bark": 0.0,
}


class Palette:
    """Materials of one object, in order of creation."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.materials: list[Material] = []

    def add(self, *kinds: str) -> int:
        """Add a material of one of ``kinds``; return its index."""
        kind = kinds[int(self.rng.integers(len(kinds)))]
        hue, saturation, value, roughness, textured = _KINDS[kind]
        colour = colorsys.hsv_to_rgb(*(float(self.rng.uniform(*r)) for r in ((hue[0], hue[1]), saturation, value)))
        texture = self._texture(kind, np.asarray(colour)) if self.rng.random() < textured else None
        self.materials.append(
            Material(
                diffuse=np.asarray(colour, np.float32),
                texture=texture,
                specular=_SPECULAR.get(kind, 0.3) * float(self.rng.uniform(0.3, 1.0)),
                roughness=float(self.rng.uniform(*roughness)),
                name=f"{kind}_{len(self.materials)}",
            )
        )
        return len(self.materials) - 1

    def _texture(self, kind: str, colour: np.ndarray, size: int = 64) -> np.ndarray:
        """A tiling pattern (size, size, 3): grain, stripes, checks or speckles, about the given linear colour."""
        v, u = np.mgrid[:size, :size] * (2 * np.pi / size)
        if kind == "wood":
            grain = np.sin(self.rng.integers(5, 14) * u + self.rng.uniform(0.2, 1.2) * np.sin(v) + np.sin(2 * u))
            pattern = 0.85 + self.rng.uniform(0.05, 0.15) * grain
        elif kind == "fabric":
            count = int(self.rng.integers(2, 9))
            stripes = np.sign(np.sin(count * u)) * (np.sign(np.sin(count * v)) if self.rng.random() < 0.5 else 1)
            pattern = 0.75 + self.rng.uniform(0.1, 0.25) * stripes
        else:
            pattern = self.rng.uniform(0.6, 1.1, (size, size))
        encoded = np.clip(colour * pattern[..., None], 0, 1) ** (1 / 2.2)
        return (encoded * 255).astype(np.uint8)
