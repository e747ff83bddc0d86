"""Objectives by name, as configs name them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from equissl.objectives.base import Objective
from equissl.objectives.functional import FunctionObjective, option_names
from equissl.util.registry import Registry, check_options, is_import_path

#: Loss functions of (B, V, D) embeddings, and classes of objectives with state.
OBJECTIVES: Registry[Any] = Registry(
    "objective",
    {
        "align_uniform": "equissl.losses:align_uniform",
        "barlow_twins": "equissl.losses:barlow_twins",
        "byol": "equissl.objectives.regression:BYOL",
        "cacr": "equissl.losses:cacr",
        "clip": "equissl.objectives.clip:CLIP",
        "cmim": "equissl.losses:cmim",
        "cosine_prediction": "equissl.objectives.prediction:PredictedCosine",
        "dcl": "equissl.losses:dcl",
        "dclw": "equissl.losses:dclw",
        "dhel": "equissl.losses:dhel",
        "group_nt_xent": "equissl.losses:group_nt_xent",
        "groco": "equissl.losses:groco",
        "hallucinator": "equissl.objectives.hallucinator:Hallucinator",
        "hard_contrastive": "equissl.losses:hard_contrastive",
        "hard_simple": "equissl.losses:hard_simple",
        "hydra": "equissl.objectives.hydra:Hydra",
        "info_nce": "equissl.losses:info_nce_of_views",
        "inter_clr": "equissl.objectives.inter_clr:InterCLR",
        "mochi": "equissl.objectives.mochi:MoCHi",
        "moco": "equissl.objectives.moco:MoCo",
        "mv_dhel": "equissl.losses:mv_dhel",
        "mv_info_nce": "equissl.losses:mv_info_nce",
        "nt_xent": "equissl.losses:nt_xent",
        "sep_clr": "equissl.objectives.sep_clr:SepCLR",
        "simple": "equissl.losses:simple_contrastive",
        "simsiam": "equissl.objectives.regression:SimSiam",
        "sup_re_mix": "equissl.objectives.sup_re_mix:SupReMix",
        "supcon": "equissl.losses:supcon",
        "swav": "equissl.objectives.swav:SwAV",
        "vicreg": "equissl.losses:vicreg",
        "vicreg_prediction": "equissl.objectives.prediction:PredictedVICReg",
        "vicreg_trajectory": "equissl.objectives.trajectory:TrajectoryVICReg",
        "w_mse": "equissl.losses:w_mse",
        "whitened_cse": "equissl.objectives.whitened_cse:WhitenedCSE",
    },
    group="equissl.objectives",
    base=(Objective, FunctionType),
)


@dataclass(frozen=True)
class ObjectiveConfig:
    """Choice of the invariant objective and its settings.

    Attributes:
        name: one of :data:`OBJECTIVES`, such as ``nt_xent``, ``vicreg``, ``byol`` or ``swav``, or an import path.
        options: its options; those left out keep the defaults of its paper.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, dim: int) -> Objective:
        return create_objective(self.name, dim, **self.options)


def create_objective(name: str, dim: int, **options: Any) -> Objective:
    """Create an objective with fresh state.

    Args:
        name: one of :data:`OBJECTIVES`, or the import path of a loss function or a subclass of `Objective`.
        dim: width D of the embeddings.
        **options: of the objective.

    Raises:
        ValueError: for an unknown name or option (the message holds the nearest one), or an option out of range.
    """
    made = OBJECTIVES[name]
    if isinstance(made, FunctionType):
        check_options(f"objective {name!r}", options, option_names(made))
        return FunctionObjective(made.__name__ if is_import_path(name) else name, made, options)
    known = [option for option in inspect.signature(made).parameters if option != "dim"]
    check_options(f"objective {name!r}", options, known)
    return made(dim, **options)
