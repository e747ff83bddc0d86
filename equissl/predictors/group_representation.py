"""The predictor that is a group representation: it knows how rotations, or poses, move an embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.geometry.wigner import wigner_ds
from equissl.losses import full_precision, unit_norm

HOMOGENEOUS = "h"
_TERM = re.compile(r"(?:(\d+)x)?(\d+|h)")

Terms = str | Sequence[tuple[int, int | str]] | Mapping[int | str, int]


@dataclass(frozen=True)
class Term:
    """``multiplicity`` copies of the irrep of degree ``degree``, or of homogeneous vectors (x, y, z, 1) for ``h``."""

    multiplicity: int
    degree: int | str

    @property
    def size(self) -> int:
        """Numbers in one copy: 2l+1, or 4."""
        return 4 if isinstance(self.degree, str) else 2 * self.degree + 1

    @property
    def dim(self) -> int:
        return self.multiplicity * self.size

    def __str__(self) -> str:
        return f"{self.multiplicity}x{self.degree}"


def parse_terms(terms: Terms) -> tuple[Term, ...]:
    """``"16x0+32x1+8xh"``, pairs (multiplicity, degree), or a mapping degree → multiplicity, as terms.

    Raises:
        ValueError: naming the term that is not one, or for no copies at all.
    """
    if isinstance(terms, str):
        pairs = [_parse_term(word, terms) for word in terms.replace(" ", "").split("+")]
    elif isinstance(terms, Mapping):
        pairs = [(multiplicity, degree) for degree, multiplicity in terms.items()]
    else:
        pairs = [(multiplicity, degree) for multiplicity, degree in terms]
    for multiplicity, degree in pairs:
        valid = degree == HOMOGENEOUS if isinstance(degree, str) else degree >= 0
        if multiplicity < 1 or not valid:
            raise ValueError(
                "expected a multiplicity of 1 or more and a degree of 0 or more (or 'h'), "
                f"got {multiplicity}x{degree} in {terms!r}"
            )
    if not pairs:
        raise ValueError(f"expected at least one term such as '32x1', got {terms!r}")
    return tuple(Term(multiplicity, degree) for multiplicity, degree in pairs)


def _parse_term(word: str, terms: str) -> tuple[int, int | str]:
    match = _TERM.fullmatch(word)
    if match is None:
        raise ValueError(f"expected terms such as '16x0+32x1+16x2+8xh', got {word!r} in {terms!r}")
    multiplicity, degree = match.groups()
    return int(multiplicity or 1), degree if degree == HOMOGENEOUS else int(degree)


class GroupRepresentation(nn.Module):
    """Moves an embedding by the transposed matrix of a direct sum of representations. Nothing is learned.

    Relative actions are those of the first view's object frame, ``g2 = g1 g12``. What such an action can move exactly
    is content c that is fixed in the world, seen from the object: ``f(g) = ρ(g)ᵀ c``. Then
    ``f(g2) = ρ(g1 g12)ᵀ c = ρ(g12)ᵀ f(g1)``, whatever g1 is. (Content fixed in the object, ``ρ(g) c``, would need
    ``g2 g1⁻¹`` instead.) As rows, ``f(g2)ᵀ = f(g1)ᵀ ρ(g12)``: the rows of EquiCaps' 3 × 3 poses are degree 1 in another
    order of axes, those of its 4 × 4 poses are homogeneous vectors.

    For rotations ρ is a sum of Wigner-D matrices (:mod:`equissl.geometry.wigner`), which keep lengths. Poses in SE(3),
    as 4 × 4 matrices [R t; 0 1], act on irreps by their rotation alone, and on homogeneous vectors ``h`` by the whole
    matrix: exactly, but not keeping lengths, which no faithful representation of SE(3) of finite dimension does.

    Args:
        terms: which irreps and how many of each, ``"16x0+32x1+16x2"``; with a term ``h`` actions are poses in SE(3). An
            embedding holds the terms in this order, and a term one copy after the other.

    Attributes:
        dim: size of the embedding.
        action_size: 3 where actions are rotation matrices, 4 where they are poses.

    Raises:
        ValueError: for terms that are none, see :func:`parse_terms`.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.terms = parse_terms(terms)
        self.dim = sum(term.dim for term in self.terms)
        self.action_size = 4 if any(term.degree == HOMOGENEOUS for term in self.terms) else 3
        self.max_degree = max((term.degree for term in self.terms if isinstance(term.degree, int)), default=0)

    def forward(self, embedding: Tensor, action: Tensor) -> Tensor:
        """The embedding after the action, ``ρ(g)ᵀ e``.

        Args:
            embedding: (B, D).
            action: g, (B, 3, 3) rotations, or (B, 4, 4) poses where there is a term ``h``; or flattened.

        Returns:
            (B, D), in float32 or better.
        """
        return self._move(embedding, action)

    @full_precision
    def match(self, first: Tensor, second: Tensor, actions: Tensor) -> Tensor:
        """How well each of C actions takes each first embedding to its second: ``⟨ρ(g_c)ᵀ first_b, second_b⟩``.

        For rotations this is the cross-correlation of both embeddings over SO(3), evaluated at the candidates from its
        Fourier coefficients, the products of first and second summed over copies.

        Args:
            first, second: (B, D).
            actions: (C, 3, 3), or (C, 4, 4).

        Returns:
            (B, C).
        """
        coefficients = [
            torch.einsum("bkm,bkn->bmn", x, y).flatten(1)
            for x, y in zip(self.copies(first), self.copies(second), strict=True)
        ]
        matrices = [matrix.flatten(1).to(first.dtype) for matrix in self.matrices(actions)]
        return torch.cat(coefficients, dim=1) @ torch.cat(matrices, dim=1).T

    def matrices(self, action: Tensor) -> list[Tensor]:
        """One matrix ρ(g) (B, d, d) for each term, in at least float32."""
        action = self._check_action(action)
        found = wigner_ds(action[:, :3, :3], self.max_degree)
        return [action if isinstance(term.degree, str) else found[term.degree] for term in self.terms]

    def matrix(self, action: Tensor) -> Tensor:
        """The whole ρ(g), (B, D, D) with a block for each copy; to look at, since it is large and mostly zero."""
        copies = [
            m for term, m in zip(self.terms, self.matrices(action), strict=True) for _ in range(term.multiplicity)
        ]
        return torch.stack([torch.block_diag(*blocks) for blocks in zip(*copies, strict=True)])

    def copies(self, embedding: Tensor) -> list[Tensor]:
        """An embedding (B, D) as one (B, multiplicity, d) for each term."""
        if embedding.ndim != 2 or embedding.shape[1] != self.dim:
            raise ValueError(f"expected an embedding (B, {self.dim}) for {self}, got {tuple(embedding.shape)}")
        parts = embedding.split([term.dim for term in self.terms], dim=1)
        return [p.unflatten(1, (term.multiplicity, term.size)) for p, term in zip(parts, self.terms, strict=True)]

    @full_precision
    def normalize(self, embedding: Tensor) -> Tensor:
        """(B, D) with every copy divided by its length; commutes with rotations. Copies of length 0 stay 0."""
        return torch.cat([unit_norm(copy).flatten(1) for copy in self.copies(embedding)], dim=1)

    @full_precision
    def _move(self, embedding: Tensor, action: Tensor) -> Tensor:
        copies, matrices = self.copies(embedding), self.matrices(action)
        if len(action) != len(embedding):
            raise ValueError(f"expected one action for each of {len(embedding)} embeddings, got {len(action)}")
        # multiplied and summed, not matmul: a GPU may round that to TF32
        moved = [
            (x.unsqueeze(-1) * matrix.to(x.dtype).unsqueeze(1)).sum(dim=2).flatten(1)
            for x, matrix in zip(copies, matrices, strict=True)
        ]
        return torch.cat(moved, dim=1)

    def _check_action(self, action: Tensor) -> Tensor:
        n = self.action_size
        if action.ndim == 2 and action.shape[1] == n * n:
            action = action.unflatten(1, (n, n))
        if action.ndim != 3 or tuple(action.shape[1:]) != (n, n):
            kind = "rotations" if n == 3 else "poses"
            raise ValueError(f"expected {kind} (B, {n}, {n}) for {self}, got {tuple(action.shape)}")
        return action.float() if action.dtype in (torch.float16, torch.bfloat16) else action

    def __str__(self) -> str:
        return "+".join(map(str, self.terms))

    def extra_repr(self) -> str:
        return f"{self}, dim={self.dim}"
