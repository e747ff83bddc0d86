"""Stores whose training views are biased: a hue is bound to the class.

As coloured digits bind a colour to the class (biased sets of CDvG, arXiv 2112.01021): what a network can read off the
floor or the light is right in nearly every training view, and worthless on held-out objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from equissl.datasets.views.latents import sample_unit
from equissl.datasets.views.schema import LatentSchema

LATENTS = {"hue": "floor_hue", "floor_hue": "floor_hue", "light_hue": "light_hue"}
FORM = f"expected a bias LATENT:class:SHARE with LATENT one of {', '.join(LATENTS)} and SHARE in [0, 1]"
Values = TypeVar("Values", np.ndarray, Tensor)


@dataclass(frozen=True)
class Bias:
    """Binding of a hue to the class: of C classes, class c has the c-th of C equal bands of the hue circle.

    Attributes:
        latent: ``floor_hue`` or ``light_hue``.
        share: share of the views whose hue lies in the band of their class; the others lie in a random other band.
    """

    latent: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Bias:
        """Read ``LATENT:class:SHARE``, for example ``hue:class:0.99``.

        Raises:
            ValueError: for another form, latent or share.
        """
        latent, bound, share = [*text.split(":"), "", ""][:3]
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if text.count(":") != 2 or latent not in LATENTS or bound != "class" or not 0 <= value <= 1:
            raise ValueError(f"{FORM}, such as hue:class:0.99; got {text!r}")
        return cls(LATENTS[latent], value)

    def apply(
        self, latents: np.ndarray, schema: LatentSchema, label: int, classes: int, seed: int, object_index: int
    ) -> np.ndarray:
        """Move the hue of an object's views into the bands that their classes' bias gives them.

        Two more numbers of each view's own stream choose the band; the place within it is that of the plain draw, so
        all other latents are those of the unbiased store, and each view can still be made again alone.

        Args:
            latents: (V, L) plain draws, see :func:`equissl.datasets.views.latents.sample_latents`.
            schema: of the latents.
            label: class of the object.
            classes: C, at least 2.
            seed: of the dataset.
            object_index: the object's position in its mesh source.

        Raises:
            ValueError: for fewer than two classes.
        """
        if classes < 2:
            raise ValueError(f"a bias binds a hue to one of at least 2 classes, got {classes}")
        count = len(schema)
        more = np.array([sample_unit(seed, object_index, view, count + 2)[count:] for view in range(len(latents))])
        other = (label + 1 + (more[:, 1] * (classes - 1)).astype(np.int64)) % classes
        band = np.where(more[:, 0] < self.share, label, other)
        biased, column = latents.copy(), schema.columns(self.latent)[0]
        biased[:, column] = (band + latents[:, column]) / classes
        return biased


def find_bands(hues: Values, classes: int) -> Values:
    """Find the band, 0 to C − 1 in the values' type, in which each hue lies.

    Args:
        hues: in [0, 1].
        classes: C.
    """
    return (hues * classes).clip(0, classes - 1) // 1
