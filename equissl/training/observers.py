"""Observers of the steps of a run: logs, probes, diagnostics, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equissl.training.loop import Loop


class Observer:
    """Hooks around the batches of a :class:`equissl.training.loop.Loop`, called in the order of its list of observers.

    Every hook runs in every process. ``on_start`` comes first and finds `Loop.step` at the step that the run continues
    from; after it `load_state_dict` receives what `state_dict` gave when the checkpoint was saved, on `Loop.device`.
    """

    def on_start(self, loop: Loop) -> None:
        """Act once before the first batch."""

    def before_batch(self, loop: Loop, batch: Any) -> None:
        """Act on a batch on its device, before the method sees it.

        Args:
            loop: of training.
            batch: as the loader gives it.
        """

    def after_batch(self, loop: Loop, batch: Any) -> None:
        """Act after a batch; `Loop.stepped` is true where the optimiser has moved.

        Args:
            loop: of training.
            batch: as the method saw it.
        """

    def on_end(self, loop: Loop) -> None:
        """Act once after the last batch."""

    def on_error(self, loop: Loop, error: BaseException) -> None:
        """Act in place of ``on_end`` when training ends with an error, an interrupt included.

        Args:
            loop: of training.
            error: raised in a step or by an observer.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a continued run needs, tensors and plain data; empty for an observer without one."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""


def observer_states(observers: list[Observer]) -> dict[str, dict[str, Any]]:
    """Return the states of the observers that have one, by the name of their class.

    Raises:
        ValueError: two observers of one class with a state.
    """
    states: dict[str, dict[str, Any]] = {}
    for observer in observers:
        if not (state := observer.state_dict()):
            continue
        name = type(observer).__name__
        if name in states:
            raise ValueError(f"expected one observer with a state of each class, got two of {name}")
        states[name] = state
    return states


def load_observer_states(observers: list[Observer], states: dict[str, dict[str, Any]]) -> None:
    """Hand every observer its state; one that was not there when the checkpoint was saved starts afresh.

    Args:
        observers: of the continued run.
        states: state of each observer by the name of its class.
    """
    for observer in observers:
        if (state := states.get(type(observer).__name__)) is not None:
            observer.load_state_dict(state)
