"""Providers by name."""

from __future__ import annotations

import difflib
from typing import Any

from equissl.scene_flow.base import FlowError, FlowProvider
from equissl.scene_flow.boxes import BoxFlow
from equissl.scene_flow.ego import EgoFlow
from equissl.scene_flow.file import FileFlow
from equissl.scene_flow.icp_cluster import ClusterFlow
from equissl.scene_flow.nsfp import NeuralPriorFlow

PROVIDERS: dict[str, type] = {
    provider.name: provider for provider in (FileFlow, EgoFlow, ClusterFlow, NeuralPriorFlow, BoxFlow)
}


def get_flow_provider(name: str, **options: Any) -> FlowProvider:
    """A provider with its options.

    Raises:
        FlowError: for an unknown name, with the nearest one.
    """
    if name not in PROVIDERS:
        close = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise FlowError(f"unknown flow provider {name!r}{hint}; expected one of {', '.join(PROVIDERS)}")
    return PROVIDERS[name](**options)
