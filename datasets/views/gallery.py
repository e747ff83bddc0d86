"""Contact sheet of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from equissl.datasets.views.pose_axes import draw_axes
from equissl.datasets.views.schema import ROTATION
from equissl.datasets.views.store.store import ViewStore

_GAP, _INK, _PAPER = 2, (40, 40, 40), (255, 255, 255)


def write_gallery(
    store: ViewStore | Path | str,
    path: Path | str,
    objects: int = 12,
    views: int = 8,
    cell: int | None = None,
    axes: int | None = None,
) -> Path:
    """Write a PNG with one object a row and one view a column; the class stands at the left.

    Args:
        store: what to show.
        path: the PNG.
        objects: at most so many rows: the classes in turn, so that as many as possible are seen.
        views: at most so many columns.
        cell: side of a view in pixels; default the stored size, at most 128.
        axes: columns at the right on which the object's axes are drawn; default a quarter of them, none where the store
            has no rotations.

    Returns:
        ``path``.
    """
    store = store if isinstance(store, ViewStore) else ViewStore(store)
    rows = choose_objects(store.labels, objects)
    columns, cell = min(views, store.num_views), cell or min(store.image_size, 128)
    posed = set(ROTATION) <= set(store.schema.names)
    axes = (columns // 4 if axes is None else min(axes, columns)) if posed else 0
    font = ImageFont.load_default(size=max(10, min(16, cell // 5)))
    names = [store.classes[label] for label in store.labels[rows]]
    margin = int(max(font.getlength(name) for name in names)) + 12
    step = cell + _GAP
    sheet = Image.new("RGB", (margin + columns * step, len(rows) * step + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (index, name) in enumerate(zip(rows, names, strict=True)):
        top = _GAP + row * step
        draw.text((margin - 8, top + cell / 2), name, fill=_INK, font=font, anchor="rm")
        pictures = store.read_images(index * store.num_views + np.arange(columns)).permute(0, 2, 3, 1).numpy()
        for column, picture in enumerate(pictures):
            tile = _resized(Image.fromarray(picture), cell)
            if column >= columns - axes:
                tile = draw_axes(tile, store.latents[index, column], store.schema.names)
            sheet.paste(tile, (margin + column * step, top))
    sheet.save(path, format="PNG")
    return Path(path)


def choose_objects(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose objects from the classes in turn, sorted by class: (n,) indices.

    Args:
        labels: (N,) classes.
        count: objects at most.
    """
    turn = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    chosen = np.lexsort([labels, turn])[:count]
    return chosen[np.lexsort([chosen, labels[chosen]])]


def _resized(image: Image.Image, cell: int) -> Image.Image:
    if image.width == cell:
        return image
    return image.resize((cell, cell), Image.Resampling.NEAREST if image.width < cell else Image.Resampling.LANCZOS)
