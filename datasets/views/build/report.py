"""Summary of a build: what is in the store, and what the user should know of its making."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from equissl.datasets.views.findings import (
    MIN_COVERAGE,
    SmallViews,
    find_small_views,
    group_warnings,
    skipped_lines,
    small_view_lines,
)
from equissl.datasets.views.store.format import StoreHeader
from equissl.datasets.views.store.tables import StoreTables


@dataclass(frozen=True)
class BuildReport:
    """Summary of a build.

    Attributes:
        path: the finished store; of a build that was not joined, the folder of its parts.
        num_objects, num_images: in it.
        skipped: (name, reason) of each mesh that could not be used.
        warnings: (name, warning) of each mesh of which something was missing or repaired.
        small_views: views in which the object covers less than ``min_coverage`` of the image.
        notes: of the mesh source, such as files of formats that are not read.
        min_coverage: see :class:`~equissl.datasets.views.build.spec.ViewSpec`.
        seconds: this call took.
        already_complete: whether the file was there before.
        missing: shards that other jobs of an array have yet to render.
        joined: whether the store is there; else another job of the array will join it.
    """

    path: Path
    num_objects: int
    num_images: int
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    small_views: list[SmallViews] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    min_coverage: float = MIN_COVERAGE
    seconds: float = 0.0
    already_complete: bool = False
    missing: int = 0
    joined: bool = True

    @classmethod
    def of(cls, path: Path, tables: StoreTables, header: StoreHeader, min_coverage: float) -> BuildReport:
        """Summarise a store.

        Args:
            path: of the store.
            tables, header: its content.
            min_coverage: share of the image below which a view is near-empty.
        """
        small = find_small_views(tables, header.image_size, min_coverage)
        counts, notes = (len(tables.labels), tables.sizes.size), tuple(header.attributes.get("notes", ()))
        return cls(path, *counts, list(tables.skipped), list(tables.warnings), small, notes, min_coverage)

    def lines(self) -> list[str]:
        """Return what the user should know, one line for each kind of finding; empty where all is well."""
        return [
            *self.notes,
            *skipped_lines(self.skipped),
            *(str(group) for group in group_warnings(self.warnings)),
            *small_view_lines(self.small_views, self.num_images, self.min_coverage),
        ]
