"""Online probes: accuracy of class and rotation read by small heads from the representation during training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.datasets.images.sources import UNLABELLED
from equissl.datasets.views.batch import ViewBatch
from equissl.metrics import r2_uniform, rotation_errors_deg
from equissl.runs.config import ProbeConfig
from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer


class OnlineProbes(Observer):
    """Linear classifier and rotation MLP on detached features, with their own Adam, outside the method.

    Scores are taken on each batch before the probes learn from it, over all batches since the last row of the log. The
    training stream is what they see; unseen objects are the business of ``equissl evaluate``. Of several processes only
    the first trains probes, on its part of each batch: no communication, and the method trains alike with and without.

    Args:
        config: widths and learning rate.
        log: where the scores go.
        feature_dim: D of the representation.
        num_classes: classes of the store.
        views: views of each object; the rotation probe needs two.
        seed: of the probes' weights.
    """

    def __init__(
        self, config: ProbeConfig, log: MetricLog, feature_dim: int, num_classes: int, views: int = 2, seed: int = 0
    ) -> None:
        self.config, self.curves = config, log
        with torch.random.fork_rng(devices=[]):  # the method's random numbers are the same without probes
            torch.manual_seed(seed)
            self.heads = nn.ModuleDict({"class": nn.Linear(feature_dim, num_classes)})
            if views > 1:
                self.heads["rotation"] = nn.Sequential(
                    nn.Linear(2 * feature_dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 4)
                )
        self.optimizer: torch.optim.Optimizer | None = None
        self.window: dict[str, list[Tensor]] = {}

    def on_start(self, loop: Loop) -> None:
        self.heads.to(loop.device)
        self.optimizer = torch.optim.Adam(self.heads.parameters(), lr=self.config.lr, fused=True)

    def after_batch(self, loop: Loop, batch: ViewBatch) -> None:
        if not loop.first_process:
            return
        if loop.batch % self.config.every == 0 and loop.output is not None:
            self._learn(loop.output.features.detach().float(), batch)
        if loop.stepped and self.curves.due(loop.step) and self.window:
            self.curves.add(self._scores())
            self.window = {}

    def _learn(self, features: Tensor, batch: ViewBatch) -> None:
        assert self.optimizer is not None
        with torch.enable_grad():
            logits = self.heads["class"](features[:, 0])
            known = batch.labels != UNLABELLED
            loss = F.cross_entropy(logits, batch.labels, ignore_index=UNLABELLED, reduction="sum")
            loss = loss / known.sum().clamp(min=1)
            self._keep("correct", (logits.argmax(1) == batch.labels).float().where(known, torch.nan))
            if "rotation" in self.heads:
                target = batch.relative_quats(0, 1).to(features.dtype)
                preds = self.heads["rotation"](features[:, :2].flatten(1))
                loss = loss + F.mse_loss(preds, target)
                self._keep("preds", preds)
                self._keep("target", target)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        self.optimizer.step()

    def _keep(self, name: str, value: Tensor) -> None:
        self.window.setdefault(name, []).append(value.detach())

    def _scores(self) -> dict[str, float]:
        kept = {name: torch.cat(values) for name, values in self.window.items()}
        scores = {"online/top1": float(kept["correct"].nanmean())}
        if "preds" in kept:
            scores["online/r2_uniform"] = r2_uniform(kept["preds"], kept["target"])
            scores["online/rotation_mean_deg"] = float(rotation_errors_deg(kept["preds"], kept["target"]).mean())
        return scores

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizer.state_dict() if self.optimizer is not None else {}
        return {"heads": self.heads.state_dict(), "optimizer": optimizer, "window": self.window}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.optimizer is not None  # made by `on_start`
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.window = state["window"]
