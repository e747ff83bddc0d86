"""Benchmark of every objective's forward and backward pass, beside lightly's where it has one: seconds and memory."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from equissl import losses
from equissl.bench.lightly_losses import INSTALL_LIGHTLY, has_lightly, lightly_rival
from equissl.bench.memory import peak_bytes
from equissl.bench.record import Measured
from equissl.objectives.base import Embedded
from equissl.objectives.create import OBJECTIVES, create_objective

MEBI = 2**20

# Objectives whose loss is timed alone: without the predictor, the teacher or the prototypes' product, as in lightly.
ALONE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "byol": lambda z, _: losses.byol(z, z.detach()),
    "moco": lambda z, queue: losses.moco(z[:, 0], z[:, 1], queue),
    "simsiam": lambda z, _: losses.simsiam(z, z.detach()),
    "swav": lambda z, _: losses.swav(z),
}
# Options without a default: the size of the data set, the number of classes, and those that are background.
OPTIONS: dict[str, dict[str, Any]] = {
    "hydra": {"classes": 10},
    "inter_clr": {"samples": 65536},
    "sep_clr": {"background": (0, 1, 2, 3, 4)},
}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossTiming:
    """One line of the benchmark; lightly's numbers are None where it was not measured.

    Attributes:
        seconds: median of a forward and backward pass.
        mebibytes: most memory of tensors at a time, beyond the embeddings.
    """

    name: str
    batch: int
    views: int
    seconds: float
    mebibytes: float
    lightly_seconds: float | None = None
    lightly_mebibytes: float | None = None

    @property
    def ratio(self) -> float | None:
        """Speed relative to lightly's; above 1 where ours is faster."""
        return None if self.lightly_seconds is None else self.lightly_seconds / self.seconds

    def __str__(self) -> str:
        line = f"{self.name:<20} B={self.batch:<5} V={self.views:<2} {self.seconds:9.5f} s {self.mebibytes:9.1f} MiB"
        if self.ratio is None:
            return line
        theirs = f"lightly {self.lightly_seconds:9.5f} s {self.lightly_mebibytes:9.1f} MiB"
        return f"{line}   {theirs}   ratio {self.ratio:.2f}"


