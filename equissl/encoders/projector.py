"""The expander between a representation and the space of the losses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


class Projector(nn.Sequential):
    """Linear, batch norm and ReLU for each size but the last, then one linear layer without bias.

    Bardes et al. 2022 (VICReg, arXiv 2105.04906). The numbering of the layers is that of the published weights.

    Args:
        dim: size of the input.
        sizes: sizes of the layers, the last being the embedding's; (2048, 2048, 2048) in the papers.
        norm: leave out all biases, and end in batch norm without weights of its own, as EquiMod (Devillers and Lefort
            2022, arXiv 2211.01244) and the contrastive baselines of seq-JEPA do.

    Raises:
        ValueError: if ``sizes`` is empty or holds a number below 1.
    """

    def __init__(self, dim: int, sizes: Sequence[int] = (2048, 2048, 2048), norm: bool = False) -> None:
        if not sizes or min(sizes) < 1:
            raise ValueError(f"expected at least one projector size, all of them positive, got {list(sizes)}")
        layers: list[nn.Module] = []
        for width in sizes[:-1]:
            layers += [nn.Linear(dim, width, bias=not norm), nn.BatchNorm1d(width), nn.ReLU()]
            dim = width
        layers.append(nn.Linear(dim, sizes[-1], bias=False))
        super().__init__(*layers, *([nn.BatchNorm1d(sizes[-1], affine=False)] if norm else []))
        self.out_dim = sizes[-1]


def split_sizes(sizes: Sequence[int], part: int, whole: int) -> tuple[int, ...]:
    """Compute projector sizes of a part of the representation: each times part / whole, rounded (Garrido et al. 2023).

    Args:
        sizes: sizes of the whole's projector.
        part: dimension of the part.
        whole: dimension of the whole.
    """
    return tuple(round(size * part / whole) for size in sizes)
