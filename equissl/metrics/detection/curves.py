"""Precision at chosen recalls from matched scores, and its average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

RECALLS = 41  # 0, 1/40 ... 1


def recall_thresholds(scores: Tensor, count: int, recalls: int = RECALLS) -> Tensor:
    """Scores at which a detector reaches recall 0, 1/40, ... as nearly as its true positives allow, KITTI's way.

    The scores are walked downwards; each is taken for the recall in turn unless the next one's recall is nearer to it.
    With N <= 40 labels every score is taken, so that the later recalls stay without one.

    Args:
        scores: (N,) of the true positives.
        count: labels there are to find.
        recalls: how many, evenly from 0 to 1.

    Returns:
        (at most ``recalls``,) falling scores.
    """
    scores = scores.sort(descending=True).values
    here = torch.arange(1, len(scores) + 1, dtype=torch.float64) / count
    following = torch.cat((here[1:], here[-1:]))
    taken, recall, index = [], 0.0, 0
    while index < len(scores):
        nearer = following[index:] - recall < recall - here[index:]
        nearer[-1] = False
        index += int((~nearer).nonzero()[0])
        taken.append(index)
        recall += 1 / (recalls - 1)
        index += 1
    return scores[torch.tensor(taken, dtype=torch.long)]


def falling(curve: Tensor) -> Tensor:
    """Compute the running maximum from the right: precision at this recall or a higher one."""
    return curve.flip(0).cummax(0).values.flip(0) if len(curve) else curve


def at_recalls(curve: Tensor, recalls: int = RECALLS) -> Tensor:
    """Fill a curve up to every recall: (41,) falling precision, 0 where a recall was never reached.

    Args:
        curve: (T,) precision at the recalls reached.
        recalls: number of recalls.
    """
    return falling(torch.cat((curve, curve.new_zeros(recalls - len(curve)))))


def ap_r40(curve: Tensor) -> float:
    """Average precision in percent over recalls 1/40 to 1 (Simonelli et al., ICCV 2019), of (41,) precisions."""
    return 100 * float(curve[1:].mean())


def ap_r11(curve: Tensor) -> float:
    """Average precision in percent over recalls 0, 0.1, ..., 1 (Everingham et al., IJCV 2010), of (41,) precisions."""
    return 100 * float(curve[::4].mean())


def average_precision(hits: Tensor, counted: Tensor, count: int) -> float:
    """Area under precision over recall in percent, each precision being the best at that recall or a higher one.

    It has no recall grid: a perfect detector scores 100 on a single label too.

    Args:
        hits: (N,) what each prediction, by falling score, adds to the true positives: 1, 0, or a part.
        counted: (N,) bool, predictions that are right or wrong; the others are passed over.
        count: labels there are to find.
    """
    hits = hits[counted].double()
    true = hits.cumsum(0)
    precision = falling(true / torch.arange(1, len(hits) + 1, dtype=torch.float64))
    return 100 * float((precision * hits).sum()) / count


def interpolate(at: Tensor, x: Tensor, y: Tensor, right: float | None = None) -> Tensor:
    """Values at ``at`` of the line through (x, y), as ``numpy.interp``: constant beyond the ends, or ``right`` there.

    Args:
        at: (K,) where.
        x: (N,) rising, N >= 1; of equal entries the last counts.
        y: (N,).
        right: value beyond the last x; by default the last y.
    """
    left = (torch.searchsorted(x, at, right=True) - 1).clamp(min=0)
    following = (left + 1).clamp(max=len(x) - 1)
    step = x[following] - x[left]
    share = ((at - x[left]) / torch.where(step > 0, step, torch.ones_like(step))).clamp(0, 1)
    values = torch.where(share > 0, y[left] + share * (y[following] - y[left]), y[left])
    return values if right is None else torch.where(at > x[-1], torch.full_like(values, right), values)


def mean_of_known(values: Iterable[float]) -> float:
    """Compute the mean of those that are not NaN; NaN without any."""
    return float(torch.tensor(list(values), dtype=torch.float64).nanmean())


def class_means(scores: Mapping[str, float], classes: Sequence[str]) -> dict[str, float]:
    """Average ``CLASS/KIND`` over the classes as ``mean/KIND``, but for counts of labels; NaN is left out.

    Args:
        scores: values by ``CLASS/KIND``.
        classes: their names.
    """
    kinds = [name.partition("/")[2] for name in scores if name.startswith(f"{classes[0]}/")]
    return {
        f"mean/{kind}": mean_of_known(scores[f"{name}/{kind}"] for name in classes)
        for kind in kinds
        if not kind.startswith("labels")
    }
