"""Every option of seq-JEPA's training scripts, under the authors' names, computes the same here after its import."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from published_seqjepa import CLASSES, PublishedSeqJEPA
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from equissl import cli
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.schema import augmentation_schema, saccade_schema, threediebench_schema
from equissl.evaluation import evaluate
from equissl.geometry import euler_to_rotmat
from equissl.runs import load_config, load_method
from equissl.weights import StoredWeights, WeightsError, find_layout
from equissl.weights.imports import filled_config, filled_method
from equissl.weights.script import Script

SMALL: dict[str, Any] = {"num_enc_layers": 1, "act_projdim": 32, "pred_hidden": 16}
if os.environ.get("PUBLISHED_SIZES") == "1":
    SMALL = {}
NUMBERS = {"rot": 4, "rotcolor": 6, "all": 8, "aug": 9, "crop": 4, "colorjitter": 4, "blur": 1, "position": 2}
COLUMNS = {"aug": slice(0, 9), "crop": slice(0, 4), "colorjitter": slice(4, 8), "blur": slice(8, 9)}
SCHEMAS = {"3diebench": threediebench_schema, "stl10": saccade_schema, "imagenet": saccade_schema}
# data set, latent type, the script's arguments, and flags that the import has to be given
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("3diebench", "rot", {}, {}),
    ("3diebench", "rotcolor", {"num_heads": 8}, {"num_heads": 8}),
    ("3diebench", "all", {"num_heads": 2, "num_enc_layers": 2, "act_projdim": 64}, {"num_heads": 2}),
    ("3diebench", "rot", {"act_cond": 0}, {}),
    ("3diebench", "rot", {"learn_act_emb": 0}, {}),
    ("3diebench", "rotcolor", {"learn_act_emb": 0}, {}),
    ("3diebench", "rot", {"pred_hidden": 0, "ema": True}, {}),
    ("cifar100", "aug", {"cifar_resnet": True}, {"views": 3}),
    ("cifar100", "aug", {"cifar_resnet": True, "no_blur": True}, {"views": 2}),
    ("cifar100", "crop", {"cifar_resnet": True, "no_blur": True}, {"latent_type": "crop", "no_blur": True}),
    ("cifar100", "colorjitter", {"cifar_resnet": True}, {"latent_type": "colorjitter", "no_blur": False}),
    ("cifar100", "blur", {"learn_act_emb": 0}, {}),
    ("cifar100", "aug", {"learn_act_emb": 0, "num_heads": 8}, {"num_heads": 8}),
    ("tinyimagenet", "aug", {}, {}),
    ("tinyimagenet", "blur", {"act_cond": 0}, {}),
    ("stl10", "position", {"cifar_resnet": True, "pred_hidden": 0}, {"views": 4}),
    ("stl10", "position", {"cifar_resnet": True, "act_cond": 0}, {}),
    ("imagenet", "position", {"act_cond": 0, "learn_act_emb": 0}, {}),
]  # fmt: skip


def numbers(latent: str, given: dict[str, Any]) -> int:
    return 8 if latent == "aug" and given.get("no_blur") else NUMBERS[latent]


def published(dataset: str, latent: str, given: dict[str, Any], **more: Any) -> PublishedSeqJEPA:
    torch.manual_seed(3)
    args = {**SMALL, **{key: value for key, value in given.items() if key != "no_blur"}}
    model = PublishedSeqJEPA(dataset, numbers(latent, given), **args, **more)
    nn.init.normal_(model.agg_token)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def sequences(dataset: str, views: int) -> ViewBatch:
    generator = torch.Generator().manual_seed(views)
    schema = SCHEMAS.get(dataset, augmentation_schema)()
    latents = torch.rand(4, views, len(schema), generator=generator, dtype=torch.float64)
    images = torch.randn(4, views, 3, 16, 16, generator=generator, dtype=torch.float64)
    angles = latents[..., :3] if dataset == "3diebench" else torch.zeros(4, views, 3, dtype=torch.float64)
    return ViewBatch(images, euler_to_rotmat(angles), latents, torch.zeros(4, dtype=torch.long), schema)


def told(dataset: str, latent: str, given: dict[str, Any], latents: Tensor) -> tuple[Tensor, Tensor]:
    """Changes (B, M, A) and states (B, M + 1, A), by the descriptions of the authors' data sets and training loops."""
    states = latents
    if dataset in ("cifar100", "tinyimagenet"):
        pixels = 32.0 if dataset == "cifar100" else 64.0
        params = latents * torch.tensor([pixels] * 4 + [1.0] * 5)  # crops are in pixels of the source image there
        columns = slice(0, 8) if given.get("no_blur") and latent == "aug" else COLUMNS[latent]
        states = F.normalize(params[:, :, columns], dim=1)
    changes = states[:, 1:] - states[:, :-1]
    if dataset != "3diebench":
        return changes, states
    turns = [Rotation.from_euler("xyz", view.numpy()) for view in latents[..., :3].unbind(1)]
    quats = [torch.from_numpy((a.inv() * b).as_quat()) for a, b in pairwise(turns)]
    rest = {"rot": [], "rotcolor": [3, 6], "all": [3, 4, 5, 6]}[latent]
    return torch.cat([torch.stack(quats, 1), changes[..., rest]], dim=2), states


