"""E-SSL3D: equivariance to space and time from pairs of LiDAR sweeps (Hegde et al., ECCV 2024, arXiv 2404.11737)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from equissl.encoders.voxel import SweepFeatures, VoxelEncoderConfig
from equissl.geometry.sweep_transforms import SweepTransform, TransformRanges, draw_transforms
from equissl.losses import all_reduce_mean
from equissl.methods.base import StepOutput, detach_terms, stack_features
from equissl.methods.drives.base import DEFAULT_VOXELS, DriveMethod, item_seeds
from equissl.methods.drives.contrast import STAGES, ContrastConfig, site_contrast
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.matching import point_sites
from equissl.methods.drives.scene_flow_equivariance import FlowConfig, SceneFlowEquivariance, flow_views
from equissl.methods.drives.transformations import (
    Target,
    Transformation,
    TransformationClassifier,
    classification_accuracy,
    classification_loss,
    crop_front,
    only,
)

if TYPE_CHECKING:
    from equissl.datasets.drives.pairs.batch import ScenePair

DEFAULT_RANGES = TransformRanges()
DEFAULT_CONTRAST = ContrastConfig()
DEFAULT_FLOW = FlowConfig()
A, B, C, FLOW = 0, 1, 2, 3  # numbers of the views, which their transforms are drawn by


class ESSL3D(DriveMethod):
    """E-SSL3D: ``L = 0.01 L_pnce + 1 L_ce + 300 L_flow``.

    Spatial: two transformed views of the later sweep. Features of the same points are contrasted (translation, scale,
    flip), and a classifier names the bin of the rotation of each. Temporal: the target's features of the earlier sweep,
    moved by the scene flow, are what the predictor makes of the online features of the later one.

    The paper leaves open, or it is not known: the temperature, the stage of the features, the sum over pairs, widths
    and depths of m (see `ContrastConfig`); the normalisation, the empty cells, the symmetry, the transforms of the
    sweeps, the width of q and the course of the momentum (see `FlowConfig`); whether the contrasted views are rotated
    as well (``spatial_mode``), what an angle is measured from (``target``), and the width and depth of s
    (``classifier``). The projector and predictor work on the drawn and on the reached cells alone, so both sides of the
    flow objective have the same cells in their batch norm.

    Args:
        encoder: encoder of the clouds.
        ranges: ranges of the transformations.
        contrast: transformations to be contrasted.
        classify: transformations to be classified. One in neither list is not drawn.
        spatial_mode: ``joint``, two views with all transformations and both losses; ``separate``, two views with those
            of ``contrast`` and a third one with those of ``classify``.
        target: ``absolute`` transformations of each view, or ``relative`` to the first view.
        classifier: sizes of the hidden layers of s.
        points: options of the contrast.
        flow: options of the temporal objective.
        contrast_weight, classification_weight, flow_weight: of the three losses; 0 leaves a loss out.
        crop_before_transform: only what a camera sees ahead enters the spatial views. The border of the wedge then
            shows the angle: an accuracy near 100 % within a few hundred steps tells that the classifier reads it.
        field_of_view: field of view of that camera, degrees.

    Raises:
        ValueError: for impossible options, or nothing to learn.
    """

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        ranges: TransformRanges = DEFAULT_RANGES,
        contrast: Sequence[Transformation] = ("translation", "scale", "flip"),
        classify: Sequence[Transformation] = ("rotation",),
        spatial_mode: Literal["joint", "separate"] = "joint",
        target: Target = "absolute",
        classifier: Sequence[int] = (256, 256),
        points: ContrastConfig = DEFAULT_CONTRAST,
        flow: FlowConfig = DEFAULT_FLOW,
        contrast_weight: float = 0.01,
        classification_weight: float = 1.0,
        flow_weight: float = 300.0,
        crop_before_transform: bool = False,
        field_of_view: float = 90.0,
    ) -> None:
        super().__init__(encoder)
        weights = {"contrast": contrast_weight, "classify": classification_weight, "flow": flow_weight}
        wanted = {"contrast": bool(contrast), "classify": bool(classify), "flow": True}
        self.weights = {name: weight for name, weight in weights.items() if weight and wanted[name]}
        self.separate, self.target, self.points, self.ranges = spatial_mode == "separate", target, points, ranges
        self._check(spatial_mode)
        self.drawn = only(ranges, contrast if self.separate else [*contrast, *classify])
        self.classified = only(ranges, classify)
        self.field_of_view = field_of_view if crop_before_transform else None

        stages = [points.stage] * ("contrast" in self.weights) + [flow.stage] * ("flow" in self.weights)
        self.projectors = nn.ModuleDict(
            {stage: SiteHead(self.encoder.channels[stage], points.projector) for stage in dict.fromkeys(stages)}
        )
        if "classify" not in self.weights:
            self.encoder.freeze_after(max(stages, key=STAGES[::-1].index))
        names = classify if "classify" in self.weights else ()
        self.classifiers = nn.ModuleDict(
            {
                n: TransformationClassifier(n, self.classified, self.feature_dim, classifier, target=target)
                for n in names
            }
        )
        self.flow: SceneFlowEquivariance | None = None
        if "flow" in self.weights:
            self.flow = SceneFlowEquivariance(flow, self.encoder, self._projector(flow.stage))

    @property
    def label(self) -> str:
        return "E-SSL3D"

    def step(self, batch: ScenePair) -> StepOutput:
        losses: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        pooled: list[Tensor] = []
        if self.weights.keys() & {"contrast", "classify"}:
            views, transforms = self._spatial_views(batch)
            pooled = [self.pooled(view) for view in views]
        if "contrast" in self.weights:
            losses["contrast"], found = self._contrast(views[A], views[B], batch)
            terms.update(found)
        if "classify" in self.weights:
            losses["classify"], found = self._classify(pooled, transforms)
            terms.update(found)
        if self.flow is not None:
            pair = flow_views(batch, self.ranges, self.flow.config.views, FLOW)
            losses["flow"], later, found = self.flow(self.encoder, self._projector(self.flow.config.stage), pair)
            terms.update(found)
            pooled = pooled or [self.pooled(later)]
        loss = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        return StepOutput(loss, terms, stack_features(pooled[:2]))

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        if self.flow is not None:
            self.flow.update(step, last_step, self.encoder, self._projector(self.flow.config.stage))

    def _spatial_views(self, batch: ScenePair) -> tuple[list[SweepFeatures], list[SweepTransform]]:
        """Features of the transformed views of the later sweep, and their transforms."""
        clouds = batch.current if self.field_of_view is None else crop_front(batch.current, self.field_of_view)
        transforms = [draw_transforms(self.drawn, batch.seeds, view) for view in (A, B)]
        if self.separate:
            transforms.append(draw_transforms(self.classified, batch.seeds, C))
        return [self.encode(transform.apply(clouds)) for transform in transforms], transforms

    def _contrast(self, a: SweepFeatures, b: SweepFeatures, batch: ScenePair) -> tuple[Tensor, dict[str, Tensor]]:
        """L_pnce: a point's features in both views find each other among those of the sweep's other points."""
        sites = point_sites(a, self.points.stage), point_sites(b, self.points.stage)
        return site_contrast(self._projector(self.points.stage), self.points, (a, b), sites, item_seeds(batch, 0))

    def _classify(self, pooled: list[Tensor], transforms: list[SweepTransform]) -> tuple[Tensor, dict[str, Tensor]]:
        """L_ce: the bin of each view's transformation, mean over views; sum over kinds of transformations."""
        terms: dict[str, Tensor] = {}
        for name, classifier in self.classifiers.items():
            assert isinstance(classifier, TransformationClassifier)
            if self.target == "relative":
                logits = classifier(pooled[A], pooled[-1])
                labels = classifier.labels(transforms[-1], transforms[A])
            else:
                classified = slice(C, None) if self.separate else slice(None)
                logits = torch.cat([classifier(view) for view in pooled[classified]])
                labels = torch.cat([classifier.labels(transform) for transform in transforms[classified]])
            terms[name] = all_reduce_mean(classification_loss(logits, labels))
            terms[f"{name}_accuracy"] = all_reduce_mean(classification_accuracy(logits, labels))
        loss = torch.stack([terms[name] for name in self.classifiers]).sum()
        return loss, detach_terms(**terms)

    def _projector(self, stage: str) -> SiteHead:
        head = self.projectors[stage]
        assert isinstance(head, SiteHead)
        return head

    def _check(self, spatial_mode: str) -> None:
        if spatial_mode not in ("joint", "separate"):
            raise ValueError(f"expected spatial_mode 'joint' or 'separate', got {spatial_mode!r}")
        if not self.weights:
            raise ValueError("nothing to learn: no transformation with a weight, and flow_weight is 0")
        if self.separate and not {"contrast", "classify"} <= self.weights.keys():
            raise ValueError("spatial_mode 'separate' needs transformations to contrast and others to classify")
