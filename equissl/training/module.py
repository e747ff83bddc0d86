"""A method as Lightning trains it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.sweeps.labelled_sweeps import SweepBatch
from equissl.datasets.views.batch import ViewBatch
from equissl.methods.base import Method, StepOutput
from equissl.runs.config import OptimConfig
from equissl.training.schedule import first_beta, learning_rate

Batch = ViewBatch | ScenePair | SweepBatch


class PretrainModule(pl.LightningModule):
    """One method with its optimiser. Callbacks read :attr:`output`, the result of the batch just trained on.

    Args:
        method: what to train; it is trained in place.
        optim: optimiser and schedule.
        accumulate: batches in one optimiser step.
        last_step: optimiser steps of the whole run, for schedules.
    """

    def __init__(self, method: Method, optim: OptimConfig, accumulate: int = 1, last_step: int = 1) -> None:
        super().__init__()
        self.method, self.optim, self.accumulate, self.last_step = method, optim, accumulate, last_step
        self.output: StepOutput | None = None
        self.first_step = 0  # optimiser steps done before this process started

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output = self.method.step(batch)
        self.output = replace(output, loss=output.loss.detach())  # holding the loss itself would hold its graph
        return output.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.optim.optimizer == "adamw" else torch.optim.Adam
        # fused, it would remove fp16's loss scale by itself, after the gradients were clipped
        fused = self.optim.clip is None
        return kind(self._parameter_groups(), lr=self.optim.lr, betas=self.optim.betas, fused=fused)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters by weight decay and by share of the learning rate, ``scale``."""
        optim, groups = self.optim, dict[tuple[float, float], list[nn.Parameter]]()
        slow = {id(p) for p in self.method.encoder.parameters()} if optim.encoder_scale != 1 else set[int]()
        for p in self.method.parameters():
            if p.requires_grad:
                decay = optim.weight_decay if p.ndim > 1 or optim.decay_vectors else 0.0
                groups.setdefault((decay, optim.encoder_scale if id(p) in slow else 1.0), []).append(p)
        # weight matrices first, whichever parameter comes first in the method
        order = sorted(groups, reverse=True)
        return [{"params": groups[key], "weight_decay": key[0], "scale": key[1]} for key in order]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        step = self.trainer.global_step
        self._follow_schedule(step)
        super().optimizer_step(*args, **kwargs)
        self.method.after_step(step, self.last_step)  # here, since callbacks that save run before the module's hooks

    def _follow_schedule(self, step: int) -> None:
        """Sets rate and momentum of the step about to be taken, rather than changing them after the one before."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        for group in optimizer.param_groups:
            scale = group.get("scale", 1.0)  # checkpoints of old have none
            group["lr"] = scale * learning_rate(self.optim, step, self.last_step)
            group["betas"] = (first_beta(self.optim, step, self.last_step), self.optim.betas[1])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch if device.type == "cpu" else batch.to(device, non_blocking=True)

    def stepped(self, batch_idx: int) -> bool:
        """Whether the optimiser moved after this batch (and not only gradients were accumulated)."""
        return (batch_idx + 1) % self.accumulate == 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = {
            key.replace("_orig_mod.", ""): value for key, value in checkpoint["state_dict"].items()
        }
