"""cMIM, MIM and VAE: autoencoders whose codes are evaluated (Livne 2025, arXiv 2502.19642 and 2509.21511)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.conv_decoder import ConvDecoder
from equissl.losses import a_mim, cmim, gaussian_log_density, negative_elbo, own_rows, world_size
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features, widen
from equissl.methods.views.base import ViewMethod

MIN_LOG_STD = -3.0  # of the posterior: log variance -6, as the author's code for language models (NVIDIA NeMo) has it
BOUNDS = {"mim": a_mim, "vae": negative_elbo}


class CMIM(ViewMethod):
    """A Gaussian code of every image, a decoder of it, and a contrast of the codes; no augmentation is needed.

    The paper's: the objective, ``a_mim`` plus ``cmim`` of codes drawn from the posterior, without weights; downstream,
    the posterior's mean (part ``all``) or the decoder's hidden states, its *informative embeddings* (part
    ``decoder``). Reconstructed: the contrast's formula (see :func:`equissl.losses.cmim`). Ours: the networks, the
    Gaussian likelihood of normalised pixels with one learned standard deviation (Rybkin et al. 2021, arXiv 2006.13202),
    the temperature, and that hidden states are averaged over positions and joined over layers.

    ``bound: mim`` with ``contrast: 0`` is MIM, ``bound: vae`` with ``contrast: 0`` the VAE.

    Args:
        encoder: image encoder with a feature map, from which the posterior is read.
        image_size: side of the images in pixels; 8, 16, 32, 64 …
        code_dim: size of a code.
        decoder_width: channels of the decoder's last layers.
        bound: ``mim`` for `a_mim`, ``vae`` for `negative_elbo`.
        contrast: weight of the contrast; 0 leaves it out.
        temperature: of the contrast; divides the cosine similarities.
        views: views of each object in a batch, each an image of its own; 1 is enough.

    Raises:
        ValueError: for another bound, a negative weight, a code without numbers, no views, or an image size that
            encoder or decoder does not have.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        image_size: int = 32,
        code_dim: int = 128,
        decoder_width: int = 32,
        bound: Literal["mim", "vae"] = "mim",
        contrast: float = 1.0,
        temperature: float = 0.1,
        views: int = 1,
    ) -> None:
        super().__init__(encoder)
        if bound not in BOUNDS or contrast < 0:
            raise ValueError(f"expected bound 'mim' or 'vae' and contrast of at least 0, got {bound!r} and {contrast}")
        if min(code_dim, views) < 1:
            raise ValueError(f"expected code_dim and views of at least 1, got {code_dim} and {views}")
        self.bound, self.contrast, self.temperature = bound, contrast, temperature
        self.image_size, self.feature_dim, self.views = image_size, code_dim, views
        self.decoder = ConvDecoder(code_dim, image_size, decoder_width)
        channels, side = self.encoder.map_shape(image_size)
        self.posterior = nn.Linear(channels * side**2, 2 * code_dim)
        self.pixel_log_std = nn.Parameter(torch.zeros(1))

    @property
    def label(self) -> str:
        return ("c" if self.contrast else "") + self.bound.upper()

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        images = [self.normalise(batch.images[:, view]) for view in range(self.views)]
        posteriors = [self.encode(x) for x in images]
        codes = [draw(mean, log_std) for mean, log_std in posteriors]
        densities = [self._densities(*of) for of in zip(images, codes, posteriors, strict=True)]
        together = gather_together(*densities, *codes)
        loss, terms = self.loss(torch.cat(together[: self.views]), torch.stack(together[self.views :], dim=1))
        return StepOutput(loss, terms, stack_features([mean for mean, _ in posteriors]))

    def loss(self, densities: Tensor, codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss, in nats an image, and its terms from the global batch.

        Args:
            densities: (N, 3) log p(x|z), log q(z|x) and log p(z) of every image.
            codes: (B, V, Z) drawn codes.
        """
        likelihood, posterior, prior = densities.unbind(1)
        loss = BOUNDS[self.bound](likelihood, posterior, prior)
        means = -densities.mean(0)
        terms = detach_terms(reconstruction=means[0], posterior=means[1], prior=means[2])
        if not self.contrast:
            return loss, terms
        contrast = cmim(codes, self.temperature)
        return loss + self.contrast * contrast, terms | detach_terms(contrast=contrast)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and logarithm of the deviation (N, Z) of the posteriors of normalised images (N, 3, S, S).

        Raises:
            ValueError: for images of another size.
        """
        if images.shape[2:] != (self.image_size,) * 2:
            raise ValueError(f"CMIM was built for images of {self.image_size} pixels, got {tuple(images.shape[2:])}")
        mean, log_std = self.posterior(self.encoder.feature_map(images).flatten(1)).chunk(2, dim=1)
        return mean, log_std.clamp(min=MIN_LOG_STD)

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        mean, _ = self.encode(self.normalise(inputs))
        return {"all": widen(mean), "decoder": widen(self.decoder.embed(mean))}

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        mean, _ = self.encode(self.normalise(images))
        drawn = torch.randn(mean.shape, generator=generator).to(mean)
        return {"reconstruction": self.denormalise(self.decoder(mean)), "sample": self.denormalise(self.decoder(drawn))}

    def _densities(self, images: Tensor, codes: Tensor, posterior: tuple[Tensor, Tensor]) -> Tensor:
        """(B, 3) log p(x|z), log q(z|x) and log p(z)."""
        zero = codes.new_zeros(1)
        found = (
            gaussian_log_density(images, self.decoder(codes), self.pixel_log_std),
            gaussian_log_density(codes, *posterior),
            gaussian_log_density(codes, zero, zero),
        )
        return torch.stack(found, dim=1)


def draw(mean: Tensor, log_std: Tensor) -> Tensor:
    """Draw a code from each posterior, with a gradient; every process draws the noise of the global batch.

    Args:
        mean, log_std: (B, Z) of this process.
    """
    noise = torch.randn(len(mean) * world_size(), *mean.shape[1:])
    return mean + log_std.exp() * own_rows(noise).to(mean)
