"""Optimiser of a run, and its rates at a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from equissl.methods.base import Method
from equissl.runs.config import OptimConfig
from equissl.training.schedule import first_beta, learning_rate, weight_decay


def create_optimizer(method: Method, optim: OptimConfig) -> torch.optim.Optimizer:
    """Create the optimiser of the parameters that need a gradient.

    Args:
        method: on its device, and sharded where it is going to be.
        optim: which optimiser, with which weight decay.
    """
    groups = _parameter_groups(method, optim)
    if optim.optimizer == "lars":
        from timm.optim import Lars  # seconds of start-up time

        # a group without weight decay keeps its rate: biases and norms, where `decay_vectors` is off
        return Lars(groups, lr=optim.lr, momentum=optim.betas[0], trust_coeff=optim.trust)
    fused = optim.clip is None  # fused, it would remove fp16's loss scale by itself, after the gradients were clipped
    if optim.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.betas[0], fused=fused)
    kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=optim.lr, betas=optim.betas, fused=fused)


def follow_schedule(optimizer: torch.optim.Optimizer, optim: OptimConfig, step: int, last_step: int) -> None:
    """Set rate, momentum and weight decay of the step about to be taken.

    Args:
        optimizer: changed in place.
        optim: with the schedule.
        step: optimiser steps done.
        last_step: optimiser steps of the whole run.
    """
    momentum, decay = first_beta(optim, step, last_step), weight_decay(optim, step, last_step)
    for group in optimizer.param_groups:
        group["lr"] = group["scale"] * learning_rate(optim, step, last_step)
        group["weight_decay"] = decay if group["decays"] else 0.0
        if "betas" in group:
            group["betas"] = (momentum, optim.betas[1])
        else:
            group["momentum"] = momentum


def _parameter_groups(method: Method, optim: OptimConfig) -> list[dict[str, Any]]:
    """Group parameters by whether weight decay ``decays`` them, and by share of the learning rate, ``scale``."""
    groups = dict[tuple[bool, float], list[nn.Parameter]]()
    slow = {id(p) for p in method.encoder.parameters()} if optim.encoder_scale != 1 else set[int]()
    for p in method.parameters():
        if p.requires_grad:
            scale = optim.encoder_scale if id(p) in slow else 1.0
            groups.setdefault((p.ndim > 1 or optim.decay_vectors, scale), []).append(p)
    # weight matrices first, whichever parameter comes first in the method
    return [
        {"params": groups[decays, scale], "decays": decays, "scale": scale,
         "weight_decay": optim.weight_decay if decays else 0.0}
        for decays, scale in sorted(groups, reverse=True)
    ]  # fmt: skip
