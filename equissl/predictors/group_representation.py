"""Group representation as a predictor: the known matrix of a rotation or a pose moves an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from equissl.geometry.irreps import rotation_irreps
from equissl.geometry.wigner import wigner_ds
from equissl.losses import full_precision, unit_norm

if TYPE_CHECKING:
    from e3nn.o3 import Irreps


class GroupRepresentation(nn.Module):
    """Predictor that applies the transposed matrix of a direct sum of representations. Nothing is learned.

    Relative actions are those of the first view's object frame, ``g2 = g1 g12``. What such an action can move exactly
    is content c that is fixed in the world, seen from the object: ``f(g) = ρ(g)ᵀ c``. Then
    ``f(g2) = ρ(g1 g12)ᵀ c = ρ(g12)ᵀ f(g1)``, whatever g1 is. (Content fixed in the object, ``ρ(g) c``, would need
    ``g2 g1⁻¹`` instead.) As rows, ``f(g2)ᵀ = f(g1)ᵀ ρ(g12)``: the rows of EquiCaps' 3 × 3 poses are degree 1 in another
    order of axes, those of its 4 × 4 poses are homogeneous vectors.

    For rotations ρ is a sum of Wigner-D matrices (:mod:`equissl.geometry.wigner`), which keep lengths. Poses in SE(3),
    as 4 × 4 matrices [R t; 0 1], act on irreps by their rotation alone, and on homogeneous vectors by the whole
    matrix: exactly, but not keeping lengths, which no faithful representation of SE(3) of finite dimension does.

    Args:
        irreps: which irreps and how many copies of each, in e3nn's notation, ``16x0e+32x1e+16x2e``, or its type; see
            :func:`~equissl.geometry.irreps.rotation_irreps`. An embedding holds them in this order, and one copy after
            the other.
        homogeneous: number of homogeneous vectors (x, y, z, 1) after the irreps; with any, actions are poses in SE(3).

    Attributes:
        dim: size of the embedding.
        shapes: number of copies of each irrep, and of homogeneous vectors, and the size of one.
        action_size: 3 where actions are rotation matrices, 4 where they are poses.

    Raises:
        ValueError: for an embedding of nothing, or irreps that are none of SO(3).
    """

    def __init__(self, irreps: str | Irreps, homogeneous: int = 0) -> None:
        super().__init__()
        self.irreps, self.homogeneous = rotation_irreps(irreps), homogeneous
        if homogeneous < 0 or not (homogeneous or self.irreps):
            raise ValueError(f"expected irreps or homogeneous vectors, got {str(self.irreps)!r} and {homogeneous}")
        self.shapes = [(copies, ir.dim) for copies, ir in self.irreps]
        if homogeneous:
            self.shapes.append((homogeneous, 4))
        self.dim = self.irreps.dim + 4 * homogeneous
        self.action_size = 4 if homogeneous else 3

    def forward(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Compute the embedding after the action, ``ρ(g)ᵀ e``.

        Args:
            embedding: (B, D).
            action: g, (B, 3, 3) rotations, or (B, 4, 4) poses where there are homogeneous vectors; or flattened.

        Returns:
            (B, D), in float32 or better.
        """
        return self._move(embedding, action)

    @full_precision
    def match(self, first: Tensor, second: Tensor, actions: Tensor) -> Tensor:
        """Score how well each of C actions takes each first embedding to its second: ``⟨ρ(g_c)ᵀ first_b, second_b⟩``.

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
        """Compute one matrix ρ(g) (B, d, d) for each kind of copy, in at least float32."""
        action = self._check_action(action)
        found = wigner_ds(action[:, :3, :3], max((ir.l for _, ir in self.irreps), default=0))
        matrices = [found[ir.l] for _, ir in self.irreps]
        return [*matrices, action] if self.homogeneous else matrices

    def matrix(self, action: Tensor) -> Tensor:
        """Compute the whole ρ(g), (B, D, D) with a block for each copy; to look at, since it is large and sparse."""
        copies = [m for (count, _), m in zip(self.shapes, self.matrices(action), strict=True) for _ in range(count)]
        return torch.stack([torch.block_diag(*blocks) for blocks in zip(*copies, strict=True)])

    def copies(self, embedding: Tensor) -> list[Tensor]:
        """Split an embedding (B, D) into (B, copies, d) for each irrep, and one for the homogeneous vectors."""
        if embedding.ndim != 2 or embedding.shape[1] != self.dim:
            raise ValueError(f"expected an embedding (B, {self.dim}) for {self}, got {tuple(embedding.shape)}")
        parts = embedding.split([count * size for count, size in self.shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @full_precision
    def normalize(self, embedding: Tensor) -> Tensor:
        """Divide every copy of (B, D) by its length; commutes with rotations. Copies of length 0 stay 0."""
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
        vectors = f"{self.homogeneous} homogeneous vectors" if self.homogeneous else ""
        return " and ".join(filter(None, [str(self.irreps), vectors]))

    def extra_repr(self) -> str:
        return f"{self}, dim={self.dim}"
