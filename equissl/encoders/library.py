"""Backbones of torchvision and timm behind the project's encoder interface, with fresh weights."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoders.base import Encoder
from equissl.encoders.resnet import Stem
from equissl.util.registry import did_you_mean


class TorchvisionEncoder(Encoder):
    """A torchvision classifier without its head; ``model`` keeps torchvision's parameter names.

    Args:
        name: as in ``torchvision.models.list_models()``, for example ``resnet18``.
        **options: passed on to ``torchvision.models.get_model``.

    Raises:
        ValueError: if the model has no convolutional feature map that is known how to reach.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        from torchvision.models import get_model

        self.model = get_model(name, weights=None, **options)
        if not hasattr(self.model, "layer4") and not isinstance(getattr(self.model, "features", None), nn.Module):
            raise ValueError(
                f"torchvision's {name!r} has no convolutional feature map; a timm model of its kind may do"
            )
        for head in ("fc", "classifier"):
            if hasattr(self.model, head):
                setattr(self.model, head, nn.Identity())
        self.feature_dim = self.map_shape(64)[0]

    def use_small_stem(self) -> None:
        """Replace a ResNet's first layers for images of 32 pixels: 3x3 without stride, no max-pool."""
        channels = self.model.conv1.out_channels
        self.model.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.model.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.model.maxpool = nn.Identity()

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the last map (N, D, h, w) of normalised images (N, 3, H, W)."""
        model = self.model
        if hasattr(model, "features"):
            x = model.features(images)
            # DenseNet leaves its last ReLU to the head
            return F.relu(x) if type(model).__name__ == "DenseNet" else x
        return self.stage_maps(images)[-1]

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the four stages of a ResNet; of other models the last map alone."""
        model = self.model
        if hasattr(model, "features"):
            return [self.feature_map(images)]
        maps = [model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(images)))))]
        for stage in (model.layer2, model.layer3, model.layer4):
            maps.append(stage(maps[-1]))
        return maps


class TimmEncoder(Encoder):
    """A timm model without its classifier.

    Args:
        name: as in ``timm.list_models()``.
        **options: passed on to ``timm.create_model``, for example ``img_size`` for a vision transformer.

    Raises:
        ImportError: if timm is not installed, with the command that installs it.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self.model = _timm().create_model(name, pretrained=False, num_classes=0, **options)
        self.feature_dim = self.model.num_features
        if (size := getattr(getattr(self.model, "patch_embed", None), "img_size", None)) is not None:
            self.probe_size = int(size[0])

    def feature_map(self, images: Tensor) -> Tensor:
        """Compute the last map (N, C, h, w) of normalised images (N, 3, H, W).

        Raises:
            ValueError: if the model's features are tokens, not a map, from which alone no vector is pooled.
        """
        return self._checked(self.model.forward_features(images))

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps that timm takes from a model, its stem's among them; of models without, the last map alone.

        Of a transformer they are the patches' tokens behind each block, the last ones normalised as the vector is.

        Raises:
            ValueError: for a model without intermediate maps whose features are tokens.
        """
        return self.encode_stages(images)[1]

    def encode_stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not hasattr(self.model, "forward_intermediates"):
            last = self.feature_map(images)
            return self.pool(last), [last]
        last, maps = self.model.forward_intermediates(images)
        return self.pool(last), [*maps[:-1], self._last_map(last, maps[-1])]

    def _last_map(self, last: Tensor, unnormalised: Tensor) -> Tensor:
        """The map (N, D, h, w) of the model's last features: of patches' tokens (N, T, D), of (N, h, w, D), or itself.

        Args:
            last: behind the last norm.
            unnormalised: (N, C, h, w), before it.
        """
        rows, columns = unnormalised.shape[2:]
        if last.ndim == 3:
            patches = last[:, last.shape[1] - rows * columns :]  # behind class and register tokens
            return patches.transpose(1, 2).unflatten(2, (rows, columns))
        if last.shape[1:3] == (rows, columns) and last.shape[3] == self.feature_dim:
            return last.permute(0, 3, 1, 2)
        return self._checked(last)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.feature_dim:
            raise ValueError(f"expected a map (N, {self.feature_dim}, h, w) from the timm model, got {tuple(x.shape)}")
        return x

    def pool(self, feature_map: Tensor) -> Tensor:
        """Apply the pooling that the model itself uses, to (N, D).

        Args:
            feature_map: the model's last features, a map or, of a transformer, all tokens.
        """
        return self.model.forward_head(feature_map, pre_logits=True)

    def forward(self, images: Tensor) -> Tensor:
        """Compute vectors (N, D) of normalised images (N, 3, H, W)."""
        return self.model(images)


def torchvision_encoder(model: str, stem: Stem = "reference", **options: Any) -> TorchvisionEncoder:
    """Create torchvision's model of that name with fresh weights.

    Args:
        model: torchvision's name.
        stem: ``reference`` for the model's own first layers; ``small`` for images of 32 pixels, ResNets only.
        **options: see :class:`TorchvisionEncoder`.

    Raises:
        ValueError: for an unknown name, or another stem.
    """
    import torchvision.models

    _check_model("torchvision", model, torchvision.models.list_models(module=torchvision.models))
    if stem not in ("reference", *["small"] * model.startswith("resnet")):
        raise ValueError(f"encoder 'torchvision/{model}' has no stem {stem!r}")
    encoder = TorchvisionEncoder(model, **options)
    if stem == "small":
        encoder.use_small_stem()
    return encoder


def timm_encoder(model: str, **options: Any) -> TimmEncoder:
    """Create timm's model of that name with fresh weights.

    Args:
        model: timm's name.
        **options: see :class:`TimmEncoder`.

    Raises:
        ValueError: for an unknown name.
    """
    _check_model("timm", model, _timm().list_models())
    return TimmEncoder(model, **options)


def _check_model(library: str, model: str, known: list[str]) -> None:
    if model not in known:
        hint = did_you_mean(f"{library}/{model}", [f"{library}/{name}" for name in known])
        raise ValueError(f"unknown encoder '{library}/{model}'{hint}; {library} has {len(known)} models")


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError("encoders named timm/… need the package timm: pip install timm") from error
    return timm
