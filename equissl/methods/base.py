"""Interface of methods, and what they share."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Encoder, Stem, create_encoder
from equissl.losses import gather
from equissl.objectives import Objective

# Mean and standard deviation of 3DIEBench's pixels in [0, 1], as in the SIE and EquiCaps recipes.
PIXEL_MEAN = (0.5016, 0.5037, 0.5060)
PIXEL_STD = (0.1030, 0.0999, 0.0969)


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the image encoder, see :func:`equissl.encoders.create_encoder`.

    Attributes:
        name: ``resnet18`` (the papers' variant), ``resnet34``, ``resnet50``, ``torchvision/NAME`` or ``timm/NAME``.
        width: channels of the first stage (reference ResNets).
        stem: ``reference``, ``nopool`` or ``small`` (reference ResNets).
        options: further constructor arguments of a torchvision or timm model.
        pixel_mean, pixel_std: of the training images' channels, in [0, 1]: what uint8 images are normalised by.
    """

    name: str = "resnet18"
    width: int = 64
    stem: Stem = "reference"
    options: dict[str, Any] = field(default_factory=dict)
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD

    def __post_init__(self) -> None:
        if len(self.pixel_mean) != 3 or len(self.pixel_std) != 3 or min(self.pixel_std) <= 0:
            raise ValueError(
                "expected three values each of pixel_mean and pixel_std, the latter above 0, got "
                f"{self.pixel_mean} and {self.pixel_std}"
            )

    def build(self) -> Encoder:
        return create_encoder(self.name, self.width, self.stem, **self.options)


DEFAULT_ENCODER = EncoderConfig()


class BuildsEncoder(Protocol):
    """A config of an encoder, of images or of anything else."""

    def build(self) -> Any:
        """Build the encoder with fresh weights; it has a ``feature_dim``."""


@dataclass
class StepOutput:
    """Result of one training step.

    Attributes:
        loss: scalar to minimise, of the global batch.
        terms: unweighted, detached scalars by name.
        features: (B, V, D) detached representation of this process' batch, for online probes and diagnostics.
        action_gap: for methods that predict: ``equivariance``, and ``equivariance_ignored_action``, the same loss when
            every sample gets its neighbour's action, both of this process' batch. Equal: the action is ignored.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    features: Tensor
    action_gap: dict[str, Tensor] | None = None


class Method(nn.Module, ABC):
    """An encoder, what is trained on top of it, and the loss.

    Attributes:
        data: what it learns from: ``views`` of objects (`ViewBatch`), or pairs of LiDAR ``scenes`` (`ScenePair`).
        feature_dim: size D of the representation.
        pixel_mean, pixel_std: what images are normalised by, see :class:`EncoderConfig`.
        views: number of views V that a batch must hold.
        objective: invariant objective, for methods that take one by name.
        track_action_gap: whether ``step`` also returns the action gap, which costs one more pass of the predictor.
    """

    data: ClassVar[str] = "views"
    encoder: Encoder
    feature_dim: int
    pixel_mean: tuple[float, ...] = PIXEL_MEAN
    pixel_std: tuple[float, ...] = PIXEL_STD
    views: int = 2
    track_action_gap: bool = True

    def __init__(self, encoder: BuildsEncoder) -> None:
        super().__init__()
        self.encoder = encoder.build()
        if isinstance(encoder, EncoderConfig):
            self.pixel_mean, self.pixel_std = tuple(encoder.pixel_mean), tuple(encoder.pixel_std)
        self.feature_dim = self.encoder.feature_dim
        self.objective: Objective | None = None

    @abstractmethod
    def step(self, batch: Any) -> StepOutput:
        """Compute loss, diagnostics and representation of one batch, of the type that goes with ``data``."""

    def after_step(self, step: int, last_step: int) -> None:
        """Update teachers, queues and schedules, after every optimiser step.

        Args:
            step: number of the step, from 0.
            last_step: last step of the run.
        """
        if self.objective is not None:
            self.objective.after_step()

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the parts of the representation to evaluate.

        Args:
            images: (N, 3, H, W), uint8, or float already normalised.

        Returns:
            ``all`` (N, D); methods that split it add ``inv`` and ``equi``.
        """
        return {"all": widen(self.encoder(self.normalise(images)))}

    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor] | None:
        """Compute the action gap of a batch (see :class:`StepOutput`), or None for a method that predicts nothing.

        Without gradients. In training mode batch norm takes note of the batch, as always: call ``eval()`` first for a
        measurement.
        """
        return None

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor | None:
        """Compute the predictor's input from ``features``: (N, E) in the form predictions are compared in.

        None for a method that predicts nothing; a method that gives it also has :meth:`predict_embedding`.
        """
        return None

    def embedding(self, parts: dict[str, Tensor]) -> Tensor | None:
        """Compute the input of the loss from ``features``: (N, E), or None for a method without an embedding.

        Where there is a predictor, it is the embedding that the predictor moves.
        """
        return self.equi_embedding(parts)

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        """Predict the second views' equivariant embeddings.

        Args:
            embedding: (B, E) of the first views, from :meth:`equi_embedding`.
            batch: B pairs of views, read for their actions alone; images may be of size 0.

        Returns:
            (B, E).

        Raises:
            TypeError: for a method that predicts nothing.
        """
        raise TypeError(f"{type(self).__name__} has no predictor")

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images for the encoder, in its floating-point type."""
        return normalize_images(images, next(self.parameters()).dtype, self.pixel_mean, self.pixel_std)

    def view_features(self, batch: ViewBatch) -> list[Tensor]:
        """Compute one representation (B, D) for each view.

        Views are encoded one after the other, as the published implementations do: batch norm sees one view at a time.
        """
        self.check_views(batch)
        return [self.encoder(self.normalise(batch.images[:, view])) for view in range(self.views)]

    def check_views(self, batch: ViewBatch) -> None:
        """Raise ValueError unless the batch holds as many views as the method takes."""
        if batch.num_views != self.views:
            raise ValueError(f"{type(self).__name__} takes {self.views} views per object, got {batch.num_views}")


def normalize_images(
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    mean: tuple[float, ...] = PIXEL_MEAN,
    std: tuple[float, ...] = PIXEL_STD,
) -> Tensor:
    """Remove the data set's mean and standard deviation from pixels; 3DIEBench's by default.

    Args:
        images: (..., 3, H, W), uint8 in 0..255; floating-point images count as normalised already.
        dtype: floating-point type to return.
        mean, std: of the channels, in [0, 1].
    """
    if images.is_floating_point():
        return images.to(dtype)
    shift, scale = _pixel_statistics(mean, std, dtype, images.device)
    return (images.to(dtype) - shift) / scale


@functools.cache
@torch.inference_mode(False)
def _pixel_statistics(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pixel statistics on the scale 0..255. Made once for each device, since making them makes a GPU wait."""
    found = (255 * torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    shift, scale = (v.to(device, dtype) for v in found)
    return shift, scale


def widen(x: Tensor) -> Tensor:
    """Convert half precision to float32; return anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gather_together(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """Gather each (B, D_i) over processes to the global batch, in one exchange and in full precision."""
    wide = [widen(x) for x in embeddings]
    return gather(torch.cat(wide, dim=1)).split([x.shape[1] for x in wide], dim=1)


def detach_terms(**terms: Tensor) -> dict[str, Tensor]:
    """Detach the loss terms for the log."""
    return {name: term.detach() for name, term in terms.items()}


def stack_features(views: list[Tensor]) -> Tensor:
    """Stack the representations of the views to (B, V, D), detached and in full precision."""
    return widen(torch.stack([view.detach() for view in views], dim=1))
