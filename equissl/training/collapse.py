"""Warnings about collapse of the representation, and about a predictor that ignores the action.

A predictor that ignores the action is the equivariant twin of collapse: its loss is the same whichever action it gets.
"""

from __future__ import annotations

import logging
import math
from typing import Any

from equissl.methods.base import StepOutput
from equissl.metrics import feature_std, rankme
from equissl.runs.config import CollapseConfig
from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer

logger = logging.getLogger(__name__)
REAL, IGNORED = "equivariance", "equivariance_ignored_action"
SHORTCUT = "collapse/shortcut_share"  # of the loss, see equissl.metrics.shortcut_share; before the first step


class CollapseMonitor(Observer):
    """Monitor of per-dimension standard deviation, RankMe and the action gap; warns once as each crosses its threshold.

    Args:
        config: interval and thresholds.
        log: where the values go.
    """

    def __init__(self, config: CollapseConfig, log: MetricLog) -> None:
        self.config, self.curves = config, log
        self.warned: list[str] = []

    def before_batch(self, loop: Loop, batch: Any) -> None:
        loop.method.track_action_gap = self._due(loop.step + 1)  # it costs a pass of the predictor

    def after_batch(self, loop: Loop, batch: Any) -> None:
        if not (self._due(loop.step) and loop.stepped and loop.first_process and loop.output is not None):
            return
        values = collapse_values(loop.output)
        if loop.step == 1:
            logger.info("%s", describe_start(loop.output, values, len(batch)))
        self.curves.add(values)
        if loop.step >= self.config.warmup:
            self._warn(values, loop.step)

    def _due(self, step: int) -> bool:
        return step == 1 or step % self.config.every == 0

    def _warn(self, values: dict[str, float], step: int) -> None:
        for name, message in crossed(values, self.config).items():
            if name not in self.warned:
                self.warned.append(name)
                logger.warning("step %d: %s", step, message)

    def state_dict(self) -> dict[str, Any]:
        return {"warned": self.warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.warned = list(state["warned"])


def collapse_values(output: StepOutput) -> dict[str, float]:
    """Compute diagnostics of one batch, by their names in the log."""
    features = output.features.detach().float().flatten(0, 1)
    values = {"collapse/feature_std": feature_std(features), "collapse/rankme": rankme(features)}
    if output.action_gap is not None:
        values[f"collapse/{REAL}"] = float(output.action_gap[REAL])
        values[f"collapse/{IGNORED}"] = float(output.action_gap[IGNORED])
    return values


def crossed(values: dict[str, float], config: CollapseConfig) -> dict[str, str]:
    """Return warnings for the values beyond their thresholds.

    Args:
        values: measures of a batch by name.
        config: thresholds.
    """
    warnings = {}
    std, rank = values["collapse/feature_std"], values["collapse/rankme"]
    if std < config.std:
        warnings["std"] = f"features hardly vary: mean standard deviation {std:.2g} < {config.std:g} (collapsed: 0)"
    if rank < config.rankme:
        warnings["rankme"] = f"features span hardly one direction: RankMe {rank:.2f} < {config.rankme:g} (collapsed: 1)"
    real, ignored = values.get(f"collapse/{REAL}"), values.get(f"collapse/{IGNORED}")
    if real is not None and ignored is not None and ignored <= config.action_ratio * real:
        warnings["action"] = (
            f"the predictor ignores the action: loss {ignored:.4g} with a wrong action, {real:.4g} with the right one"
        )
    return warnings


def describe_start(output: StepOutput, values: dict[str, float], batch_size: int) -> str:
    """Describe a run before its first update, beside the values of a collapsed one.

    Args:
        output: of the first step.
        values: measures of its batch by name.
        batch_size: samples in a batch; gives NT-Xent of collapsed features.
    """
    rows, dim = output.features.flatten(0, 1).shape
    candidates = 2 * batch_size - 1  # of each view in NT-Xent
    parts = [
        f"loss {float(output.loss):.4g}",
        f"feature std {values['collapse/feature_std']:.3g} (collapsed: 0)",
        f"RankMe {values['collapse/rankme']:.1f} of at most {min(rows, dim)} (collapsed: 1)",
    ]
    if "nt_xent" in output.terms:
        parts.append(
            f"NT-Xent {float(output.terms['nt_xent']):.3f} (collapsed: log {candidates} = {math.log(candidates):.2f})"
        )
    if f"collapse/{REAL}" in values:
        real, ignored = values[f"collapse/{REAL}"], values[f"collapse/{IGNORED}"]
        parts.append(f"equivariance {real:.4g}, with a wrong action {ignored:.4g} (action ignored: equal)")
    return "random initialisation: " + ", ".join(parts)
