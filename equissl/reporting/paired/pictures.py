"""Strips of retrieval across modalities: an image, and the clouds and captions that are nearest to it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.paired.strips import STRIPS
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.runs import Run

TILE = 96  # pixels
RIGHT, WRONG, PLAIN = (46, 125, 50), (160, 160, 160), (255, 255, 255)  # frames
BACKGROUND = 250


def retrieval_strips(runs: Sequence[Run], store: ViewStore) -> list[Picture]:
    """Draw the examples of the first run that has some: a query image, and the clouds, or images, nearest to it.

    Args:
        runs: of the page.
        store: whose objects the examples are.
    """
    for run in runs:
        file = run.file(STRIPS)
        if file is not None:
            return [_strip(entry, store, run.colour) for entry in json.loads(file.read_text())]
    return []


def _strip(entry: dict, store: ViewStore, colour: str) -> Picture:
    own = entry["object"]
    tiles = [_framed(_view(store, own, entry["view"]), PLAIN)]
    if "clouds" in entry and store.has_clouds:
        tiles += [_framed(draw_cloud(store, n), RIGHT if n == own else WRONG) for n in entry["clouds"]]
    elif "images" in entry:
        tiles += [_framed(_view(store, n, view), RIGHT if n == own else WRONG) for n, view in entry["images"]]
    lines = [store.classes[int(store.labels[own])]]
    lines += [f"nearest caption: “{entry['texts'][0]}”"] if entry.get("texts") else []
    return Picture(data_uri(Image.fromarray(np.concatenate(tiles, axis=1))), " · ".join(lines), colour)


def _view(store: ViewStore, item: int, view: int) -> Image.Image:
    pixels = store.read_images(np.array([item * store.num_views + view]))[0].numpy().transpose(1, 2, 0)
    return Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)


def _framed(picture: Image.Image, colour: tuple[int, int, int], width: int = 3) -> np.ndarray:
    return np.asarray(ImageOps.expand(picture.resize((TILE - 2 * width,) * 2), width, colour))


def draw_cloud(store: ViewStore, item: int) -> Image.Image:
    """Draw the cloud of an object as the camera would see it in its own reference frame.

    Points are drawn far to near, as dots in their colours, along the axis that the camera looks along.

    Args:
        store: with clouds.
        item: object.
    """
    cloud = store.clouds(np.array([item]))
    points, colours = cloud.points[0].numpy(), cloud.colours[0].numpy()
    picture = np.full((TILE, TILE, 3), BACKGROUND, np.uint8)
    reach = np.abs(points).max() or 1.0
    order = np.argsort(points[:, 1])  # the camera stands at +y
    across, up = -points[order, 0], points[order, 2]
    places = ((np.stack([-up, across], axis=1) / reach * 0.45 + 0.5) * (TILE - 2)).astype(int).clip(0, TILE - 2)
    shade = (255 * (0.15 + 0.7 * colours[order])).astype(np.uint8)  # white points stay visible on white
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        picture[places[:, 0] + row, places[:, 1] + column] = shade
    return Image.fromarray(picture)
