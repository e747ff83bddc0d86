"""Tiny methods and batches for the tests in this folder (also imported by gloo_worker.py)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import threediebench_schema
from equissl.encoders.config import EncoderConfig
from equissl.geometry import euler_to_rotmat
from equissl.methods import METHODS, Method, StepOutput
from equissl.methods.views.translator import TranslatorConfig
from equissl.objectives import ObjectiveConfig

IMAGE_SIZE = 64
NUM_CLASSES = 5
VIT = EncoderConfig(
    "timm/vit_tiny_patch16_224",
    options={"img_size": IMAGE_SIZE, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2},
)
_DECODER = {"encoder": VIT, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "views": 2}
TRANSLATOR = TranslatorConfig(EncoderConfig(width=4), NUM_CLASSES, IMAGE_SIZE, code_dim=8, decoder_width=2)
# By class name; what follows a space tells variants of one class apart.
_TINY: dict[str, dict[str, Any]] = {
    "VICReg": {"projector": (12, 10)},
    "SimCLR": {"projector": (12, 10)},
    "Invariant": {"projector": (12, 10)},
    "Invariant byol": {"projector": (12, 10), "objective": ObjectiveConfig("byol", {"hidden": 8})},
    "Invariant hydra": {
        "projector": (12, 10),
        "objective": ObjectiveConfig("hydra", {"classes": 5, "pairs": "identical", "width": 8, "hidden": 8}),
    },
    "Invariant hallucinator": {
        "projector": (12, 10),
        "objective": ObjectiveConfig("hallucinator", {"extrapolation": 0.0}),  # else every step draws another one
    },
    "OBoW": {"words": 12, "inverse_delta": 2.0, "views": 2},
    "Concatenated": {"projector": (12, 10), "stages": 2},
    "AugSelf": {"projector": (12, 10), "hidden": 16},
    "Composed": {"projector": (12, 10)},
    "Composed split": {
        "projector": (24, 20),
        "split": True,
        "invariant": ObjectiveConfig("nt_xent"),
        "equivariant": ObjectiveConfig("nt_xent"),
        "predictor": "mlp",
        "action": "quaternion+hue",
    },
    "Composed only": {"projector": (12, 10), "invariant": None},
    "Composed conditional": {
        "projector": (12, 10),
        "invariant": ObjectiveConfig("byol", {"hidden": 8}),
        "equivariant": ObjectiveConfig("cosine_prediction"),
        "target": "teacher",
    },
    "CMIM": {"image_size": IMAGE_SIZE, "code_dim": 8, "decoder_width": 2, "views": 2},
    "CMIM vae": {
        "image_size": IMAGE_SIZE,
        "code_dim": 8,
        "decoder_width": 2,
        "views": 2,
        "bound": "vae",
        "contrast": 0.0,
    },
    "MAE": _DECODER,
    "MAE avg": {
        **_DECODER,
        "encoder": replace(VIT, options={**VIT.options, "global_pool": "avg", "reg_tokens": 1}),
        "normalise_patches": False,
    },
    "MixedAE": {**_DECODER, "group": 2},
    "MixedAE naive": {**_DECODER, "group": 2, "mixtures": 2, "homologous": 0, "segments": False, "contrast": 0.0},
    "SIRL": {"projector": (12, 10)},
    "SIRL softmax": {"projector": (12, 10), "loss": "softmax"},
    "Translator": {"num_classes": NUM_CLASSES, "image_size": IMAGE_SIZE, "code_dim": 8, "decoder_width": 2},
    "CDvG": {"projector": (12, 10), "translator": TRANSLATOR},
    "CDvG supcon": {
        "projector": (12, 10),
        "translator": TRANSLATOR,
        "objective": ObjectiveConfig("supcon"),
        "supervised": 0.0,
    },
    "SIE": {"projector": (24, 20)},
    "EquiCaps": {"image_size": IMAGE_SIZE, "capsules": 4},
    "EquiCaps 4x4": {"image_size": IMAGE_SIZE, "capsules": 4, "pose": "rigid"},
    "CapsIE": {"image_size": IMAGE_SIZE, "capsules": 4, "pose_dim": 5},
    "GroupEquivariant": {"projector": (12, 10), "irreps": "2x0e+3x1e+2x2e", "irrep_projector": (12,)},
    "GroupEquivariant alignment": {
        "projector": (12, 10),
        "irreps": "1x0e+2x1e+2x2e",
        "irrep_projector": (12,),
        "equi_loss": "alignment",
    },
    "ConvJEPA": {"views": 2, "action": "quaternion", "action_dim": 8, "projector": (12, 10), "hidden": 16},
    "SeqJEPA": {"views": 2, "action_dim": 8, "layers": 2, "hidden": 16, "dropout": 0.0},
    "SeqJEPA all": {
        "views": 2,
        "action": "quaternion+scene",
        "condition": "predictor",
        "action_dim": 8,
        "layers": 1,
        "hidden": 16,
        "dropout": 0.0,
    },
    "SeqJEPA contrast": {
        "views": 2,
        "action_dim": 8,
        "layers": 1,
        "hidden": 16,
        "dropout": 0.0,
        "contrast": 0.3,
        "augmenter": (8,),
    },
    "SeqJEPA blind": {"views": 2, "action": None, "layers": 1, "hidden": 16, "dropout": 0.0},
    "Classifier": {"num_classes": NUM_CLASSES, "views": 2},
    "Classifier frozen": {"num_classes": NUM_CLASSES, "views": 2, "frozen": True},
    "CoreTuning": {"num_classes": NUM_CLASSES, "views": 2, "contrast": (12, 10), "temperature": 0.5},
    "CustomContrast": {"projector": (12, 10), "stage_projector": (9, 7)},
    "CustomContrast plain": {"projector": (12, 10), "stages": ()},
    "Supervised": {"num_classes": NUM_CLASSES, "hidden": 16},
}
CASES = list(_TINY)
# More than two views: not for the tests that every method runs.
MORE_VIEWS = {
    "SeqJEPA four": {**_TINY["SeqJEPA"], "views": 4},
    "GroupEquivariant three": {**_TINY["GroupEquivariant"], "views": 3},
}


def tiny_method(name: str, seed: int = 0, **changes: Any) -> Method:
    """A small method with no parameter at a special starting value (zero branches, uniform routing)."""
    torch.manual_seed(seed)
    given = {"encoder": EncoderConfig(width=4), **(_TINY | MORE_VIEWS)[name], **changes}
    method = METHODS[name.split()[0]](**given)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return method


def seeded_step(method: Method, batch: ViewBatch) -> StepOutput:
    """A step whose random draws (codes, masks) are the same every time."""
    torch.manual_seed(0)
    return method.step(batch)


def make_batch(objects: int = 6, size: int = IMAGE_SIZE, views: int = 2, seed: int = 0) -> ViewBatch:
    """Smooth random uint8 images with random latents and translations."""
    generator = torch.Generator().manual_seed(seed)
    schema = threediebench_schema()
    latents = torch.rand(objects, views, len(schema), generator=generator, dtype=torch.float64)
    latents[..., :3] = (latents[..., :3] - 0.5) * math.pi
    coarse = torch.rand(objects * views, 3, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").mul(255).to(torch.uint8)
    labels = torch.arange(objects) % NUM_CLASSES
    rotations = euler_to_rotmat(latents[..., :3])
    translations = torch.rand(objects, views, 3, generator=generator, dtype=torch.float64) - 0.5
    return ViewBatch(images.view(objects, views, 3, size, size), rotations, latents, labels, schema, translations)


@pytest.fixture
def batch(request: pytest.FixtureRequest) -> ViewBatch:
    """Two views of each object, or as many as the method of a test's ``case`` takes."""
    if "case" not in request.fixturenames:
        return make_batch()
    return make_batch(views=tiny_method(request.getfixturevalue("case")).views)


@pytest.fixture
def build_batch() -> Any:
    return make_batch


@pytest.fixture
def build_method() -> Any:
    return tiny_method


@pytest.fixture
def small_vit() -> EncoderConfig:
    return VIT


@pytest.fixture
def take_step() -> Any:
    return seeded_step


@pytest.fixture
def cases() -> list[str]:
    return CASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``case`` runs for every tiny method."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES)
