"""Phases of a step: updates of a batch that move different parts of a method in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from equissl.methods.base import Method, Phase, StepOutput
from equissl.runs.config import ConfigError


def check_phases(method: Method, accumulate: int) -> None:
    """Check the phases of a method before it is trained.

    Args:
        method: with its phases.
        accumulate: batches in one optimiser step.

    Raises:
        ValueError: no phase, one whose step or part the method lacks, or parameters that no phase moves.
        ConfigError: several phases with accumulated gradients: each phase starts from the weights that the one before
            it has left, so that every batch would be needed once more.
    """
    name = type(method).__name__
    if not method.phases:
        raise ValueError(f"expected phases of {name}, got none")
    for phase in method.phases:
        if not callable(getattr(method, phase.step, None)):
            raise ValueError(f"expected phases of {name} to name its functions, got step {phase.step!r}")
        for part in phase.parts:
            if not isinstance(getattr(method, part, None), nn.Module):
                raise ValueError(f"expected phases of {name} to name its modules, got part {part!r}")
    still = [{id(parameter) for parameter in still_parameters(method, phase)} for phase in method.phases]
    if never := [key for key, value in method.named_parameters() if all(id(value) in ids for ids in still)]:
        raise ValueError(f"expected a phase of {name} to move {never[0]}, and {len(never) - 1} more, got none")
    if len(method.phases) > 1 and accumulate > 1:
        raise ConfigError(
            f"expected trainer.accumulate 1: {name} makes {len(method.phases)} updates of each batch, got {accumulate}"
        )


def still_parameters(method: Method, phase: Phase) -> list[nn.Parameter]:
    """Return the parameters that a phase leaves where they are.

    Args:
        method: wrapped already, where its parameters are sharded.
        phase: of the method.
    """
    if not phase.parts:
        return []
    moved = {id(parameter) for part in phase.parts for parameter in getattr(method, part).parameters()}
    return [p for p in method.parameters() if p.requires_grad and id(p) not in moved]


def joined(outputs: Sequence[StepOutput]) -> StepOutput:
    """Join the results of a batch's phases: the first one's, with those terms of the others that it has not.

    Args:
        outputs: of all phases, in their order.
    """
    terms = {name: term for output in reversed(outputs) for name, term in output.terms.items()}
    return replace(outputs[0], terms={**outputs[0].terms, **terms})
