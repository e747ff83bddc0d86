"""Colours of runs: one per method wherever it appears, defined in `style.css` for light and dark."""

from __future__ import annotations

from collections.abc import Iterable

KNOWN = {"VICReg": 0, "SIE": 1, "EquiCaps": 2, "Supervised": 3, "SimCLR": 4}
COLOURS = 8  # variables --c0, --c1 … of the style sheet
SOFT = "var(--soft)"  # of references, which need no learning


def assign_colours(methods: Iterable[str]) -> dict[str, str]:
    """Assign CSS colours to methods or runs: known methods keep theirs in every report, others take the free ones."""
    names = list(dict.fromkeys(methods))
    chosen = {name: KNOWN[name] for name in names if name in KNOWN}
    free = [i for i in range(COLOURS) if i not in chosen.values()] or list(range(COLOURS))
    others = (name for name in names if name not in chosen)
    return {
        **{name: f"var(--c{index})" for name, index in chosen.items()},
        **{name: f"var(--c{free[i % len(free)]})" for i, name in enumerate(others)},
    }
