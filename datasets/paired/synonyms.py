"""Words that mean the same, shared by the grammar of captions and by the augmentation of texts. The first is plain."""

from __future__ import annotations

#: Nouns of the classes of the built-in mesh sources. A class of two things is called by both: a label cannot tell them.
NOUNS: dict[str, tuple[str, ...]] = {
    "bed": ("bed", "bedstead"),
    "bookcase_shelf": ("bookcase or shelf", "set of shelves"),
    "bottle": ("bottle", "flask"),
    "cabinet": ("cabinet", "cupboard"),
    "car": ("car", "automobile"),
    "chair": ("chair", "seat"),
    "clothing": ("piece of clothing", "garment"),
    "cup_glass": ("cup or glass", "drinking vessel"),
    "electronics": ("electronic device", "piece of electronics"),
    "hand_tool": ("hand tool", "tool"),
    "lamp": ("lamp", "luminaire"),
    "oven_stove": ("oven or stove", "cooker"),
    "person": ("person", "human figure"),
    "plug_switch": ("plug or switch", "electric fitting"),
    "radiator": ("radiator", "heater"),
    "railing_column": ("railing or column", "column or railing"),
    "sofa": ("sofa", "couch", "settee"),
}

#: Names of hues, and the turns of the colour circle at which each is purest.
HUES: dict[str, tuple[float, tuple[str, ...]]] = {
    "red": (0.0, ("red", "scarlet")),
    "orange": (1 / 12, ("orange",)),
    "yellow": (1 / 6, ("yellow",)),
    "green": (1 / 3, ("green",)),
    "turquoise": (1 / 2, ("turquoise", "cyan")),
    "blue": (2 / 3, ("blue",)),
    "purple": (3 / 4, ("purple", "violet")),
    "pink": (5 / 6, ("pink", "magenta")),
}

TURNED = ("turned", "rotated")
FLOOR = ("floor", "ground")
LIT = ("lit", "illuminated")
PICTURE = ("picture", "image", "rendering")
FRONT, BEHIND, ABOVE = ("the front", "ahead"), ("behind", "the back"), ("above", "overhead")

#: All sets of words or phrases that may stand for each other.
SYNONYMS: tuple[tuple[str, ...], ...] = (
    *NOUNS.values(),
    *(names for _, names in HUES.values() if len(names) > 1),
    *(TURNED, FLOOR, LIT, PICTURE, FRONT, BEHIND, ABOVE),
)


def with_article(noun: str) -> str:
    """Return a noun with ``a`` or ``an``, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
