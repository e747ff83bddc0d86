"""Captions of views, made from classes and latents by a grammar with synonyms.

"a chair, turned 30 degrees to the left, on a red floor, lit from above": the class, the rotation about the vertical,
the hue of the floor, the light. A caption speaks of one view, and only of latents that the store's schema holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from equissl.datasets.paired.synonyms import (
    ABOVE,
    BEHIND,
    FLOOR,
    FRONT,
    HUES,
    LIT,
    NOUNS,
    PICTURE,
    TURNED,
    with_article,
)
from equissl.datasets.sampling import mix
from equissl.datasets.views.schema import LatentSchema
from equissl.util.registry import did_you_mean

STEP = 30  # degrees between two rotations that a caption tells apart
OVERHEAD = math.pi / 12  # angle from the vertical below which light comes from above
_WORDS = 0x3A8D5  # keeps the choice of words apart from that of views


@dataclass(frozen=True)
class Attribute:
    """One thing that a caption says of a view.

    Attributes:
        latents: names of the n latents that it is read from.
        read: from their values (n,) to the attribute's value, a key of ``phrases``.
        phrases: of each value, all that may be said, the plainest first.
    """

    latents: tuple[str, ...]
    read: Callable[[np.ndarray], str]
    phrases: Mapping[str, tuple[str, ...]]


def _all(template: str, *choices: Sequence[str]) -> tuple[str, ...]:
    return tuple(template.format(*words) for words in product(*choices))


def read_rotation(angles: np.ndarray) -> str:
    """Return a rotation about the vertical, to the nearest `STEP`: ``30 left``; ``0`` and ``180`` have no side.

    Left is the object's own, which is anticlockwise as seen from above.

    Args:
        angles: (1,) radians.
    """
    degrees = STEP * round(math.degrees(float(angles[0])) / STEP) % 360
    if degrees % 180 == 0:
        return str(degrees)
    return f"{degrees} left" if degrees < 180 else f"{360 - degrees} right"


def read_hue(turns: np.ndarray) -> str:
    """Return the name of the nearest hue of `HUES` on the colour circle.

    Args:
        turns: (1,) of the colour circle.
    """

    def distance(name: str) -> float:
        apart = abs(float(turns[0]) - HUES[name][0]) % 1
        return min(apart, 1 - apart)

    return min(HUES, key=distance)


def read_light(angles: np.ndarray) -> str:
    """Return the side that the spot light comes from, as the camera sees it: above, left, right, front or behind.

    Args:
        angles: (2,) polar angle from the vertical and azimuth, radians; the camera is at azimuth π/2 and its right is
            at π.
    """
    theta, phi = (float(angle) for angle in angles)
    if theta < OVERHEAD:
        return "above"
    return ("left", "front", "right", "behind")[round(phi / (math.pi / 2)) % 4]


def _rotations() -> dict[str, tuple[str, ...]]:
    phrases = {"0": _all("not {}", TURNED), "180": _all("{} around", TURNED)}
    for degrees, side in product(range(STEP, 180, STEP), ("left", "right")):
        phrases[f"{degrees} {side}"] = (
            *_all(f"{{}} {degrees} degrees to the {side}", TURNED),
            *_all(f"{{}} to the {side} by {degrees} degrees", TURNED),
        )
    return phrases


_SIDES = {"above": ABOVE, "front": FRONT, "behind": BEHIND, "left": ("the left",), "right": ("the right",)}

ATTRIBUTES: dict[str, Attribute] = {
    "rotation": Attribute(("rotation_z",), read_rotation, _rotations()),
    "floor_hue": Attribute(
        ("floor_hue",),
        read_hue,
        {name: _all("on {} {}", [with_article(word) for word in words], FLOOR) for name, (_, words) in HUES.items()},
    ),
    "light": Attribute(
        ("light_theta", "light_phi"),
        read_light,
        {name: _all("{} from {}", LIT, sides) for name, sides in _SIDES.items()},
    ),
    "light_hue": Attribute(
        ("light_hue",),
        read_hue,
        {
            name: (*_all("in {} light", words), *_all("under {} light", [with_article(word) for word in words]))
            for name, (_, words) in HUES.items()
        },
    ),
}


def nouns_of(name: str) -> tuple[str, ...]:
    """Return what a class may be called: the words of `NOUNS`, the parts of a list, or its own name.

    Args:
        name: of the class; ``airplane,aeroplane,plane`` is a list of synonyms, as ShapeNet has them.
    """
    listed = tuple(" ".join(part.replace("_", " ").split()) for part in name.split(","))
    return NOUNS.get(name) or tuple(part for part in listed if part) or (name,)


class Grammar:
    """Grammar of the captions of a store's views.

    Args:
        classes: names.
        schema: of the latents.
        about: attributes to speak of, in that order; None takes those of `ATTRIBUTES` whose latents the schema holds.
        seed: of the choice of words.

    Raises:
        ValueError: an unknown attribute, or one whose latents the schema does not hold.
    """

    def __init__(
        self, classes: Sequence[str], schema: LatentSchema, about: Sequence[str] | None = None, seed: int = 0
    ) -> None:
        held = [name for name, attribute in ATTRIBUTES.items() if set(attribute.latents) <= set(schema.names)]
        for name in about or ():
            if name not in ATTRIBUTES:
                near = did_you_mean(name, ATTRIBUTES)
                raise ValueError(f"unknown attribute {name!r} of captions{near}; expected some of {list(ATTRIBUTES)}")
            if name not in held:
                raise ValueError(f"captions cannot speak of {name!r}: the store's latents are {list(schema.names)}")
        self.about = tuple(held if about is None else about)
        self.nouns = tuple(nouns_of(name) for name in classes)
        self.seed = seed
        self._columns = {name: schema.columns(*ATTRIBUTES[name].latents) for name in self.about}

    def values(self, latents: np.ndarray) -> dict[str, str]:
        """Read the value of each attribute of one view.

        Args:
            latents: (L,).
        """
        return {name: ATTRIBUTES[name].read(latents[self._columns[name]]) for name in self.about}

    def caption(self, label: int, latents: np.ndarray, epoch: int, index: int, view: int) -> str:
        """Make a caption of one view, with words chosen by (seed, epoch, object, view) alone.

        Args:
            label: class of the object.
            latents: (L,) of the view.
            epoch: of training.
            index: of the object in the store.
            view: its number among the object's.
        """
        draws = iter(mix(self.seed, _WORDS, epoch, index, view, np.arange(len(self.about) + 2)).tolist())

        def choose(phrases: Sequence[str]) -> str:
            return phrases[next(draws) % len(phrases)]

        noun = choose([with_article(noun) for noun in self.nouns[label]])
        subject = choose([noun, noun, *(f"{with_article(word)} of {noun}" for word in PICTURE)])
        said = [choose(ATTRIBUTES[name].phrases[value]) for name, value in self.values(latents).items()]
        return ", ".join([subject, *said])

    def plain(self, label: int, values: Mapping[str, str] | None = None) -> str:
        """Return the plainest caption of a class, and of values of attributes where they are given.

        Args:
            label: of the class.
            values: as `values` reads them.
        """
        said = [ATTRIBUTES[name].phrases[value][0] for name, value in (values or {}).items()]
        return ", ".join([with_article(self.nouns[label][0]), *said])

    def vocabulary(self) -> list[str]:
        """Return all words that captions may hold, sorted, for a tokenizer of words."""
        phrases = [with_article(noun) for nouns in self.nouns for noun in nouns]
        phrases += [f"{with_article(word)} of" for word in PICTURE]
        phrases += [phrase for name in self.about for said in ATTRIBUTES[name].phrases.values() for phrase in said]
        return sorted({word for phrase in phrases for word in phrase.split()} | {","})
