"""Providers of scene flow by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from equissl.scene_flow.base import FlowError, FlowProvider
from equissl.util.registry import Registry

PROVIDERS: Registry[Callable[..., FlowProvider]] = Registry(
    "flow provider",
    {
        "file": "equissl.scene_flow.file:FileFlow",
        "ego": "equissl.scene_flow.ego:EgoFlow",
        "icp_cluster": "equissl.scene_flow.icp_cluster:ClusterFlow",
        "nsfp": "equissl.scene_flow.nsfp:NeuralPriorFlow",
        "boxes": "equissl.scene_flow.boxes:BoxFlow",
    },
    group="equissl.flow_providers",
    base=FlowProvider,
    error=FlowError,
)


def get_flow_provider(name: str, **options: Any) -> FlowProvider:
    """Make a provider with its options.

    Args:
        name: one of :data:`PROVIDERS`, or the import path of a class that offers what `FlowProvider` says.
        **options: of the provider.

    Raises:
        FlowError: for an unknown name, with the nearest one.
    """
    return PROVIDERS[name](**options)
