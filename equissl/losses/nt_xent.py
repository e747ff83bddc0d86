"""NT-Xent for any number of views (Chen et al., SimCLR, ICML 2020; for V > 2 Khosla et al., SupCon, NeurIPS 2020)."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.contrastive import Admitted, contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_contrasted, check_temperature, instance_negatives, unit_views, view_logits


@full_precision
def nt_xent(z: Tensor, temperature: float | Tensor = 0.1, admitted: Admitted = "all", normalise: bool = True) -> Tensor:
    """Mean cross-entropy of picking another view of the same instance among all other rows, by cosine similarity.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.
        admitted: positives in the denominator: ``"all"`` as in SupCon; ``"own"`` leaves the anchor's other positives
            out, as pytorch-metric-learning does, which differs for V > 2; ``"none"`` is the decoupled loss.
        normalise: False compares by the inner product of the embeddings as they are, as MCLRec does.

    Returns:
        Scalar. With all positives admitted, collapse costs log(VB - 1), and no arrangement costs less than log(V - 1).

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    if normalise:
        z = unit_views(z, "NT-Xent")
    else:
        check_contrasted(z, "NT-Xent")
    return contrast(view_logits(z, temperature), instance_negatives(z, temperature), admitted).mean()
