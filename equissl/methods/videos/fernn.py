"""Flow equivariant recurrent networks (Keller, arXiv 2507.14793) as methods.

With radius 0 they are the group-convolutional recurrent network without flow equivariance, of as many parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.datasets.videos.moving_digits import MovingSpec, VideoBatch
from equissl.encoders.recurrent import (
    RotationVelocities,
    TranslationVelocities,
    VideoClassifier,
    VideoCNN,
    VideoPredictor,
    video_predictor,
)
from equissl.encoders.recurrent.cell import Coordinates, Pool
from equissl.encoders.recurrent.planar_conv import RING_WIDTH
from equissl.encoders.recurrent.predictor import DecoderKind, Timing
from equissl.encoders.recurrent.velocities import VelocitySet
from equissl.methods.base import Method, StepOutput, detach_terms, widen

DEFAULT_VIDEOS = MovingSpec()


class VideoMethod(Method):
    """Base of the two methods below, which train on videos of moving digits.

    Attributes:
        predicts: True where the method predicts frames to come.
        videos: what the sequences are like; training opens them from ``data.store``, a folder of IDX files.
        views: frames of a sequence.
    """

    kind = "videos"
    batch = VideoBatch
    predicts: ClassVar[bool] = False
    videos: MovingSpec

    def __init__(self, videos: MovingSpec, network: nn.Module, feature_dim: int) -> None:
        nn.Module.__init__(self)
        self.encoder: Any = network
        self.feature_dim, self.objective = feature_dim, None
        self.videos, self.views = videos, videos.frames

    @property
    def label(self) -> str:
        """Name of the network in the literature."""
        return name_of(self.encoder)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the representation of videos (N, T, C, H, W)."""
        return {"all": widen(self.video_features(images))}

    def video_features(self, frames: Tensor) -> Tensor:
        """Compute (N, D) of videos (N, T, C, H, W)."""
        raise TypeError(f"{type(self).__name__} has no features")


class FERNN(VideoMethod):
    """Predictor of the frames to come from the frames observed, each prediction fed back as the next input.

    Args:
        videos: videos of training; their first ``observed`` frames are given.
        observed: frames given; the others are predicted.
        radius: N of the velocity set V_N; 0 is the baseline G-RNN. Its motion and step are those of the videos.
        channels: channels of the hidden state (for each orientation).
        decoder_layers: hidden layers of the decoder.
        orientations: order of the rotation group of the hidden state (rotations).
        pool: over velocities.
        timing: ``ahead`` is exactly equivariant, ``published`` reads the state one frame late.
        decoder: ``equivariant``, or the published ``plain`` one (rotations).
        coordinates: ``image``, as published, or ``comoving``, which blurs less; see
            :class:`equissl.encoders.recurrent.RecurrentCell`.
        ring_width: of the kernels (rotations), in pixels; see :func:`equissl.encoders.recurrent.steerable_basis`.
        teacher_forcing: probability of feeding the true frame in training.
        detach: no gradient through predictions that are fed back, as published.

    Raises:
        ValueError: no frames left to predict.
    """

    predicts = True
    encoder: VideoPredictor

    def __init__(
        self,
        videos: MovingSpec = DEFAULT_VIDEOS,
        observed: int = 10,
        radius: int = 2,
        channels: int = 128,
        decoder_layers: int = 4,
        orientations: int = 36,
        pool: Pool = "max",
        timing: Timing = "ahead",
        decoder: DecoderKind = "equivariant",
        coordinates: Coordinates = "comoving",
        ring_width: float = RING_WIDTH,
        teacher_forcing: float = 0.0,
        detach: bool = True,
    ) -> None:
        if not 1 <= observed < videos.frames:
            raise ValueError(f"expected observed in 1..{videos.frames - 1} (videos.frames), got {observed}")
        velocity_set = velocity_set_of(videos, radius, orientations)
        network = video_predictor(
            velocity_set, channels, decoder_layers, 1, pool, timing, decoder, coordinates, ring_width
        )
        super().__init__(videos, network, channels * velocity_set.orientations)
        self.observed, self.teacher_forcing, self.detach = observed, teacher_forcing, detach

    def step(self, batch: VideoBatch) -> StepOutput:
        """Compute the mean squared error of the roll-out over all frames to predict, at once for the whole video."""
        seen, truth = batch.frames[:, : self.observed], batch.frames[:, self.observed :]
        state = self.encoder.encode(seen)
        predictions = self.encoder.roll_out(state, truth.shape[1], truth, self.teacher_forcing, self.detach)
        errors = (widen(predictions) - truth).square().mean(dim=(0, 2, 3, 4))
        loss = errors.mean()
        terms = detach_terms(mse=loss, mse_first=errors[0], mse_last=errors[-1])
        terms["mse_copy"] = (seen[:, -1:] - truth).square().mean()
        with torch.no_grad():
            features = widen(self.encoder.pooled(state).mean(dim=(-2, -1)))
        return StepOutput(loss, terms, features.unsqueeze(1))

    def rollout(self, frames: Tensor, horizon: int) -> Tensor:
        """Predict (B, horizon, 1, H, W) after the frames (B, T, 1, H, W).

        Args:
            frames: (B, T, 1, H, W) observed.
            horizon: frames to predict.
        """
        return self.encoder(frames, horizon)

    def video_features(self, frames: Tensor) -> Tensor:
        """Average over space the hidden state after the last frame, pooled over velocities."""
        return self.encoder.pooled(self.encoder.encode(frames)).mean(dim=(-2, -1))


