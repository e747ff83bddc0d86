"""Names, units and ranges of the latents that generated a view."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Latent:
    """One generative factor.

    Attributes:
        name: for example ``rotation_x``.
        unit: ``rad``, ``hue`` (turns of the colour circle, 0 to 1), ``unit`` (scene length), ``side`` (the image's),
            ``factor`` or ``pixel``.
        low, high: bounds of the uniform distribution it was drawn from.
        circular: whether low and high are the same point.
        gap: values nearer than this to the middle of the range are never drawn; for poses out of a training range.

    Raises:
        ValueError: for a gap that leaves nothing to draw from.
    """

    name: str
    unit: str
    low: float
    high: float
    circular: bool = False
    gap: float = 0.0

    def __post_init__(self) -> None:
        half = (self.high - self.low) / 2
        if not (self.gap == 0 or 0 < self.gap < half):
            raise ValueError(f"expected the gap of {self.name} to be 0, or less than {half:g}, got {self.gap:g}")


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
        """Return the column numbers of ``names``.

        Raises:
            KeyError: naming the missing latent and those that exist.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise KeyError(f"expected latents {missing} in the schema, but it holds {list(self.names)}")
        return [self.names.index(name) for name in names]

    def to_json(self) -> list[dict]:
        """Convert to plain dictionaries, for a store's attributes."""
        rows = [asdict(latent) for latent in self.latents]
        return [{key: value for key, value in row.items() if key != "gap" or value} for row in rows]

    @classmethod
    def from_json(cls, rows: list[dict]) -> LatentSchema:
        return cls(tuple(Latent(**row) for row in rows))


Triple = tuple[float, float, float]

ROTATION = ("rotation_x", "rotation_y", "rotation_z")
TRANSLATION = ("translation_x", "translation_y", "translation_z")
CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
JITTER = ("brightness", "contrast", "saturation", "hue")
BLUR = ("blur_sigma",)
POSITION = ("position_row", "position_column")


def threediebench_schema(
    rotation_range: Triple = (math.pi / 2,) * 3,
    rotation_gap: Triple = (0.0,) * 3,
    translation_range: Triple | None = None,
) -> LatentSchema:
    """Return the schema of 3DIEBench, in the column order of its ``latent_<i>.npy`` files, or of 3DIEBench-T.

    Args:
        rotation_range: half-width in radians of the uniform range about x, y and z; 3DIEBench uses π/2 on all three.
        rotation_gap: angles smaller than this are left out; π/2 of a range of π gives the poses that 3DIEBench lacks
            (3DIEBench-OOD of seq-JEPA).
        translation_range: half-width in scene units of a translation along the object's own axes, which makes three
            more latents; 3DIEBench-T uses 0.5 on all three.
    """
    rotations = (
        Latent(name, "rad", -width, width, gap=gap)
        for name, width, gap in zip(ROTATION, rotation_range, rotation_gap, strict=True)
    )
    translations = (Latent(n, "unit", -t, t) for n, t in zip(TRANSLATION, translation_range or (), strict=False))
    return LatentSchema(
        (
            *rotations,
            Latent("floor_hue", "hue", 0.0, 1.0, circular=True),
            Latent("light_theta", "rad", 0.0, math.pi / 4),
            Latent("light_phi", "rad", 0.0, 2 * math.pi, circular=True),
            Latent("light_hue", "hue", 0.0, 1.0, circular=True),
            *translations,
        )
    )


def threediebench_t_schema(rotation_range: Triple = (math.pi / 2,) * 3) -> LatentSchema:
    """The ten latents of 3DIEBench-T: the seven of 3DIEBench, then the translation in the object's own frame."""
    return threediebench_schema(rotation_range, translation_range=(0.5, 0.5, 0.5))


def augmentation_schema(
    brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.2, hue: float = 0.1, sigma: float = 2.0
) -> LatentSchema:
    """Return the schema of an augmented view of an image; an operation left out has its neutral values.

    Crops are in shares of the source image's sides, brightness, contrast and saturation are factors, hue is in turns,
    the blur's deviation in pixels.

    Args:
        brightness, contrast, saturation: how far the factors go from 1, but not below 0.
        hue: how far it goes from 0.
        sigma: largest deviation of the blur.
    """
    reaches = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    return LatentSchema(
        (
            *(Latent(name, "side", 0.0, 1.0) for name in CROP),
            *(Latent(name, "factor", max(0.0, 1 - reach), 1 + reach) for name, reach in reaches.items()),
            Latent("hue", "hue", -hue, hue),
            Latent("blur_sigma", "pixel", 0.0, sigma),
        )
    )


def saccade_schema() -> LatentSchema:
    """Return the schema of a fixated point of an image: row and column as shares of its sides."""
    return LatentSchema(tuple(Latent(name, "side", 0.0, 1.0) for name in POSITION))
