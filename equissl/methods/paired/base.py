"""Interface of methods on paired data: an encoder and a projector for each modality, into one space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from equissl.datasets.paired.batch import PairedBatch
from equissl.encoders import Projector
from equissl.encoders.cloud.config import CloudEncoderConfig
from equissl.encoders.config import EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.encoders.text.tokenizer import Tokenizer
from equissl.methods.base import gather_together, widen
from equissl.methods.views.base import ViewMethod

Modality = Literal["image", "cloud", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "cloud", "text")


class PairedMethod(ViewMethod):
    """A method on images and at least one other modality of the same objects.

    The image branch is that of a `ViewMethod`: what evaluates or exports an image encoder takes it.

    Args:
        encoder: of images.
        cloud: encoder of point clouds; None for a method without.
        text: encoder of words; None for a method without.
        projector: sizes of the layers of each modality's projector, the last that of the common space.
        views, clouds, texts: of each object in a batch; those of a modality without an encoder are not read.

    Attributes:
        modalities: what it learns from, in the order of `MODALITIES`.
        clouds, texts: how many of each object it takes; 0 without an encoder.

    Raises:
        ValueError: for images alone, or fewer than one of a modality.
    """

    kind = "paired"
    batch = PairedBatch

    def __init__(
        self,
        encoder: EncoderConfig,
        cloud: CloudEncoderConfig | None,
        text: TextEncoderConfig | None,
        projector: Sequence[int],
        views: int = 1,
        clouds: int = 1,
        texts: int = 1,
    ) -> None:
        super().__init__(encoder)
        if cloud is None and text is None:
            raise ValueError("expected an encoder of clouds or of text beside that of images, got neither")
        if min(views, clouds, texts) < 1:
            raise ValueError(f"expected views, clouds and texts of at least 1, got {views}, {clouds} and {texts}")
        self.cloud = None if cloud is None else cloud.build()
        self.text = None if text is None else text.build()
        self.views, self.clouds, self.texts = views, clouds * (cloud is not None), texts * (text is not None)
        sizes = {name: of.feature_dim for name, of in self.encoders().items()}
        if self.cloud is not None:
            sizes["cloud"] = self.cloud.invariant_dim
        self.projectors = nn.ModuleDict({name: Projector(size, projector) for name, size in sizes.items()})

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoders())

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Tokenizer of the text encoder; None without one."""
        return None if self.text is None else self.text.tokenizer

    @property
    def text_length(self) -> int:
        """Tokens of a text, at most; 0 without an encoder of texts."""
        return 0 if self.text is None else self.text.length

    def encoders(self) -> dict[str, Any]:
        """Return the encoder of each modality that the method learns from."""
        found = {"image": self.encoder, "cloud": self.cloud, "text": self.text}
        return {name: found[name] for name in MODALITIES if found[name] is not None}

    def represent(self, batch: PairedBatch, encoders: Mapping[str, nn.Module] | None = None) -> dict[str, Tensor]:
        """Encode what the method learns from: (B, K, D) for the K images, clouds or texts of each object.

        Args:
            batch: of this process.
            encoders: of each modality; None takes the method's own.

        Raises:
            ValueError: for a batch that lacks a modality, or has another number of items.
        """
        return {name: each(encode, *self.inputs(name, batch)) for name, encode in (encoders or self.encoders()).items()}

    def inputs(self, modality: str, batch: PairedBatch) -> tuple[Tensor, ...]:
        """Return what the encoder of a modality takes, (B, K, …) each.

        Args:
            modality: one of `modalities`.
            batch: of this process.

        Raises:
            ValueError: for a batch that lacks the modality, or has another number of its items.
        """
        wanted = {"image": self.views, "cloud": self.clouds, "text": self.texts}[modality]
        found = _items(modality, batch)
        if found is None or found[0].shape[1] != wanted:
            got = "none" if found is None else found[0].shape[1]
            raise ValueError(f"{type(self).__name__} takes {wanted} of modality {modality} per object, got {got}")
        return (self.normalise(found[0]),) if modality == "image" else found

    def project(
        self, representations: Mapping[str, Tensor], projectors: Mapping[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """Project representations (B, K, D) of each modality to the common space, (B, K, E).

        Args:
            representations: of each modality.
            projectors: of each modality; None takes the method's own.
        """
        heads = dict(self.projectors.items()) if projectors is None else projectors
        return {name: each(heads[name], each(self.read(name), found)) for name, found in representations.items()}

    def read(self, modality: str) -> Callable[[Tensor], Tensor]:
        """Return the function from a modality's representation (N, D) to what its projector reads of it.

        Of clouds that is what a rotation leaves alone; the whole representation where the encoder knows no rotations.

        Args:
            modality: one of `modalities`.
        """
        return self.cloud.invariants if modality == "cloud" and self.cloud is not None else lambda found: found

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.embed("image", parts["all"])

    def embed(self, modality: str, representation: Tensor) -> Tensor:
        """Embed representations (N, D) of a modality in the common space, as retrieval compares them: (N, E).

        Args:
            modality: one of `modalities`.
            representation: of the modality's encoder.
        """
        return widen(self.projectors[modality](self.read(modality)(representation)))


def each(encode: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Encode K inputs of each of B objects, (B, K, …) to (B, K, D), all at once.

    Args:
        encode: from (N, …) to (N, D).
        *inputs: what it takes.
    """
    return encode(*(x.flatten(0, 1) for x in inputs)).unflatten(0, inputs[0].shape[:2])


def gather_modalities(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather embeddings (B, K, E) of each modality to the global batch, in one exchange and in full precision.

    Args:
        embeddings: of this process.
    """
    together = gather_together(*(of.flatten(1) for of in embeddings.values()))
    return {name: z.unflatten(1, embeddings[name].shape[1:]) for name, z in zip(embeddings, together, strict=True)}


def _items(modality: str, batch: PairedBatch) -> tuple[Tensor, ...] | None:
    """Return the tensors of a batch that an encoder of the modality reads; None where the batch has none."""
    if modality == "image":
        return None if batch.views is None else (batch.views.images,)
    if modality == "cloud":
        clouds = batch.clouds
        return None if clouds is None else (clouds.points, clouds.normals, clouds.colours)
    return None if batch.texts is None else (batch.texts.tokens, batch.texts.lengths)
