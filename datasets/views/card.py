"""Data card of a store: its content, origin, authors and licences.

Two files say the same: Markdown for people, and JSON in the words of schema.org (``Dataset``, ``variableMeasured``),
which dataset indexes and Croissant build on, with what those have no word for beside them.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from equissl.datasets.splits import TRAIN, VAL
from equissl.datasets.views.card_text import card_text
from equissl.datasets.views.findings import MIN_COVERAGE, find_small_views, group_warnings
from equissl.datasets.views.store.store import ViewStore
from equissl.util.files import write_json, write_text
from equissl.util.machine import describe_machine

_MEANING = {
    "rotation": "rotation of the object; R = Rz(z) Ry(y) Rx(x), extrinsic x-y-z, column vectors",
    "translation": "position of the object along its own axes: its centre is at R t",
    "floor": "hue of the floor; saturation 0.6, value 0.6",
    "light_theta": "polar angle of the spot light, from +z",
    "light_phi": "azimuth of the spot light",
    "light_hue": "hue of the spot light; saturation 1, value 0.8",
}
_BUILD = (
    "meshes",
    "objects",
    "objects_found",
    "rotation_range",
    "rotation_gap",
    "translation_range",
    "val_fraction",
    "val_source",
    "classes",
    "up",
    "bias",
    "points",
    "listing_sha256",
)


def write_card(
    store: ViewStore | Path | str,
    path: Path | str,
    seconds: float | None = None,
    min_coverage: float = MIN_COVERAGE,
) -> Path:
    """Write the card of a store to ``path`` (Markdown) and to the same name with ``.json``.

    Args:
        store: what to describe. A picture of the same name (``.png``) beside the card is shown in it.
        path: the ``.md`` file.
        seconds: wall-clock time of the call that ended the build, on this machine. A store has the same bytes wherever
            and however it is built, so time and machine stand in the card alone; without ``seconds``, those of an
            earlier card stay.
        min_coverage: views in which the object covers a smaller share of the image's pixels are listed.

    Returns:
        ``path``.
    """
    store, path = store if isinstance(store, ViewStore) else ViewStore(store), Path(path)
    record = path.with_suffix(".json")
    timing = _earlier_timing(record) if seconds is None else describe_timing(seconds)
    card = data_card(store, timing, min_coverage)
    gallery = path.with_suffix(".png")
    write_json(record, card)
    return write_text(path, card_text(card, gallery.name if gallery.exists() else None))


def describe_timing(seconds: float) -> dict:
    """Time that rendering took, and this machine."""
    return {"seconds": round(seconds, 1), **describe_machine()}


def _earlier_timing(record: Path) -> dict | None:
    try:
        return json.loads(record.read_text(encoding="utf-8")).get("timing")
    except (OSError, ValueError, AttributeError):
        return None


def data_card(store: ViewStore, timing: dict | None = None, min_coverage: float = MIN_COVERAGE) -> dict:
    """Return the machine-readable card of a store, as plain JSON values.

    Args:
        store: what to describe.
        timing: see :func:`describe_timing`; None where it is not known.
        min_coverage: see :func:`write_card`.
    """
    sources, tables = _sources(store), store.tables
    return {
        "@context": {"@vocab": "https://schema.org/"},
        "@type": "Dataset",
        "name": store.path.name,
        "description": "Rendered views of 3D objects with the latents that generated each of them. Split by object: "
        "val holds unseen objects under transformations of the same distribution.",
        "license": sorted({row["licence"] for row in sources}),
        "distribution": [
            {
                "@type": "DataDownload",
                "name": store.path.name,
                "encodingFormat": "application/x-hdf5",
                "contentSize": f"{int(store.tables.sizes.sum())} B of images",
            }
        ],
        "counts": _counts(store),
        "classes": _classes(store),
        "variableMeasured": _latents(store),
        "making": _making(store),
        "timing": timing,
        "sources": sources,
        "skipped": [{"mesh": mesh, "reason": reason} for mesh, reason in tables.skipped],
        "notes": list(store.attributes.get("notes", ())),
        "warning_counts": [asdict(group) for group in group_warnings(tables.warnings)],
        "warnings": [{"mesh": mesh, "warning": warning} for mesh, warning in tables.warnings],
        "coverage": _coverage(store, min_coverage),
    }


def _coverage(store: ViewStore, min_coverage: float) -> dict | None:
    """Share of the image that the objects cover, and the views below ``min_coverage``; None where it is not known."""
    pixels = store.tables.object_pixels
    if not (counted := pixels[pixels >= 0]).size:
        return None
    small = find_small_views(store.tables, store.image_size, min_coverage)
    return {
        "views_counted": counted.size,
        "median": round(float(np.median(counted)) / store.image_size**2, 6),
        "min_coverage": min_coverage,
        "small_views": sum(len(each.views) for each in small),
        "small": [{"mesh": each.name, "views": [*each.views], "pixels": [*each.pixels]} for each in small],
    }


def _counts(store: ViewStore) -> dict:
    train, val = (int((store.split == split).sum()) for split in (TRAIN, VAL))
    return {
        "objects": store.num_objects,
        "classes": len(np.unique(store.labels)),
        "views_per_object": store.num_views,
        "images": store.num_objects * store.num_views,
        "image_size": store.image_size,
        "encoding": store.encoding,
        "image_bytes": int(store.tables.sizes.sum()),
        "train_objects": train,
        "val_objects": val,
        "skipped_meshes": len(store.tables.skipped),
        **({"points_per_object": store.num_points} if store.has_clouds else {}),
    }


def _classes(store: ViewStore) -> list[dict]:
    train, val = (np.bincount(store.labels[store.split == s], minlength=len(store.classes)) for s in (TRAIN, VAL))
    return [
        {"label": i, "name": name, "train_objects": int(train[i]), "val_objects": int(val[i])}
        for i, name in enumerate(store.classes)
    ]


def _latents(store: ViewStore) -> list[dict]:
    """Describe the ranges of the latents: independent and uniform, one seed per (data set, object, view)."""
    rows = []
    for latent in store.schema.latents:
        meaning = next((text for start, text in _MEANING.items() if latent.name.startswith(start)), "")
        row = {
            "@type": "PropertyValue",
            "name": latent.name,
            "unitText": latent.unit,
            "minValue": latent.low,
            "maxValue": latent.high,
            "circular": latent.circular,
            "description": meaning,
        }
        if latent.gap:
            middle = (latent.low + latent.high) / 2
            row["never"] = [middle - latent.gap, middle + latent.gap]
        rows.append(row)
    return rows


def _making(store: ViewStore) -> dict:
    attributes = store.attributes
    known = ("renderer", "seed", "generator_version", "quality")
    build = attributes.get("build", {})
    making = {name: attributes[name] for name in known if name in attributes}
    return making | {name: build[name] for name in _BUILD if name in build}


def _sources(store: ViewStore) -> list[dict]:
    tables = store.tables
    groups: dict[tuple[str, str], Counter[str]] = {}
    for source, licence, creator in zip(tables.sources, tables.licences, tables.creators, strict=True):
        groups.setdefault((source, licence), Counter())[creator or "not recorded"] += 1
    return [
        {
            "source": source or "not recorded",
            "licence": licence or "not recorded",
            "objects": sum(creators.values()),
            "creators": dict(sorted(creators.items())),
        }
        for (source, licence), creators in sorted(groups.items())
    ]
