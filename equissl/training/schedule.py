"""Learning rate, momentum and weight decay as functions of the step alone, so that a resumed run continues exactly."""

from __future__ import annotations

import math

from equissl.runs.config import OptimConfig

# OneCycle as detectors on LiDAR are trained (Smith and Topin 2018; the values are those of OpenPCDet's recipes).
RISE = 0.4  # share of the run in which the rate rises
START = 10.0  # the rate begins at the highest divided by this
END = 1e4  # and ends at that divided by this


def learning_rate(optim: OptimConfig, step: int, last_step: int) -> float:
    """Compute the learning rate of optimiser step ``step`` (from 0) of ``last_step``.

    ``constant``; ``cosine`` falls from ``lr`` to ``end`` on half a cosine; ``one_cycle`` rises on half a cosine from a
    tenth of ``lr`` to ``lr`` over the first 40 % of the steps, and falls on another to ``lr``/10⁵. With warm-up, the
    first two rise linearly from ``start`` over as many steps before; without ``start`` from lr/warmup.

    Args:
        optim: schedule, ``lr`` and warm-up.
        step: number of the step.
        last_step: number of steps of the whole run.

    Raises:
        ValueError: for a negative step, or a last step below 1.
    """
    if step < 0 or last_step < 1:
        raise ValueError(f"expected step >= 0 and last_step >= 1, got {step} and {last_step}")
    if optim.schedule == "one_cycle":
        return _one_cycle(step / last_step, optim.lr / START, optim.lr, optim.lr / START / END)
    if step < optim.warmup:
        return _warming_up(optim, step)
    if optim.schedule == "constant":
        return optim.lr
    done = (step - optim.warmup) / max(last_step - optim.warmup, 1)
    return _half_cosine(optim.lr, optim.end, done)


def first_beta(optim: OptimConfig, step: int, last_step: int) -> float:
    """Compute Adam's first beta, or sgd's momentum: against the learning rate with ``optim.momentum``, else constant.

    Args:
        optim: momentum or betas.
        step: number of the step.
        last_step: number of steps of the whole run.
    """
    if optim.momentum is None:
        return optim.betas[0]
    high, low = optim.momentum
    return _one_cycle(step / last_step, high, low, high)


def weight_decay(optim: OptimConfig, step: int, last_step: int) -> float:
    """Compute the weight decay of a step: constant, or on half a cosine from the first step to the last.

    Args:
        optim: weight decay at both ends.
        step: number of the step.
        last_step: number of steps of the whole run.
    """
    if optim.weight_decay_end is None:
        return optim.weight_decay
    return _half_cosine(optim.weight_decay, optim.weight_decay_end, step / last_step)


def position(optim: OptimConfig, batch: int, accumulate: int, last_step: int, epoch: int) -> tuple[int, int]:
    """Return where the schedule is, and its length: in optimiser steps, or in passes with ``optim.by_epoch``.

    Args:
        optim: schedule.
        batch: batches of the run before the one that ends the step.
        accumulate: batches in a step.
        last_step: number of steps of the whole run.
        epoch: batches in a pass.
    """
    if not optim.by_epoch:
        return batch // accumulate, last_step
    return batch // epoch, -(-last_step * accumulate // epoch)


def _warming_up(optim: OptimConfig, step: int) -> float:
    if optim.start is None:
        return optim.lr * (step + 1) / optim.warmup
    return optim.start + (optim.lr - optim.start) * step / optim.warmup


def _one_cycle(done: float, start: float, middle: float, end: float) -> float:
    if done < RISE:
        return _half_cosine(start, middle, done / RISE)
    return _half_cosine(middle, end, (done - RISE) / (1 - RISE))


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
