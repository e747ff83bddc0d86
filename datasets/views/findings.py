"""Findings from the making of views: meshes left out, warnings of the others, near-empty views.

The terminal gets one line for each kind of finding, counted; the store and its data card hold all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from equissl.datasets.views.store.tables import StoreTables

MIN_COVERAGE = 0.002  # of the pixels of an image
NAMED = 20  # meshes left out that the terminal names
# What differs between warnings of one kind: quoted names, lists, paths and files, numbers.
_VARIABLE = re.compile(
    r"""(?<!\w)(?:'[^']*'|"[^"]*")(?!\w)|\[[^\]]*\]|\S*[/\\]\S*|\b[\w-]+\.[A-Za-z]\w{1,4}\b|[-+]?\d[\d.,e+-]*"""
)


@dataclass(frozen=True)
class WarningGroup:
    """Warnings that differ in names and numbers alone.

    Attributes:
        text: the warning; where they differ with … in place of what does.
        meshes: how many meshes it concerns.
        example: name of the first.
    """

    text: str
    meshes: int
    example: str

    def __str__(self) -> str:
        return f"{self.text}: {count(self.meshes, 'mesh', 'meshes')}, e.g. {self.example}"


@dataclass(frozen=True)
class SmallViews:
    """Views of one object in which it covers few pixels.

    Attributes:
        name: of the object.
        views, pixels: their numbers, and the pixels that show the object in each.
    """

    name: str
    views: tuple[int, ...]
    pixels: tuple[int, ...]


def count(number: int, one: str, many: str) -> str:
    """Format a number of things.

    Args:
        number: of them.
        one, many: their singular and plural.
    """
    return f"{number} {one if number == 1 else many}"


def group_warnings(warnings: Iterable[tuple[str, str]]) -> list[WarningGroup]:
    """Group (mesh, warning) by the kind of warning, the most frequent first."""
    kinds: dict[str, tuple[dict[str, None], set[str]]] = {}
    for name, text in warnings:
        names, texts = kinds.setdefault(_VARIABLE.sub("…", text), ({}, set()))
        names[name] = None
        texts.add(text)
    groups = [
        WarningGroup(next(iter(texts)) if len(texts) == 1 else kind, len(names), next(iter(names)))
        for kind, (names, texts) in kinds.items()
    ]
    return sorted(groups, key=lambda group: -group.meshes)


def find_small_views(tables: StoreTables, image_size: int, min_coverage: float = MIN_COVERAGE) -> list[SmallViews]:
    """Find the views in which the object covers less than a share of the image; views not counted are left out.

    Args:
        tables: of the store.
        image_size: side of its images in pixels.
        min_coverage: the share.
    """
    pixels = tables.object_pixels
    small = (pixels >= 0) & (pixels < min_coverage * image_size**2)
    found = []
    for row in np.flatnonzero(small.any(axis=1)).tolist():
        views = np.flatnonzero(small[row])
        found.append(SmallViews(tables.names[row], tuple(views.tolist()), tuple(pixels[row, views].tolist())))
    return found


def skipped_lines(skipped: Sequence[tuple[str, str]], named: int = NAMED) -> list[str]:
    """Format meshes left out, each named once.

    Args:
        skipped: (name, reason).
        named: how many are named; the rest are counted.
    """
    lines = [f"skipped {name}: {reason}" for name, reason in skipped[:named]]
    return lines + [f"skipped {len(skipped) - named} more"] * (len(skipped) > named)


def small_view_lines(small: Sequence[SmallViews], total: int, min_coverage: float) -> list[str]:
    """Format the near-empty views in one line, or none.

    Args:
        small: the views.
        total: of all views looked at.
        min_coverage: see :func:`find_small_views`.
    """
    if not small:
        return []
    number, first = sum(len(each.views) for each in small), small[0]
    share = f"the object covers less than {100 * min_coverage:g} % of the image"
    views = f"{number} of {total} views, of {count(len(small), 'object', 'objects')}"
    return [f"{share}: {views}, e.g. view {first.views[0]} of {first.name} ({first.pixels[0]} pixels)"]
