"""Gates that choose a subspace of the embedding for a pair of classes, and cosines in that subspace.

After the authors' code of Hydra / SimLAP, whose positives are arbitrary pairs of classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equissl.losses.precision import full_precision, unit_norm

GateKind = Literal["sigmoid", "gumbel", "stochastic"]


@full_precision
def gated_cosine(queries: Tensor, keys: Tensor, gates: Tensor) -> Tensor:
    """Compute the cosine of each query with each key after both have been multiplied by the query's gate.

    Two matrix products, no (A, N, D): ``(a g²).b / (||a g|| sqrt(g².b²))``.

    Args:
        queries: (A, D) of any length.
        keys: (N, D) of any length.
        gates: (A, D), not negative; a factor common to a whole gate does not matter.

    Returns:
        (A, N); 0, without gradient, where a gated vector is 0.

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check_gated(queries, keys, gates)
    # The largest gate becomes 1, so that squares of small gates do not vanish.
    largest = gates.detach().abs().amax(dim=1, keepdim=True)
    gates = gates / torch.where(largest > 0, largest, torch.ones_like(largest))
    keys = unit_norm(keys)
    squares = gates.square() @ keys.square().T
    seen = ~(squares <= 1e-24)  # NaN passes, and shows in the result
    lengths = torch.where(seen, squares, torch.ones_like(squares)).sqrt()
    products = (unit_norm(queries * gates) * gates) @ keys.T
    return torch.where(seen, products / lengths, torch.zeros_like(products))


@full_precision
def gated_product(queries: Tensor, keys: Tensor, gates: Tensor) -> Tensor:
    """``(q g²).k`` of unit vectors q and k, not normalised again after the gate: closed dimensions lower it.

    Args:
        queries: (A, D) of any length.
        keys: (N, D) of any length.
        gates: (A, D); a common factor c scales the result by c².

    Returns:
        (A, N).

    Raises:
        ValueError: for shapes that do not fit.
    """
    _check_gated(queries, keys, gates)
    return (unit_norm(queries) * gates.square()) @ unit_norm(keys).T


@full_precision
def gumbel_sigmoid(logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Draw relaxed Bernoulli numbers: the sigmoid of logits plus logistic noise.

    Args:
        logits: logits of an open gate.
        temperature: towards 0, gates are 0 or 1.
        generator: source of the noise, on the CPU.

    Returns:
        Tensor of the same shape, in (0, 1).

    Raises:
        ValueError: for a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}")
    eps = torch.finfo(logits.dtype).eps
    uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype).clamp(eps, 1 - eps).to(logits.device)
    return ((logits + uniform.log() - (-uniform).log1p()) / temperature).sigmoid()


@full_precision
def stochastic_gate(mean: Tensor, sigma: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``clamp(mean + 1/2 + sigma noise, 0, 1)`` with Gaussian noise: gates that close and open exactly.

    Args:
        mean: mean of the gates, from -1/2 (mostly closed) to 1/2 (mostly open).
        sigma: deviation of the noise; 0 is the gate of evaluation.
        generator: source of the noise, on the CPU.

    Returns:
        Tensor of the same shape, in [0, 1]. Clamped gates have no gradient; `open_probability` has.
    """
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
    return (mean + 0.5 + sigma * noise).clamp(0, 1)


@full_precision
def open_probability(mean: Tensor, sigma: float = 0.5) -> Tensor:
    """Compute the probability that a `stochastic_gate` is above 0; its mean, added to a loss, makes gates sparse.

    Args:
        mean: (...) means of the gates.
        sigma: deviation of their noise.
    """
    return torch.special.ndtr((mean + 0.5) / sigma)


class PairGate(nn.Module):
    """A gate in [0, 1]^D for each pair of classes, which does not depend on their order.

    An embedding of the classes, then ReLU, BatchNorm, Linear, ReLU, BatchNorm, Linear, and the gate.

    Args:
        classes: number of classes.
        dim: width D of the embeddings to be gated.
        kind: "sigmoid"; "gumbel" draws with `gumbel_sigmoid` in training; "stochastic" is `stochastic_gate`.
        combine: "mean" gates the mean of both classes' embeddings, "product" multiplies a gate of each.
        width: width of the class embeddings.
        hidden: width of the hidden layer.

    Raises:
        ValueError: for sizes below 1, or an unknown kind or combination.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        kind: GateKind = "sigmoid",
        combine: Literal["mean", "product"] = "mean",
        width: int = 512,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        if min(classes, dim, width, hidden) < 1:
            raise ValueError(f"expected positive sizes, got {classes} classes and widths {dim}, {width}, {hidden}")
        if kind not in ("sigmoid", "gumbel", "stochastic") or combine not in ("mean", "product"):
            raise ValueError(f"expected a known kind and combination of gates, got {kind!r} and {combine!r}")
        self.kind, self.combine = kind, combine
        self.classes = nn.Embedding(classes, width)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(width),
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, dim),
        )

    def forward(self, first: Tensor, second: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Compute the gates (A, D) of pairs of classes (A,) and (A,).

        Args:
            first: class of each anchor.
            second: class of its positives.
            generator: source of the gates' noise, on the CPU; there is none in evaluation, nor for "sigmoid".

        Raises:
            ValueError: for shapes that do not fit, or one pair in training, where BatchNorm needs two.
        """
        return self.draw(first, second, generator)[0]

    def draw(self, first: Tensor, second: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Compute the gates (A, D) of pairs of classes, and how open they are expected to be.

        Args:
            first, second, generator: as of the call.

        Returns:
            gates (A, D), and the probability (A, D) that each is open, in which noise has no part; of "sigmoid" the
            gate itself.

        Raises:
            ValueError: as of the call.
        """
        if first.ndim != 1 or first.shape != second.shape:
            raise ValueError(f"expected two (A,) of classes, got {tuple(first.shape)} and {tuple(second.shape)}")
        if self.training and len(first) < 2:
            raise ValueError(f"the gate's BatchNorm needs at least 2 pairs in training, got {len(first)}")
        if self.combine == "product":
            one, other = self._open(self.classes(first), generator), self._open(self.classes(second), generator)
            return one[0] * other[0], one[1] * other[1]
        return self._open((self.classes(first) + self.classes(second)) / 2, generator)

    def _open(self, embedded: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        scores = self.layers(embedded)
        if self.kind == "stochastic":
            return stochastic_gate(scores, 0.5 if self.training else 0.0, generator), open_probability(scores)
        plain = scores.float().sigmoid() if scores.dtype in (torch.float16, torch.bfloat16) else scores.sigmoid()
        return gumbel_sigmoid(scores, generator=generator) if self.kind == "gumbel" and self.training else plain, plain

    def extra_repr(self) -> str:
        return f"kind={self.kind}, combine={self.combine}"


def _check_gated(queries: Tensor, keys: Tensor, gates: Tensor) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape != gates.shape or queries.shape[1] != keys.shape[1]:
        raise ValueError(
            f"expected queries (A, D), keys (N, D) and gates (A, D), got {tuple(queries.shape)}, {tuple(keys.shape)} "
            f"and {tuple(gates.shape)}"
        )
