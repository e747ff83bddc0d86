"""Translation of views between classes of a biased store: the first of CDvG's two networks (arXiv 2112.01021).

The paper's: an image-translation network, trained on the biased set with class labels as its domains, changes what is
bound to the class and easy, and not the class. Its generator is unread. Ours: in place of an adversarial network a
conditional variational autoencoder, whose decoder is told the class and whose code is kept from telling it, as Lopez et
al. do with another measure of dependence (arXiv 1805.08672), so that the decoder takes from the class what is bound to
it, the bias first; and the translation as a difference of two decoded images, added to the view, so that the decoder's
blur stays out of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.conv_decoder import ConvDecoder
from equissl.losses import class_share, gather, gaussian_log_density
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features, widen
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.cmim import MIN_LOG_STD, draw
from equissl.methods.views.labels import LabelCheck


class Translator(ViewMethod):
    """Conditional variational autoencoder of single views, trained with their classes.

    Minimises −log p(x|z, y) + beta · KL(q(z|x) ‖ p(z)), in nats an image, with a Gaussian likelihood of normalised
    pixels of one learned deviation (Rybkin et al. 2021, arXiv 2006.13202), plus the share of the codes' variance that
    lies between classes (:func:`equissl.losses.class_share`).

    Args:
        encoder: image encoder with a feature map, from which the posterior is read.
        num_classes: classes to translate between; 55 in 3DIEBench.
        image_size: side of the images in pixels; 8, 16, 32, 64 …
        code_dim: size of a code.
        decoder_width: channels of the decoder's last layers.
        beta: weight of the KL.
        independence: weight of the share between classes; without it the code tells the bias, and the class is not
            asked.
        views: views of each object in a batch, each an image of its own.

    Raises:
        ValueError: for a beta that is not above 0, fewer than two classes, a code without numbers, no views, or an
            image size that encoder or decoder does not have.
    """

    num_classes: int

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        num_classes: int = 55,
        image_size: int = 32,
        code_dim: int = 32,
        decoder_width: int = 16,
        beta: float = 1.0,
        independence: float = 1000.0,
        views: int = 2,
    ) -> None:
        super().__init__(encoder)
        if num_classes < 2 or min(code_dim, views) < 1 or not (beta > 0 and independence >= 0):
            got = f"{num_classes}, {code_dim}, {views}, {beta} and {independence}"
            raise ValueError(
                "expected at least 2 num_classes, code_dim and views of at least 1, beta above 0 and independence of "
                f"at least 0, got {got}"
            )
        self.num_classes, self.image_size, self.views = num_classes, image_size, views
        self.beta, self.independence = beta, independence
        self.feature_dim = code_dim
        channels, side = self.encoder.map_shape(image_size)
        self.posterior = nn.Linear(channels * side**2, 2 * code_dim)
        self.decoder = ConvDecoder(code_dim + num_classes, image_size, decoder_width)
        self.pixel_log_std = nn.Parameter(torch.zeros(1))
        self._check_labels = LabelCheck(num_classes)

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        self._check_labels(batch.labels)
        images = [self.normalise(batch.images[:, view]) for view in range(self.views)]
        posteriors = [self.encode(x) for x in images]
        codes = [draw(*posterior) for posterior in posteriors]
        decoded = [self.decode(code, batch.labels) for code in codes]
        costs = [self.costs(*of) for of in zip(images, decoded, posteriors, strict=True)]
        together = gather_together(*costs, *codes)
        reconstruction, divergence = torch.cat(together[: self.views]).mean(0).unbind(0)
        told = class_share(torch.cat(together[self.views :]), gather(batch.labels).repeat(self.views), self.num_classes)
        loss = reconstruction + self.beta * divergence + self.independence * told
        terms = detach_terms(reconstruction=reconstruction, divergence=divergence, class_share=told)
        return StepOutput(loss, terms, stack_features([mean for mean, _ in posteriors]))

    def costs(self, images: Tensor, decoded: Tensor, posterior: tuple[Tensor, Tensor]) -> Tensor:
        """Compute −log p(x|z, y) and KL(q(z|x) ‖ p(z)) of every image: (N, 2) nats.

        Args:
            images: (N, 3, S, S), normalised.
            decoded: (N, 3, S, S) means of the likelihood.
            posterior: mean and logarithm of the deviation (N, Z).
        """
        mean, log_std = (widen(x) for x in posterior)
        divergence = ((mean.square() + (2 * log_std).exp() - 1) / 2 - log_std).sum(dim=1)
        return torch.stack([-gaussian_log_density(images, decoded, self.pixel_log_std), divergence], dim=1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and logarithm of the deviation (N, Z) of the posteriors.

        Args:
            images: (N, 3, S, S), normalised.

        Raises:
            ValueError: for images of another size.
        """
        if images.shape[2:] != (self.image_size,) * 2:
            raise ValueError(
                f"the translator was built for images of {self.image_size} pixels, got {tuple(images.shape[2:])}"
            )
        mean, log_std = self.posterior(self.encoder.feature_map(images).flatten(1)).chunk(2, dim=1)
        return mean, log_std.clamp(min=MIN_LOG_STD)

    def decode(self, codes: Tensor, classes: Tensor) -> Tensor:
        """Decode images (N, 3, S, S).

        Args:
            codes: (N, Z).
            classes: (N,) indices.
        """
        told = F.one_hot(classes, self.num_classes).to(codes.dtype)
        return self.decoder(torch.cat([codes, told], dim=1))

    def translate(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Translate images from their classes to others: x + decode(z, target) − decode(z, label).

        An image whose target is its own class stays as it is.

        Args:
            images: (N, 3, S, S), normalised.
            labels: (N,) their classes.
            targets: (N,) classes to translate to.

        Raises:
            ValueError: for labels outside of the classes.
        """
        self._check_labels(labels)
        codes, _ = self.encode(images)
        return images + (self.decode(codes, targets) - self.decode(codes, labels)).to(images.dtype)

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"all": widen(self.encode(self.normalise(inputs))[0])}


@dataclass
class TranslatorConfig:
    """Networks of a frozen translator: the arguments of the `Translator` of the run that its weights come from.

    Attributes:
        encoder, num_classes, image_size, code_dim, decoder_width: see :class:`Translator`.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    num_classes: int = 55
    image_size: int = 32
    code_dim: int = 32
    decoder_width: int = 16

    def build(self) -> Translator:
        """Create the translator, without gradients and in eval mode."""
        arguments = {**asdict(self), "encoder": self.encoder}
        return Translator(**arguments).eval().requires_grad_(False)


DEFAULT_TRANSLATOR = TranslatorConfig()
