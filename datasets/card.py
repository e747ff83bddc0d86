"""A data card: what is in a store, how it was made, by whom, and under which licence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from equissl.datasets.store import ViewStore
from equissl.datasets.store_format import TRAIN, VAL

_MEANING = {
    "rotation": "rotation of the object; R = Rz(z) Ry(y) Rx(x), extrinsic x-y-z, column vectors",
    "translation": "position of the object in its own frame",
    "floor": "hue of the floor; saturation 0.6, value 0.6",
    "light_theta": "polar angle of the spot light, from +z",
    "light_phi": "azimuth of the spot light",
    "light_hue": "hue of the spot light; saturation 1, value 0.8",
}


def write_card(store: ViewStore | Path | str, path: Path | str) -> Path:
    """Writes the Markdown card of a store to ``path``."""
    store = store if isinstance(store, ViewStore) else ViewStore(store)
    Path(path).write_text(data_card(store), encoding="utf-8")
    return Path(path)


def data_card(store: ViewStore) -> str:
    """The Markdown text of a store's card."""
    sections = [
        f"# {store.path.name}",
        _contents(store),
        "## Classes\n\n" + _classes(store),
        "## Latents of a view\n\nIndependent and uniform; one seed per (data set, object, view).\n\n" + _latents(store),
        "## How it was made\n\n" + _making(store),
        "## Sources and licences\n\n" + _licences(store),
        "## Meshes left out\n\n" + _skipped(store),
    ]
    return "\n\n".join(sections) + "\n"


def _contents(store: ViewStore) -> str:
    train, val = (int((store.split == split).sum()) for split in (TRAIN, VAL))
    megabytes = store.path.stat().st_size / 1e6
    return (
        f"{store.num_objects} objects of {len(np.unique(store.labels))} classes, {store.num_views} views each: "
        f"{store.num_objects * store.num_views} RGB images of {store.image_size} x {store.image_size} pixels "
        f"({store.encoding}, {megabytes:.1f} MB). Split by object: {train} train, {val} val; "
        "val holds unseen objects under transformations of the same distribution."
    )


def _classes(store: ViewStore) -> str:
    counts = [np.bincount(store.labels[store.split == s], minlength=len(store.classes)) for s in (TRAIN, VAL)]
    rows = [(i, name, counts[0][i], counts[1][i]) for i, name in enumerate(store.classes)]
    return table(("label", "class", "train objects", "val objects"), rows)


def _latents(store: ViewStore) -> str:
    rows = []
    for latent in store.schema.latents:
        meaning = next((text for start, text in _MEANING.items() if latent.name.startswith(start)), "")
        bounds = f"{latent.low:.4g} to {latent.high:.4g}" + (" (circular)" if latent.circular else "")
        if latent.gap:
            middle = (latent.low + latent.high) / 2
            bounds += f", not {middle - latent.gap:.4g} to {middle + latent.gap:.4g}"
        rows.append((latent.name, latent.unit, bounds, meaning))
    return table(("latent", "unit", "range", "meaning"), rows)


def _making(store: ViewStore) -> str:
    attributes, lines = store.attributes, []
    if renderer := attributes.get("renderer"):
        options = ", ".join(f"{k} = {v}" for k, v in sorted(renderer.get("options", {}).items())) or "none"
        lines.append(f"* Renderer: {renderer['name']}, version {renderer['version']}; options: {options}")
    lines += [
        f"* {name}: {attributes[name]}" for name in ("seed", "generator_version", "quality") if name in attributes
    ]
    lines += [f"* {name}: {value}" for name, value in attributes.get("build", {}).items() if name in _BUILD]
    return "\n".join(lines) or "Not recorded."


_BUILD = (
    "meshes",
    "objects",
    "rotation_range",
    "rotation_gap",
    "translation_range",
    "val_fraction",
    "val_source",
    "classes",
    "listing_sha256",
)


def _licences(store: ViewStore) -> str:
    tables = store.tables
    groups: dict[tuple[str, str], Counter[str]] = {}
    for source, licence, creator in zip(tables.sources, tables.licences, tables.creators, strict=True):
        groups.setdefault((source, licence), Counter())[creator or "not recorded"] += 1
    rows = [
        (source or "not recorded", licence or "not recorded", sum(creators.values()), _creators(creators))
        for (source, licence), creators in sorted(groups.items())
    ]
    return table(("source", "licence", "objects", "creators (objects)"), rows)


def _creators(creators: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(creators.items()))


def _skipped(store: ViewStore) -> str:
    if not store.tables.skipped:
        return "None."
    return table(("mesh", "reason"), list(store.tables.skipped))


def table(header: tuple[str, ...], rows: list[tuple]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
