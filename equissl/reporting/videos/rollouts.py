"""Predicted roll-outs beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from equissl.evaluation.videos.evaluate import ROLLOUTS

GAP, MARK = 2, (217, 115, 13)
LETTERS = 95  # that the figure's width has room for, so that names can be read when a page scales it


def rollout_figure(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], observed: int, scale: int = 4
) -> Image.Image:
    """Rows of frames: the true sequence, then for each model the frames it predicted, at their times.

    Args:
        truth: (N, T, 1, S, S) uint8.
        predictions: by name of the model, (N, T − observed, 1, S, S) uint8.
        observed: frames that the models were given; a line marks where prediction begins.
        scale: pixels on the figure for each pixel of a frame.

    Raises:
        ValueError: predictions of another shape.
    """
    expected = (truth.shape[0], truth.shape[1] - observed, *truth.shape[2:])
    for name, frames in predictions.items():
        if frames.shape != expected:
            raise ValueError(f"expected predictions {name!r} of shape {expected}, got {frames.shape}")
    count, length, _, _, side = truth.shape
    cell = side * scale + GAP
    rows = 1 + len(predictions)
    font = ImageFont.load_default(max(11, length * cell // LETTERS))
    names = ["truth", *predictions]
    margin = int(max(font.getlength(name) for name in names)) + 4 * GAP
    picture = Image.new("RGB", (margin + length * cell, count * (rows * cell + 3 * GAP)), "white")
    draw = ImageDraw.Draw(picture)
    for item in range(count):
        top = item * (rows * cell + 3 * GAP)
        named = [("truth", truth[item], 0)] + [(name, p[item], observed) for name, p in predictions.items()]
        for row, (name, frames, first) in enumerate(named):
            draw.text((GAP, top + row * cell + cell // 2), name, fill="black", font=font, anchor="lm")
            for t, frame in enumerate(frames[:, 0], start=first):
                tile = Image.fromarray(frame).resize((side * scale, side * scale), Image.Resampling.NEAREST)
                picture.paste(tile, (margin + t * cell, top + row * cell))
        x = margin + observed * cell - GAP
        draw.line([(x, top), (x, top + rows * cell)], fill=MARK, width=GAP)
    return picture


def runs_figure(runs: Mapping[str, Path]) -> Image.Image | None:
    """The roll-outs that evaluation kept of the runs, by name; of those that saw the same sequences as the first.

    None where none was kept.
    """
    loaded = {}
    for name, run in runs.items():
        if (run / ROLLOUTS).is_file():
            with np.load(run / ROLLOUTS) as arrays:
                loaded[name] = (arrays["truth"], arrays["predicted"])
    if not loaded:
        return None
    truth, first = next(iter(loaded.values()))
    same = {name: p for name, (t, p) in loaded.items() if np.array_equal(t, truth)}
    return rollout_figure(truth, same, truth.shape[1] - first.shape[1])
