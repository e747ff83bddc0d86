"""Videos of moving digits, and predicted roll-outs beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from equissl.datasets.videos.moving_digits import DigitSource, MovingDigits, MovingSpec
from equissl.evaluation.videos.evaluate import ROLLOUTS
from equissl.reporting.blocks import Picture, data_uri
from equissl.reporting.runs import Run

GAP, MARK = 2, (217, 115, 13)
GREY = (128, 136, 144)  # readable on light and dark pages
LETTERS = 95  # that the figure's width has room for, so that names can be read when a page scales it


def rollout_figure(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], observed: int, scale: int = 4
) -> Image.Image:
    """Draw rows of frames: the true video, then each model's predicted frames, at their times; no background.

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
    picture = Image.new("RGBA", (margin + length * cell, count * (rows * cell + 3 * GAP)))
    draw = ImageDraw.Draw(picture)
    for item in range(count):
        top = item * (rows * cell + 3 * GAP)
        named = [("truth", truth[item], 0)] + [(name, p[item], observed) for name, p in predictions.items()]
        for row, (name, frames, first) in enumerate(named):
            draw.text((GAP, top + row * cell + cell // 2), name, fill=GREY, font=font, anchor="lm")
            for t, frame in enumerate(frames[:, 0], start=first):
                tile = Image.fromarray(frame).resize((side * scale, side * scale), Image.Resampling.NEAREST)
                picture.paste(tile, (margin + t * cell, top + row * cell))
        x = margin + observed * cell - GAP
        draw.line([(x, top), (x, top + rows * cell)], fill=MARK, width=GAP)
    return picture


def rollout_pictures(runs: Sequence[Run]) -> list[Picture]:
    """Draw the roll-outs that evaluation kept, in one picture; of runs that saw the same videos as the first.

    Args:
        runs: of the page; none of them may have kept any.
    """
    kept = {run.name: _read(file) for run in runs if (file := run.file(ROLLOUTS)) is not None}
    if not kept:
        return []
    truth, first = next(iter(kept.values()))
    same = {name: predicted for name, (other, predicted) in kept.items() if np.array_equal(other, truth)}
    picture = rollout_figure(truth, same, truth.shape[1] - first.shape[1])
    return [Picture(data_uri(picture), "", f"predicted frames beside the truth: {', '.join(same)}")]


def sequence_pictures(digits: DigitSource, spec: MovingSpec, count: int = 4) -> list[Picture]:
    """Draw strips of frames of moving digits.

    Args:
        digits: that move.
        spec: of the sequences.
        count: strips.
    """
    dataset = MovingDigits(digits, "val", spec, count)
    batch = dataset.__getitems__([(0, index) for index in range(count)])
    frames = batch.frames.clamp(0, 1).mul(255).round().byte().numpy()
    return [
        Picture(data_uri(_strip(item)), ", ".join(digits.classes[label] for label in labels))
        for item, labels in zip(frames, batch.labels.tolist(), strict=True)
    ]


def _strip(frames: np.ndarray, height: int = 56) -> Image.Image:
    """Put frames (T, 1, S, S) side by side."""
    strip = Image.fromarray(np.concatenate(list(frames[:, 0]), axis=1))
    scale = max(1, height // strip.height)
    return strip.resize((strip.width * scale, strip.height * scale), Image.Resampling.NEAREST)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        return arrays["truth"], arrays["predicted"]
