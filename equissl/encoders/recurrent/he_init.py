"""Initial weights of steerable convolutions: He's initialisation generalised to irreps, as in escnn.

A kernel between fields of a cyclic group C_N is a sum of terms with one coefficient z(m, f) each: in-frequency m over
the orientations of the input, harmonic f in the plane, out-frequency m + f over those of the output. Frequencies m and
−m make one real irrep, of dimension 2, or 1 where m = −m. Every output irrep l gets unit variance from each of the I(l)
input irreps that reach it, shared equally by their E(j, l) real coefficients (Weiler and Cesa, arXiv 1911.08251, after
He et al. 2015): |z(m, f)|² ‖ψ_f‖² has the mean dim(l) / (I(l) E(j, l)), divided by the fields of the input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

HARMONICS = (-2, -1, 0, 1, 2)
RADII = {0: 2}  # a centre and a ring without a phase; one ring of every other harmonic


def lift_weights(out_fields: int, in_fields: int, orientations: int, norms: Tensor) -> Tensor:
    """Draw weights (out, in, 6) from images to regular fields.

    Args:
        out_fields, in_fields: of the layer.
        orientations: order N of the group.
        norms: (6,) of the basis functions before each was divided by its own.
    """
    variances = [variance(orientations, [0], 0, f) for f in (0, 1, 2)]
    return _independent(out_fields, in_fields, orientations, variances, norms)


def project_weights(out_fields: int, in_fields: int, orientations: int, norms: Tensor) -> Tensor:
    """Draw weights (out, in, 6) from regular fields to images.

    Args:
        out_fields, in_fields: of the layer.
        orientations: order N of the group.
        norms: (6,) of the basis functions before each was divided by its own.
    """
    outputs = [m for m in range(orientations) if any((m + f) % orientations == 0 for f in HARMONICS)]
    variances = [variance(orientations, outputs, -f, f, image=True) for f in (0, 1, 2)]
    return _independent(out_fields, in_fields, orientations, variances, norms)


def regular_weights(out_fields: int, in_fields: int, orientations: int, norms: Tensor) -> Tensor:
    """Draw weights (out, in, orientations, 6) between regular fields.

    Args:
        out_fields, in_fields: of the layer.
        orientations: order N of the group.
        norms: (6,) of the basis functions before each was divided by its own.
    """
    every = range(orientations)
    spectra = [torch.tensor([variance(orientations, every, m, f) for m in every]) for f in (0, 1, 2)]
    shape = (out_fields, in_fields, orientations)
    scale = (in_fields * orientations) ** -0.5
    plain = [_coloured(torch.randn(shape, dtype=torch.float64), spectra[0]).real for _ in range(RADII[0])]
    waves = [_coloured(torch.randn(shape, dtype=torch.complex128), 2 * spectrum) for spectrum in spectra[1:]]
    # Re(c exp(ifθ)) = Re(c) cos fθ − Im(c) sin fθ
    parts = [*plain, *(part for wave in waves for part in (wave.real, -wave.imag))]
    return torch.stack(parts, dim=-1) * scale * _shares(norms)


def variance(orientations: int, inputs: Iterable[int], m: int, f: int, image: bool = False) -> float:
    """Compute the mean of |z(m, f)|² ‖ψ_f‖² for one field of the input.

    Args:
        orientations: order N of the group.
        inputs: frequencies of the input, 0 alone for images.
        m: in-frequency.
        f: harmonic in the plane.
        image: True where the output is one, with frequency 0 alone.
    """
    pairs: Counter[tuple[int, int]] = Counter()
    for j in inputs:
        for harmonic in HARMONICS:
            if not image or (j + harmonic) % orientations == 0:
                pairs[_irrep(j, orientations), _irrep(j + harmonic, orientations)] += RADII.get(harmonic, 1)
    into, out = _irrep(m, orientations), _irrep(m + f, orientations)
    reached = sum(1 for _, other in pairs if other == out)
    dimension = 1 if 2 * out % orientations == 0 else 2
    return dimension / (reached * pairs[into, out])


def _irrep(frequency: int, orientations: int) -> int:
    """Return the number of the real irrep with that frequency."""
    return min(frequency % orientations, -frequency % orientations)


def _independent(out_fields: int, in_fields: int, orientations: int, variances: list[float], norms: Tensor) -> Tensor:
    spread = torch.tensor([variances[f] for f in (0, 0, 1, 1, 2, 2)], dtype=torch.float64)
    weights = torch.randn(out_fields, in_fields, 6, dtype=torch.float64)
    return weights * (spread / (in_fields * orientations)).sqrt() * _shares(norms)


def _coloured(noise: Tensor, spectrum: Tensor) -> Tensor:
    """Give white noise over the last dimension a spectrum."""
    return torch.fft.ifft(torch.fft.fft(noise) * spectrum.double().sqrt())


def _shares(norms: Tensor) -> Tensor:
    """Return factors (6,) of weights whose functions have unit norm each, instead of cosine and sine together."""
    pairs = norms[2:].view(-1, 2)
    together = pairs.square().mean(dim=1, keepdim=True).sqrt()
    return torch.cat([torch.ones(2, dtype=norms.dtype), (pairs / together).flatten()])