def bench_losses(
    names: str = "all",
    batch: str = "256,1024,4096",
    views: str = "2,4,8",
    dim: int = 128,
    seconds: float = 1.0,
    budget: float | None = None,
    lightly: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
    prototypes: int = 3000,
    queue: int = 16384,
) -> dict[str, float | str]:
    """Measure every objective on random float32 embeddings (B, V, D), with gradient.

    Ours and lightly's take turns in one run, so that other load on the machine favours neither; lightly gets its views
    as tensors of their own, as it wants them. Memory is measured in a run of its own. BYOL, SimSiam, SwAV and MoCo are
    the losses alone, without predictors, products with prototypes and teachers; all other objectives as they train.

    Args:
        names: objectives, separated by commas.
        batch: values of B, separated by commas.
        views: values of V, separated by commas.
        dim: D.
        seconds: how long to repeat one line. A pass that takes longer is run once, and that run counts.
        budget: seconds after which the remaining lines are left out.
        lightly: compare with it. By default where it is installed; true: an error where it is not.
        device: such as ``cuda``; by default it where there is one.
        threads: of the CPU; by default as many as torch chooses.
        prototypes: K of SwAV, whose scores are (B, V, K).
        queue: negatives of MoCo.

    Returns:
        ``lines`` measured and ``left_out``; ``compared`` with lightly, and of them the ``lowest_ratio`` (lightly's time
        over ours) and the number ``slower``; ``timings``, the numbers of all lines for a record.

    Raises:
        ValueError: for an unknown objective, numbers that are none, or lightly missing where it was asked for.
    """
    if lightly and not has_lightly():
        raise ValueError(INSTALL_LIGHTLY)
    if lightly is None and not has_lightly():
        logger.info(INSTALL_LIGHTLY)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    bench = _Bench(dim, prototypes, queue, seconds, has_lightly() if lightly is None else lightly, where)
    cells = [(name, b, v) for name in _names(names) for b in _numbers("batch", batch) for v in _numbers("views", views)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    logger.info(f"{where}, {torch.get_num_threads()} threads, D={dim}, K={prototypes} (swav), M={queue} (moco)")
    try:
        return _summary(_run(bench, cells, budget), len(cells))
    finally:
        torch.set_num_threads(before)


def _numbers(what: str, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise ValueError(f"expected {what} as positive numbers separated by commas, got {text!r}")
    return [int(word) for word in words]


def _names(text: str) -> list[str]:
    known = sorted({*OBJECTIVES, *ALONE})
    names = known if text == "all" else text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown objectives {', '.join(unknown)}; expected some of {', '.join(known)}")
    return names


def _run(bench: _Bench, cells: list[tuple[str, int, int]], budget: float | None) -> list[LossTiming]:
    start, rows = time.perf_counter(), []
    for name, batch, views in cells:
        if budget is not None and time.perf_counter() - start > budget:
            logger.info(f"{name:<20} B={batch:<5} V={views:<2} left out: the budget of {budget:g} s is spent")
            continue
        try:
            rows.append(bench.measure(name, batch, views))
            logger.info(str(rows[-1]))
        except (ValueError, torch.OutOfMemoryError) as error:  # such as too few samples to whiten
            logger.info(f"{name:<20} B={batch:<5} V={views:<2} left out: {str(error).partition(chr(10))[0]}")
    return rows


def _summary(rows: list[LossTiming], cells: int) -> dict[str, float | str]:
    ratios = [row.ratio for row in rows if row.ratio is not None]
    result: dict[str, float | str] = {"lines": len(rows), "left_out": cells - len(rows), "compared": len(ratios)}
    if ratios:
        result |= {"lowest_ratio": min(ratios), "slower": sum(ratio < 1 for ratio in ratios)}
    timings = [{**asdict(row), "ratio": row.ratio} for row in rows]
    return result | {"timings": Measured("as above", timings)}


@dataclass(frozen=True)
class _Bench:
    dim: int
    prototypes: int
    queue: int
    seconds: float
    lightly: bool
    device: torch.device

    def measure(self, name: str, batch: int, views: int) -> LossTiming:
        width = self.prototypes if name == "swav" else self.dim
        z = torch.randn(batch, views, width, generator=torch.Generator().manual_seed(0)).to(self.device)
        z = z.tanh() if name == "swav" else z  # scores are cosines
        joint, parts = z.clone().requires_grad_(), [view.clone().requires_grad_() for view in z.unbind(1)]
        ours = self.ours(name, z)
        passes = [_pass(lambda: ours(joint), [joint])]
        rival = lightly_rival(name, batch, views, width, self.queue) if self.lightly else None
        if rival is not None:
            passes.append(_pass(lambda: rival(parts), parts))
        times = self.take_turns(passes)
        peaks = [peak_bytes(one, self.device) / MEBI for one in passes]
        if rival is None:
            return LossTiming(name, batch, views, times[0], peaks[0])
        return LossTiming(name, batch, views, times[0], peaks[0], times[1], peaks[1])

    def ours(self, name: str, z: Tensor) -> Callable[[Tensor], Tensor]:
        if name in ALONE:
            negatives = losses.unit_norm(torch.randn(self.queue, self.dim)).to(z) if name == "moco" else z
            return lambda embeddings: ALONE[name](embeddings, negatives)
        objective = create_objective(name, self.dim, **OPTIONS.get(name, {})).to(z.device).train()
        if objective.most_views is not None and z.shape[1] > objective.most_views:
            raise ValueError(f"it takes at most {objective.most_views} views")
        known = _inputs(z)
        if objective.needs - known.keys():
            raise ValueError(f"the benchmark has no {', '.join(sorted(objective.needs - known.keys()))} to give it")
        extra: dict[str, Any] = {need: known[need] for need in objective.needs}
        return lambda embeddings: objective(Embedded(embeddings, **extra))[0]

    def take_turns(self, passes: Sequence[Callable[[], None]]) -> list[float]:
        """Measure median seconds of each; the first run warms up, and counts only if there is no time for more."""
        first = [self.time(one) for one in passes]
        if sum(first) > self.seconds:
            return first
        times: list[list[float]] = [[] for _ in passes]
        start = time.perf_counter()
        while not times[0] or time.perf_counter() - start < self.seconds:
            for one, taken in zip(passes, times, strict=True):
                taken.append(self.time(one))
        return [statistics.median(taken) for taken in times]

    def time(self, one: Callable[[], None]) -> float:
        self.wait()
        start = time.perf_counter()
        one()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _inputs(z: Tensor) -> dict[str, Tensor]:
    """Create all inputs that an objective may ask for beside the embeddings."""
    batch, views, _ = z.shape
    return {
        "teacher": z.clone(),
        "labels": torch.arange(batch, device=z.device) % 10,
        "samples": torch.arange(batch, device=z.device),
        "group_ids": torch.arange(batch, device=z.device) % 4,
        "rotations": torch.linalg.qr(torch.randn(batch, views, 3, 3)).Q.to(z.device),
        "hues": torch.rand(batch, views, 2).to(z.device),
        "source": z[:, 0].clone(),
    }


def _pass(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Callable[[], None]:
    def one() -> None:
        loss().backward()
        for leaf in leaves:
            leaf.grad = None

    return one
