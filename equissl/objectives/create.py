"""Objectives by name, as configs name them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from equissl import losses
from equissl.objectives.base import Objective
from equissl.objectives.clip import CLIP
from equissl.objectives.functional import FunctionObjective, option_names
from equissl.objectives.inter_clr import InterCLR
from equissl.objectives.mochi import MoCHi
from equissl.objectives.moco import MoCo
from equissl.objectives.prediction import PredictedCosine, PredictedVICReg
from equissl.objectives.regression import BYOL, SimSiam
from equissl.objectives.sep_clr import SepCLR
from equissl.objectives.sup_re_mix import SupReMix
from equissl.objectives.swav import SwAV
from equissl.objectives.trajectory import TrajectoryVICReg
from equissl.objectives.whitened_cse import WhitenedCSE

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "align_uniform": losses.align_uniform,
    "barlow_twins": losses.barlow_twins,
    "cacr": losses.cacr,
    "cmim": losses.cmim,
    "dcl": losses.dcl,
    "dclw": losses.dclw,
    "dhel": losses.dhel,
    "groco": losses.groco,
    "hard_contrastive": losses.hard_contrastive,
    "hard_simple": losses.hard_simple,
    "info_nce": losses.info_nce_of_views,
    "mv_dhel": losses.mv_dhel,
    "mv_info_nce": losses.mv_info_nce,
    "nt_xent": losses.nt_xent,
    "simple": losses.simple_contrastive,
    "supcon": losses.supcon,
    "vicreg": losses.vicreg,
    "w_mse": losses.w_mse,
}
CLASSES: dict[str, Callable[..., Objective]] = {
    "byol": BYOL,
    "cosine_prediction": PredictedCosine,
    "clip": CLIP,
    "inter_clr": InterCLR,
    "mochi": MoCHi,
    "moco": MoCo,
    "sep_clr": SepCLR,
    "simsiam": SimSiam,
    "sup_re_mix": SupReMix,
    "swav": SwAV,
    "vicreg_prediction": PredictedVICReg,
    "vicreg_trajectory": TrajectoryVICReg,
    "whitened_cse": WhitenedCSE,
}
OBJECTIVES = sorted(FUNCTIONS.keys() | CLASSES.keys())


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which invariant objective.

    Attributes:
        name: one of :data:`OBJECTIVES`, such as ``nt_xent``, ``vicreg``, ``byol`` or ``swav``.
        options: its options; those left out keep the defaults of its paper.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, dim: int) -> Objective:
        return create_objective(self.name, dim, **self.options)


def create_objective(name: str, dim: int, **options: Any) -> Objective:
    """An objective with fresh state.

    Args:
        name: one of :data:`OBJECTIVES`.
        dim: width D of the embeddings.
        **options: of the objective.

    Raises:
        ValueError: for an unknown name or option (the message holds the nearest one), or an option out of range.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {name!r}; {_nearest(name, OBJECTIVES)}")
    allowed = _options(name)
    for option in options:
        if option not in allowed:
            raise ValueError(f"objective {name!r} has no option {option!r}; {_nearest(option, allowed)}")
    if name in FUNCTIONS:
        return FunctionObjective(name, FUNCTIONS[name], options)
    return CLASSES[name](dim, **options)


def _options(name: str) -> list[str]:
    if name in FUNCTIONS:
        return option_names(FUNCTIONS[name])
    return [option for option in inspect.signature(CLASSES[name]).parameters if option != "dim"]


def _nearest(name: str, known: list[str]) -> str:
    if not known:
        return "it has none"
    return f"did you mean {difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]!r}? Expected one of {known}"
