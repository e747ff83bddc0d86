"""Names, units and ranges of the latents that generated a view."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Latent:
    """One generative factor.

    Attributes:
        name: for example ``rotation_x``.
        unit: ``rad``, ``hue`` (turns of the colour circle, 0 to 1) or ``unit`` (scene length).
        low, high: bounds of the uniform distribution it was drawn from.
        circular: whether low and high are the same point.
    """

    name: str
    unit: str
    low: float
    high: float
    circular: bool = False


@dataclass(frozen=True)
class LatentSchema:
    """The columns of a latent array, in order."""

    latents: tuple[Latent, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(latent.name for latent in self.latents)

    def __len__(self) -> int:
        return len(self.latents)

    def columns(self, *names: str) -> list[int]:
        """Column numbers of ``names``.

        Raises:
            KeyError: naming the missing latent and those that exist.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise KeyError(f"expected latents {missing} in the schema, but it holds {list(self.names)}")
        return [self.names.index(name) for name in names]

    def to_json(self) -> list[dict]:
        """A list of plain dictionaries, for a store's attributes."""
        return [asdict(latent) for latent in self.latents]

    @classmethod
    def from_json(cls, rows: list[dict]) -> LatentSchema:
        return cls(tuple(Latent(**row) for row in rows))


ROTATION = ("rotation_x", "rotation_y", "rotation_z")
TRANSLATION = ("translation_x", "translation_y", "translation_z")


def threediebench_schema(rotation_range: tuple[float, float, float] = (math.pi / 2,) * 3) -> LatentSchema:
    """The seven latents of 3DIEBench, in the column order of its ``latent_<i>.npy`` files.

    Args:
        rotation_range: half-width in radians of the uniform range about x, y and z; 3DIEBench uses π/2 on all three.
    """
    rotations = (Latent(n, "rad", -r, r) for n, r in zip(ROTATION, rotation_range, strict=True))
    return LatentSchema(
        (
            *rotations,
            Latent("floor_hue", "hue", 0.0, 1.0, circular=True),
            Latent("light_theta", "rad", 0.0, math.pi / 4),
            Latent("light_phi", "rad", 0.0, 2 * math.pi, circular=True),
            Latent("light_hue", "hue", 0.0, 1.0, circular=True),
        )
    )


def threediebench_t_schema(rotation_range: tuple[float, float, float] = (math.pi / 2,) * 3) -> LatentSchema:
    """The ten latents of 3DIEBench-T: the seven of 3DIEBench, then the translation in the object's own frame."""
    translations = tuple(Latent(name, "unit", -0.5, 0.5) for name in TRANSLATION)
    return LatentSchema((*threediebench_schema(rotation_range).latents, *translations))
