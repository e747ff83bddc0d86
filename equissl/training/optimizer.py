"""Optimiser of a run, and its rates at a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from equissl.methods.base import Method
from equissl.runs.config import OptimConfig
from equissl.training.schedule import first_beta, learning_rate


def create_optimizer(method: Method, optim: OptimConfig) -> torch.optim.Optimizer:
    """Create Adam or AdamW over the parameters that need a gradient.

    Args:
        method: on its device, and sharded where it is going to be.
        optim: which optimiser, with which weight decay.
    """
    kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.Adam
    # fused, it would remove fp16's loss scale by itself, after the gradients were clipped
    return kind(_parameter_groups(method, optim), lr=optim.lr, betas=optim.betas, fused=optim.clip is None)


def follow_schedule(optimizer: torch.optim.Optimizer, optim: OptimConfig, step: int, last_step: int) -> None:
    """Set rate and momentum of the step about to be taken.

    Args:
        optimizer: changed in place.
        optim: with the schedule.
        step: optimiser steps done.
        last_step: optimiser steps of the whole run.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["scale"] * learning_rate(optim, step, last_step)
        group["betas"] = (first_beta(optim, step, last_step), optim.betas[1])


def _parameter_groups(method: Method, optim: OptimConfig) -> list[dict[str, Any]]:
    """Group parameters by weight decay and by share of the learning rate, ``scale``."""
    groups = dict[tuple[float, float], list[nn.Parameter]]()
    slow = {id(p) for p in method.encoder.parameters()} if optim.encoder_scale != 1 else set[int]()
    for p in method.parameters():
        if p.requires_grad:
            decay = optim.weight_decay if p.ndim > 1 or optim.decay_vectors else 0.0
            groups.setdefault((decay, optim.encoder_scale if id(p) in slow else 1.0), []).append(p)
    # weight matrices first, whichever parameter comes first in the method
    return [{"params": groups[key], "weight_decay": key[0], "scale": key[1]} for key in sorted(groups, reverse=True)]