class VideoClassification(VideoMethod):
    """Classification of the digit of a moving video.

    Args:
        videos: videos of training, of one digit each; translations, but for ``cnn``.
        network: ``fernn``; ``learned``, the baseline whose transport is learned (G-RNN+); or ``cnn``, 3-D convolutions.
        radius: N of the velocity set; 0 with ``fernn`` is the baseline G-RNN.
        classes: number of classes.
        channels: channels of the three layers of the stem, or the three stages of the CNN.
        pool: over velocities.
        every_frame: train on the class after each frame; else after the last alone, as published, which leaves what
            the network says at any other length to chance.

    Raises:
        ValueError: unknown network, or videos of several digits.
    """

    def __init__(
        self,
        videos: MovingSpec = DEFAULT_VIDEOS,
        network: Literal["fernn", "learned", "cnn"] = "fernn",
        radius: int = 2,
        classes: int = 10,
        channels: Sequence[int] = (32, 64, 128),
        pool: Pool = "max",
        every_frame: bool = False,
    ) -> None:
        if network not in ("fernn", "learned", "cnn"):
            raise ValueError(f"expected network 'fernn', 'learned' or 'cnn', got {network!r}")
        if videos.digits != 1:
            raise ValueError(f"expected videos of one digit to classify, got videos.digits={videos.digits}")
        model: nn.Module
        if network == "cnn":
            first, second, third = channels
            model = VideoCNN(classes, 1, (first, second, third))
        else:
            model = VideoClassifier(
                velocity_set_of(videos, radius, 1), classes, channels, 1, pool, network == "learned"
            )
        super().__init__(videos, model, channels[-1])
        self.every_frame = every_frame

    def step(self, batch: VideoBatch) -> StepOutput:
        """Compute the mean cross-entropy after the frames that are trained on, and the accuracy after the last."""
        if self.every_frame:
            features = self.encoder.features_by_frame(batch.frames)
        else:
            features = self.video_features(batch.frames).unsqueeze(1)
        logits, labels = widen(self.encoder.head(features)), batch.labels[:, :1].expand(-1, features.shape[1])
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        top1 = (logits[:, -1].argmax(dim=1) == labels[:, -1]).float().mean()
        return StepOutput(loss, detach_terms(cross_entropy=loss, top1=top1), widen(features[:, -1:].detach()))

    def video_features(self, frames: Tensor) -> Tensor:
        return self.encoder.features(frames)


def name_of(network: nn.Module) -> str:
    """Name a network: ``FERNN V_2``, ``G-RNN`` for {0}, ``G-RNN+ V_2`` with learned transport, ``3-D CNN``."""
    cell = getattr(network, "cell", None)
    if cell is None:
        return "3-D CNN"
    if cell.learned_transport is not None:
        return f"G-RNN+ V_{cell.velocity_set.radius}"
    return f"FERNN V_{cell.velocity_set.radius}" if cell.velocity_set.radius else "G-RNN"


def velocity_set_of(videos: MovingSpec, radius: int, orientations: int) -> VelocitySet:
    """Return the velocity set V_radius of the videos' kind of motion.

    Args:
        videos: settings of the videos.
        radius: N of V_N.
        orientations: orientations of the hidden state, for rotations.
    """
    if videos.motion == "rotation":
        return RotationVelocities(videos.step, radius, orientations)
    return TranslationVelocities(radius)
