"""Published models, recognised by the names and shapes of their weights, and their counterparts here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from equissl.util.registry import Registry
from equissl.weights.reading import WeightsError
from equissl.weights.script import Script
from equissl.weights.shapes import Tensors

Family = Literal["sie", "equicaps", "seqjepa"]


@dataclass(frozen=True)
class Layout:
    """A published model and its counterpart here.

    Attributes:
        option: the authors' name of the model.
        class_path: of our method.
        init_args: of our method.
        names: pairs (prefix of our names, prefix of theirs), the first that fits counts.
        dropped: what is left out of the run on purpose: prefix of their names, and the reason.
        narrowed: by their names, how many input columns of a weight are taken; the others only ever met zeros.
        notes: for whoever imports it.
        config: sections of the run's config beside the method, as far as the training is known.
    """

    option: str
    class_path: str
    init_args: dict[str, Any]
    names: tuple[tuple[str, str], ...] = (("encoder.", "backbone."), ("", ""))
    dropped: dict[str, str] = field(default_factory=dict)
    narrowed: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)


#: By family: from weights and what is known of the training script to the layout.
FAMILIES: Registry[Callable[[Tensors, Script], Layout]] = Registry(
    "family of weights",
    {
        "sie": "equissl.weights.sie:sie_layout",
        "equicaps": "equissl.weights.equicaps:equicaps_layout",
        "seqjepa": "equissl.weights.seqjepa:seqjepa_layout",
    },
    group="equissl.weights",
    error=WeightsError,
)


def find_layout(family: Family, tensors: Tensors, script: Script | None = None) -> Layout:
    """Find the published model that these weights are of.

    Args:
        family: whose code wrote them.
        tensors: weights by the authors' names, without wrappers (:func:`equissl.weights.read_weights`).
        script: what is known beside them; it takes note of what was assumed.

    Raises:
        WeightsError: for weights of no known model, of another than was asked for, or which need a flag.
    """
    return FAMILIES[family](tensors, Script() if script is None else script)


def choose(script: Script, candidates: list[str], name: str = "experience") -> str:
    """Choose among models that have the same names and shapes.

    Args:
        script: says which, perhaps.
        candidates: models by the authors' names; the first is taken, with a note, where nobody says.
        name: of the script's argument.

    Raises:
        WeightsError: another model is asked for.
    """
    asked, stated = script.flags.get("option"), script.get(name)
    script.asked.add("option")
    wanted = stated if asked is None else asked
    if wanted is None:
        if others := candidates[1:]:
            script.assumed.append(
                f"taken for {candidates[0]}: {', '.join(others)} would have the same weights; --option says otherwise"
            )
        return candidates[0]
    if wanted not in candidates:
        raise WeightsError(f"the weights are those of {' or '.join(candidates)}, not of {wanted!r}")
    return str(wanted)


def rename(tensors: Tensors, layout: Layout, own: dict[str, Tensor], bookkeeping: set[str]) -> Tensors:
    """Rename weights to our names, after making sure that each is there once and has the right shape.

    Args:
        tensors: by the authors' names.
        layout: from :func:`find_layout`.
        own: state dict of our method, for names and shapes.
        bookkeeping: names in it that published models do not have; they keep their fresh values.

    Raises:
        WeightsError: naming the first weights that are missing, left over, of another shape, or not finite.
    """
    theirs = {key: _their_name(key, layout) for key in own if key not in bookkeeping}
    kept = {key: value for key, value in tensors.items() if not key.startswith(tuple(layout.dropped))}
    kept |= {key: kept[key][:, :columns] for key, columns in layout.narrowed.items() if key in kept}
    problems = [f"missing {name}" for name in theirs.values() if name not in kept]
    known = set(theirs.values())
    problems += [f"unexpected {name}" for name in kept if name not in known]
    for key, name in theirs.items():
        if name in kept and (problem := _misfit(kept[name], own[key])):
            problems.append(f"{name}: {problem}")
    if problems:
        more = f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else ""
        listed = "\n  ".join(problems[:8]) + more
        raise WeightsError(f"the weights do not fit {layout.option}:\n  {listed}")
    fresh = {key: own[key] for key in bookkeeping}
    return {**{key: kept[name] for key, name in theirs.items()}, **fresh}


def _their_name(key: str, layout: Layout) -> str:
    ours, theirs = next(pair for pair in layout.names if key.startswith(pair[0]))
    return theirs + key.removeprefix(ours)


def _misfit(found: Tensor, own: Tensor) -> str | None:
    if found.shape != own.shape:
        return f"expected shape {tuple(own.shape)}, found {tuple(found.shape)}"
    if found.is_floating_point() != own.is_floating_point():
        return f"expected {own.dtype}, found {found.dtype}"
    if found.is_floating_point() and not bool(found.isfinite().all()):
        return "holds values that are NaN or infinite"
    return None
