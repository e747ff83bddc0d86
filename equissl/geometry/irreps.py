"""Irreps of SO(3) in e3nn's notation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e3nn.o3 import Irreps


def rotation_irreps(irreps: str | Irreps) -> Irreps:
    """Read irreps of SO(3): those of e3nn that are even, ``16x0e+32x1e``, as rotations alone know no parity.

    Raises:
        ValueError: for another notation, odd irreps, or a multiplicity of 0.
    """
    from e3nn import o3  # a second of start-up time

    try:
        found = o3.Irreps(irreps)
    except ValueError as error:
        raise ValueError(f"expected irreps in e3nn's notation, such as '32x1e+32x2e', got {irreps!r}") from error
    if odd := [str(term) for term in found if term.ir.p != 1]:
        even = "+".join(f"{copies}x{ir.l}e" for copies, ir in found)
        raise ValueError(f"expected even irreps, as rotations know no parity, such as {even!r}, got {'+'.join(odd)!r}")
    if any(copies == 0 for copies, _ in found):
        raise ValueError(f"expected at least one copy of each irrep, got {str(found)!r}")
    return found
