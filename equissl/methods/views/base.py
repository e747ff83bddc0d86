"""Interface of methods on views of objects and on images."""

from __future__ import annotations

import functools
from typing import ClassVar

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Encoder
from equissl.encoders.config import PIXEL_MEAN, PIXEL_STD, EncoderConfig
from equissl.methods.base import BuildsEncoder, Method, widen
from equissl.methods.views.actions import Action
from equissl.predictors import ActionPredictor


class ViewMethod(Method):
    """A method on batches of images.

    Attributes:
        pixel_mean, pixel_std: what images are normalised by, see `EncoderConfig`.
        action: actions between views, for methods that are told or asked them.
        encoder_config: what the encoder was built from; None for another thing that builds one.
        adopts_encoder: True where a run that starts from another one takes that one's encoder, unless it says which.
        num_classes: classes of a method that learns from labels; None for others.
    """

    kind = "views"
    batch: ClassVar[type] = ViewBatch
    encoder: Encoder
    pixel_mean: tuple[float, ...] = PIXEL_MEAN
    pixel_std: tuple[float, ...] = PIXEL_STD
    action: Action | None
    encoder_config: EncoderConfig | None = None
    adopts_encoder: bool = False
    num_classes: int | None = None

    def __init__(self, encoder: BuildsEncoder) -> None:
        super().__init__(encoder)
        self.action = None
        if isinstance(encoder, EncoderConfig):
            self.encoder_config = encoder
            self.pixel_mean, self.pixel_std = tuple(encoder.pixel_mean), tuple(encoder.pixel_std)

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        """Compute the parts of the representation that are evaluated.

        Args:
            inputs: images (N, 3, H, W), uint8, or float already normalised.

        Returns:
            ``all`` (N, D); methods that split it add ``inv`` and ``equi``.
        """
        return {"all": widen(self.encoder(self.normalise(inputs)))}

    @property
    def fits_actions(self) -> bool:
        """True where `fit_actions` has something to do: actions to whiten, or a predictor that can be asked."""
        asked = isinstance(getattr(self, "predictor", None), ActionPredictor)
        return self.action is not None and (self.action.whiten or asked)

    def fit_actions(self, actions: Tensor) -> float | None:
        """Whiten the actions, where they are to be, before the first step.

        Args:
            actions: (N, A) of training pairs, not whitened.

        Returns:
            share of the equivariance loss that an invariant embedding leaves (:func:`equissl.metrics.shortcut_share`),
            or None without a predictor that can tell.
        """
        predictor = getattr(self, "predictor", None)
        if self.action is None:
            return None
        if self.action.whiten:
            self.action.fit(actions)
        if not isinstance(predictor, ActionPredictor):
            return None
        predictor.set_identity(self.action.whitened(torch.tensor(self.action.identity)).tolist())
        return predictor.shortcut_share(self.action.whitened(actions))

    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor] | None:
        """Compute the action gap of a batch (see `StepOutput`); None for a method that predicts nothing.

        Without gradients. In training mode batch norm takes note of the batch, as always: call ``eval()`` first for a
        measurement.
        """
        return None

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor | None:
        """Take from ``features`` what the predictor moves: (N, E) in the form predictions are compared in.

        None for a method that predicts nothing; a method that gives it also has :meth:`predict_embedding`.
        """
        return None

    def embedding(self, parts: dict[str, Tensor]) -> Tensor | None:
        """Compute what the loss works on, from ``features``: (N, E), or None for a method without an embedding.

        Where there is a predictor, it is the embedding that the predictor moves.
        """
        return self.equi_embedding(parts)

    def class_logits(self, parts: dict[str, Tensor]) -> Tensor | None:
        """Compute the logits of the method's own classifier, from ``features``: (N, C), or None without one."""
        return None

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

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute what the decoder makes of images, for pages: (N, 3, S, S) in [0, 1] by name.

        Empty for a method without a decoder of images.

        Args:
            images: (N, 3, S, S) uint8.
            generator: source of random draws, on the CPU.
        """
        return {}

    def denormalise(self, images: Tensor) -> Tensor:
        """Return normalised images (N, 3, S, S) as float32 pixels in [0, 1], the inverse of :meth:`normalise`."""
        mean, std = (images.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (self.pixel_mean, self.pixel_std))
        return (images.float() * std + mean).clamp(0, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images ready for the encoder, in its floating-point type."""
        return normalize_images(images, next(self.parameters()).dtype, self.pixel_mean, self.pixel_std)

    def view_features(self, batch: ViewBatch) -> list[Tensor]:
        """Encode the views one after the other: one representation (B, D) for each.

        As in the published implementations, batch norm sees one view at a time.
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
    """Remove mean and standard deviation of the data set from pixels; 3DIEBench's by default.

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
    """On the scale 0..255. Made once for each device, since making them makes a GPU wait."""
    found = (255 * torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    shift, scale = (v.to(device, dtype) for v in found)
    return shift, scale
