"""Settings of the training script behind a checkpoint, which the names and shapes in it do not tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equissl.weights.reading import WeightsError

PARAMS = "params.json"


@dataclass
class Script:
    """Known arguments of a training script, and notes of those that had to be assumed.

    Attributes:
        flags: given by whoever imports, by the names that the script uses; None where not given.
        params: of the ``params.json`` that SIE's and EquiCaps' scripts write beside a checkpoint.
        assumed: notes for whoever imports.
        asked: names of the arguments that mattered.
    """

    flags: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def get(self, name: str) -> Any:
        """Return an argument of the script; None where nobody says."""
        self.asked.add(name)
        given = self.flags.get(name)
        return self.params.get(name) if given is None else given

    def number(self, name: str) -> float | None:
        """Return a numeric argument; None where nobody says.

        Raises:
            WeightsError: for anything but a number.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WeightsError(f"expected a number as {name} of the training script, got {value!r}")
        return float(value)

    def assume(self, name: str, value: Any, flag: str | None = None) -> Any:
        """Return an argument of the script, or ``value`` with a note that nobody says it.

        Args:
            name: of the argument.
            value: the script's own default.
            flag: of the import, where it has another name.
        """
        said = self.get(name)
        if said is not None:
            return said
        self.assumed.append(f"{name} {value}, which the file does not say: see --{flag or name}")
        return value

    def weights(self, **names: tuple[str, float]) -> dict[str, float]:
        """Return loss weights by our names, with one note for those that nobody says.

        Args:
            **names: the script's name of each, and its value in the published run or the script's default.
        """
        said = {ours: self.number(theirs) for ours, (theirs, _) in names.items()}
        found = {ours: names[ours][1] if value is None else value for ours, value in said.items()}
        if unsaid := [f"{names[ours][0]} {found[ours]:g}" for ours, value in said.items() if value is None]:
            self.assumed.append(f"weights of the loss {', '.join(unsaid)}, as no {PARAMS} says otherwise: see --params")
        return found

    def check_flags(self, family: str) -> None:
        """Raise WeightsError for flags that nobody asked for.

        Args:
            family: of weights, for the error.
        """
        if unread := [
            f"--{name}" for name, value in self.flags.items() if value is not None and name not in self.asked
        ]:
            raise WeightsError(
                f"these weights of {family} tell, or do not depend on, what {', '.join(unread)} would say"
            )


def read_params(checkpoint: Path, params: str | Path | None = None) -> dict[str, Any]:
    """Read the arguments of a training script.

    Args:
        checkpoint: beside which ``params.json`` may lie.
        params: another place of it.

    Raises:
        FileNotFoundError: nothing at ``params``.
        WeightsError: anything but JSON with names and values.
    """
    file = checkpoint.with_name(PARAMS) if params is None else Path(params)
    if params is None and not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise WeightsError(f"{file}: expected the JSON file of the training script: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file}: expected a JSON object of arguments by name, got {type(found).__name__}")
    return found
