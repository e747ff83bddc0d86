"""Results of runs on flowing digits as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Results = dict[str, Any]


def of_videos(results: Sequence[Results]) -> bool:
    """Whether all of these are results of runs on flowing digits."""
    return bool(results) and all(result.get("data") == "flows" for result in results)


def video_rows(results: Sequence[Results]) -> list[list[str]]:
    """Heading and one row per run: the numbers that matter, for a table."""
    columns = {
        "run": "run", "model": "label", "parameters": "parameters", "steps": "steps", "next MSE": "prediction/next_mse",
        "copy MSE": "prediction/copy_mse", "roll-out MSE": "rollout/mse", "beyond": "rollout/mse_beyond",
        "last/trained": "rollout/last_over_trained", "seen v": "velocity/mse_seen", "unseen v": "velocity/mse_unseen",
        "state error": "equivariance/states", "top-1": "classification/top1", "top-1 seen v": "velocity/top1_seen",
        "top-1 unseen v": "velocity/top1_unseen",
    }  # fmt: skip
    kept = {heading: key for heading, key in columns.items() if any(key in r for r in results)}
    return [list(kept), *[[_text(r.get(key)) for key in kept.values()] for r in results]]


def format_video_table(results: Sequence[Results]) -> str:
    """The rows as plain text."""
    rows = video_rows(results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
