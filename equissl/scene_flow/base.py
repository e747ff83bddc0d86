"""Interface of scene flow providers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from equissl.datasets.drives.sweep import Sweep, ego_motion


class FlowError(ValueError):
    """A pair of sweeps, or a setting, that a provider cannot work with."""


@dataclass(frozen=True)
class FlowEstimate:
    """Scene flow of every point of a sweep to the next one.

    Attributes:
        flow: (N, 3) float32 metres.
        valid: (N,) bool: where ``flow`` may be used; elsewhere it is finite but says nothing.
    """

    flow: np.ndarray
    valid: np.ndarray


class FlowProvider(Protocol):
    """Provider of scene flow from the points of one sweep to the next."""

    name: str

    def estimate(self, sweep: Sweep, following: Sweep) -> FlowEstimate:
        """Estimate the flow of the points of ``sweep`` to the time and reference frame of ``following``.

        Args:
            sweep: with P points.
            following: the next sweep of the drive.
        """
        ...


def add_flow(sweep: Sweep, following: Sweep, provider: FlowProvider) -> Sweep:
    """Copy ``sweep`` with the provider's flow to ``following``, and its name.

    Args:
        sweep: with P points.
        following: the next sweep of the drive.
        provider: provider of the flow.
    """
    found = provider.estimate(sweep, following)
    return replace(sweep, flow=found.flow, flow_valid=found.valid, flow_provider=provider.name)


def seconds_between(sweep: Sweep, following: Sweep) -> float:
    """Compute the time from one sweep to the next, in seconds.

    Args:
        sweep: the earlier one.
        following: the later one.

    Raises:
        FlowError: when the second is not later.
    """
    seconds = (following.timestamp - sweep.timestamp) / 1e9
    if seconds <= 0:
        got = f"{sweep.timestamp} and {following.timestamp} ns"
        raise FlowError(f"expected the following sweep to be later, got timestamps {got}")
    return seconds


def motion_between(sweep: Sweep, following: Sweep, provider: str) -> np.ndarray:
    """Compute the motion (4, 4) from the reference frame of ``sweep`` to that of ``following``.

    Args:
        sweep: the earlier one.
        following: the later one.
        provider: name, for the message.

    Raises:
        FlowError: when a pose is missing or not finite.
    """
    if sweep.pose is None or following.pose is None:
        lacking = " and ".join(s.frame or str(s.timestamp) for s in (sweep, following) if s.pose is None)
        raise FlowError(
            f"flow provider {provider!r} expected a pose of both sweeps, frame {lacking} has none "
            "(`equissl ingest ... --odometry icp` estimates poses)"
        )
    motion = ego_motion(sweep.pose, following.pose)
    if not np.isfinite(motion).all():
        raise FlowError(f"flow provider {provider!r} expected finite poses, got {sweep.pose} and {following.pose}")
    return motion
