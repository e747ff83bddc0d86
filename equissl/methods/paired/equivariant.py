"""One equivariant space for images and point clouds: an image finds its object, and the pose that it shows it in.

Ours. A cloud is encoded to irreps of SO(3) that turn exactly with it (:mod:`equissl.encoders.cloud.equivariant`), an
image to irreps of the same degrees by a learned projector. Where an image shows the object turned by R, its irreps
should be ρ(R) times the cloud's. The loss is that of `GroupEquivariant`, the likelihood of the right rotation among
those of the batch, between modalities in place of views. Beside it CLIP contrasts the invariants of the cloud, the
image's invariant embedding, and words where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.datasets.paired.batch import PairedBatch
from equissl.encoders import Projector
from equissl.encoders.cloud.config import CloudEncoderConfig
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.losses import LogitScale, action_cross_entropy, clip, invariance, unit_norm
from equissl.methods.base import StepOutput, detach_terms, gather_together, widen
from equissl.methods.paired.base import PairedMethod, each, gather_modalities
from equissl.predictors import GroupRepresentation

EQUIVARIANT = CloudEncoderConfig("equivariant")


class PairedEquivariant(PairedMethod):
    """CLIP of invariants beside irreps of images and clouds that the known rotation moves onto each other.

    Args:
        encoder: of images.
        cloud: encoder of clouds to irreps; those of degree 1 and more are the common space.
        text: encoder of words; None for a method without.
        projector: sizes of the layers of the projectors that CLIP compares.
        irrep_projector: sizes of the hidden layers of the image's projector to irreps.
        temperature: initial value of CLIP's.
        equi: weight of the equivariant loss.
        views, texts: of each object in a batch.

    Raises:
        ValueError: for a cloud encoder whose features do not turn with its clouds.
    """

    turning: Tensor

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        cloud: CloudEncoderConfig = EQUIVARIANT,
        text: TextEncoderConfig | None = None,
        projector: Sequence[int] = (512, 256),
        irrep_projector: Sequence[int] = (1024,),
        temperature: float = 0.07,
        equi: float = 1.0,
        views: int = 2,
        texts: int = 1,
    ) -> None:
        super().__init__(encoder, cloud, text, projector, views, 1, texts)
        irreps = getattr(self.cloud, "irreps", ())
        turning = [(copies, ir) for copies, ir in irreps if ir.l > 0]
        if not turning:
            raise ValueError(f"expected an encoder of clouds to irreps of degree 1 or more, got {cloud}")
        self.predictor, self.equi = GroupRepresentation("+".join(f"{copies}x{ir}" for copies, ir in turning)), equi
        turns = [ir.l > 0 for copies, ir in irreps for _ in range(copies * ir.dim)]
        columns = [column for column, turning in enumerate(turns) if turning]
        self.register_buffer("turning", torch.tensor(columns), persistent=False)
        self.image_irreps = Projector(self.feature_dim, (*irrep_projector, self.predictor.dim))
        self.temperature = LogitScale(temperature)

    def step(self, batch: PairedBatch) -> StepOutput:
        found = self.represent(batch)
        contrast = clip(self.mean_embeddings(found), self.temperature())
        assert batch.views is not None and batch.clouds is not None
        turns, image = batch.views.rotations.to(contrast.dtype), each(self.image_irreps, found["image"])
        # in the object's own frame, whichever the cloud came in: the features turn exactly
        cloud = self.predictor(self.cloud_irreps(found["cloud"][:, 0]), batch.clouds.rotations[:, 0])
        cloud = cloud[:, None].expand(-1, self.views, -1)
        likelihood = self.likelihood(*gather_together(*(x.flatten(0, 1) for x in (image, cloud, turns.flatten(2)))))
        terms = detach_terms(clip=contrast, action_likelihood=likelihood, temperature=self.temperature())
        gap = self.turn_gap(image, cloud, turns) if self.track_action_gap else None
        return StepOutput(contrast + self.equi * likelihood, terms, widen(found["image"].detach()), gap)

    def mean_embeddings(self, representations: dict[str, Tensor]) -> Tensor:
        """Compute the global embedding (B, M, E) of each modality: the mean direction of its images or texts."""
        z = gather_modalities(self.project(representations))
        return torch.stack([unit_norm(of).mean(dim=1) for of in z.values()], dim=1)

    def likelihood(self, image: Tensor, cloud: Tensor, turns: Tensor) -> Tensor:
        """Compute −log of the share that the right rotation has among the N of the batch; log N where nothing is known.

        Args:
            image: (N, E) irreps.
            cloud: (N, E) irreps.
            turns: (N, 9) rotations of the objects in the images.
        """
        return action_cross_entropy(self.scores(image, cloud, turns))

    def scores(self, image: Tensor, cloud: Tensor, rotations: Tensor) -> Tensor:
        """Score how well each of C rotations takes a cloud to what an image shows, ⟨ρ(R) cloud, image⟩ / √E: (N, C).

        Args:
            image: (N, E) irreps.
            cloud: (N, E) irreps.
            rotations: (C, 3, 3), or (C, 9).
        """
        return self.predictor.match(image, cloud, rotations) / self.predictor.dim**0.5

    def cloud_irreps(self, representation: Tensor) -> Tensor:
        """Take the irreps of degree 1 and more (N, E) from representations (N, D) of clouds."""
        return representation.index_select(1, self.turning)

    @torch.no_grad()
    def turn_gap(self, image: Tensor, cloud: Tensor, turns: Tensor) -> dict[str, Tensor]:
        """Compute the action gap (see `StepOutput`): moved cloud less image, with the right and with a wrong rotation.

        Args:
            image, cloud: (B, V, E) irreps.
            turns: (B, V, 3, 3).
        """
        x, y, g = (of.flatten(0, 1) for of in (image, cloud, turns))
        target = self.predictor.normalize(y)
        # ρ(R) cloud against the image, as the cloud against ρ(R)ᵀ image: lengths are kept
        return {
            "equivariance": invariance(self.predictor.normalize(self.predictor(x, g)), target),
            "equivariance_ignored_action": invariance(
                self.predictor.normalize(self.predictor(x, g.roll(1, 0))), target
            ),
        }

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = self.encoder(self.normalise(inputs))
        parts = {"all": representation, "inv": self.projectors["image"](representation)}
        return {name: widen(of) for name, of in (parts | {"equi": self.image_irreps(representation)}).items()}

    def pose_embeddings(self, modality: str, representation: Tensor) -> Tensor:
        """Embed representations (N, D) of images or clouds as irreps (N, E), for `scores`.

        Args:
            modality: ``image`` or ``cloud``.
            representation: of the modality's encoder.
        """
        if modality == "image":
            return widen(self.image_irreps(representation))
        return widen(self.cloud_irreps(representation))
