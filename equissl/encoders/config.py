"""Config of image encoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from equissl.encoders.base import Encoder
from equissl.encoders.create import create_encoder
from equissl.encoders.resnet import Stem

# Mean and standard deviation of 3DIEBench's pixels in [0, 1], as in the SIE and EquiCaps recipes.
PIXEL_MEAN = (0.5016, 0.5037, 0.5060)
PIXEL_STD = (0.1030, 0.0999, 0.0969)


@dataclass(frozen=True)
class EncoderConfig:
    """Name and options of an image encoder, see `create_encoder`.

    Attributes:
        name: ``resnet18`` (the papers' variant), ``resnet34``, ``resnet50``, ``torchvision/NAME`` or ``timm/NAME``.
        width: channels of the first stage (reference ResNets).
        stem: ``reference``, ``nopool`` or ``small`` (reference ResNets).
        options: further constructor arguments of a torchvision or timm model.
        pixel_mean, pixel_std: of the training images' channels, in [0, 1]: what uint8 images are normalised by.
    """

    name: str = "resnet18"
    width: int = 64
    stem: Stem = "reference"
    options: dict[str, Any] = field(default_factory=dict)
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD

    def __post_init__(self) -> None:
        if len(self.pixel_mean) != 3 or len(self.pixel_std) != 3 or min(self.pixel_std) <= 0:
            raise ValueError(
                "expected three values each of pixel_mean and pixel_std, the latter above 0, got "
                f"{self.pixel_mean} and {self.pixel_std}"
            )

    def build(self) -> Encoder:
        """Create the encoder with fresh weights."""
        return create_encoder(self.name, self.width, self.stem, **self.options)


DEFAULT_ENCODER = EncoderConfig()