@pytest.mark.parametrize(("dataset", "latent", "given", "flags"), CASES)
def test_every_option_computes_what_the_authors_model_does(
    dataset: str, latent: str, given: dict[str, Any], flags: dict[str, Any]
) -> None:
    model = published(dataset, latent, given)
    script = Script(flags, {})
    stored = StoredWeights(Path("model.pth"), model.state_dict(), 100, "", None)
    layout = find_layout("seqjepa", stored.tensors, script)
    script.check_flags("seqjepa")
    config = filled_config(layout, stored, None)
    ours, theirs = filled_method(stored, layout, config).double().eval(), model.double()
    batch = sequences(dataset, ours.views)
    assert ours.views == flags.get("views", 5 if dataset in ("stl10", "imagenet") else 4)
    changes, states = told(dataset, latent, given, batch.latents)
    with torch.no_grad():
        loss, aggregate = theirs(batch.images, changes, states)
        out = ours.step(batch)
        found = ours.aggregate(out.features[:, :-1], ours.embed_actions(ours.actions(batch)))
    torch.testing.assert_close(out.loss, loss, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, aggregate, rtol=1e-9, atol=1e-9)
    if not given.get("act_cond", 1):
        assert ours.action is None


STATISTICS = {
    "3diebench": ((0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "tinyimagenet": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2241, 0.2215, 0.2239)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@pytest.fixture(scope="module")
def tensors() -> Callable[..., dict[str, Tensor]]:
    """Names and shapes of a model, without numbers."""

    def make(dataset: str, latent: str, probes: bool = True, **given: Any) -> dict[str, Tensor]:
        with torch.device("meta"):
            model = PublishedSeqJEPA(dataset, numbers(latent, given), probes, **{**given, "no_blur": None})
        return model.state_dict()

    return make


@pytest.mark.parametrize("dataset", CLASSES)
def test_the_data_set_fixes_pixel_statistics(dataset: str, tensors: Any) -> None:
    """By the probes' classes, by the name of the run, or by a flag."""
    latent = {"3diebench": "rot", "stl10": "position", "imagenet": "position"}.get(dataset, "aug")
    bare = tensors(dataset, latent, probes=False)
    for weights, script in (
        (tensors(dataset, latent), Script()),
        (bare, Script({}, {"run_id": f"wandbid-x1_seqjepa-{dataset}"})),
        (bare, Script({"dataset": dataset})),
    ):
        args = find_layout("seqjepa", weights, script).init_args
        assert (tuple(args["encoder"]["pixel_mean"]), tuple(args["encoder"]["pixel_std"])) == STATISTICS[dataset]
        assert args.get("over_views", False) == (dataset in ("cifar100", "tinyimagenet"))


def test_what_the_file_cannot_tell_is_asked(tensors: Any) -> None:
    def layout(weights: dict[str, Tensor], **flags: Any) -> Any:
        script = Script(flags)
        found = find_layout("seqjepa", weights, script)
        script.check_flags("seqjepa")
        return found, script.assumed

    small, rotations = {"cifar_resnet": True}, tensors("3diebench", "rot")
    for weights, flags, message in (
        (tensors("cifar100", "crop", **small), {}, "those of crop or colorjitter, which the file does not tell"),
        (tensors("cifar100", "crop", probes=False, **small), {}, "3diebench or cifar100 or tinyimagenet, whose pixel"),
        (tensors("cifar100", "aug", probes=False, **small), {}, "cifar100 or tinyimagenet, whose pixel"),
        (tensors("stl10", "position", probes=False, **small), {}, "stl10 or imagenet, whose pixel"),
        (tensors("cifar100", "aug"), {"dataset": "3diebench"}, "trained on cifar100, as their probes .* not on 3dieb"),
        (rotations, {"latent_type": "crop"}, "'crop' is not among these: rot"),
        (rotations, {"num_heads": 7}, "divide the transformer's 640 channels, got 7"),
        (rotations, {"no_blur": True}, "what --no_blur would say"),
        (tensors("cifar100", "aug"), {"no_blur": True}, "a model that is told 9 numbers on cifar100"),
        (
            tensors("3diebench", "rot") | {"action_proj.0.weight": torch.zeros(128, 7)},
            {},
            "told 7 numbers on 3diebench",
        ),
    ):
        with pytest.raises(WeightsError, match=message):
            layout(weights, **flags)
    found, assumed = layout(tensors("3diebench", "rot", probes=False))
    said = "\n".join(assumed)
    assert all(part in said for part in ("dataset 3diebench", "views 4", "num_heads 4", "sign legacy"))
    assert found.config["data"] == {}
    flags = {"dataset": "3diebench", "views": 3, "num_heads": 8, "sign": "legacy_negated"}
    found, assumed = layout(tensors("3diebench", "rot"), **flags)
    assert not assumed and found.init_args["views"] == 3 and found.init_args["sign"] == "legacy_negated"
    found, assumed = layout(tensors("cifar100", "aug", no_blur=True), views=3, num_heads=4)
    assert not assumed and found.config["data"]["policy_options"] == {"blur": 0.0, "last": {"blur": 0.0}}
    assert "no_blur False" in "\n".join(layout(tensors("cifar100", "crop"), latent_type="crop")[1])


def test_import_on_the_command_line(tmp_path: Path, save: Callable[..., Path], capsys: Any) -> None:
    """Flags as the authors' script spells them; the run's config says what the weights were trained on."""
    model = published("cifar100", "crop", {"cifar_resnet": True, "num_heads": 8, "ema": True})
    file = save(model.state_dict(), prefix="", run_id="wandbid-no-id_seqjepa-cifar100", min_loss=0.1)
    words = ["--latent-type", "crop", "--num-heads=8", "--no-blur", "--views", "3"]
    assert cli.main(["import", "seqjepa", str(file), "--out", str(tmp_path / "run"), *words]) == 0
    printed = capsys.readouterr().err
    assert "left out: online_linprobe, online_equiprobe" in printed and "assumed" not in printed
    config, (method, _) = load_config(tmp_path / "run/config.yaml"), load_method(tmp_path / "run")
    assert (method.aggregator.encoder.layers[0].self_attn.num_heads, method.action.parts) == (8, ["crop"])
    assert (config.data.kind, config.data.policy, config.data.policy_options["blur"]) == ("images", "seq_jepa", 0.0)
    assert torch.equal(method.teacher["encoder"].model.conv1.weight, model.target_encoder.conv1.weight)
    with pytest.raises(ValueError, match="names no images: say with --store"):
        evaluate(tmp_path / "run")
    assert cli.main(["import", "seqjepa", str(file), "--out", str(tmp_path / "other")]) != 0
    assert "--latent_type" in capsys.readouterr().err
