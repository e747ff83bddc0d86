"""Made-up samples for the nuScenes metric, and what the nuScenes devkit says of them.

The devkit wants numpy < 2 and much else, so its answers are kept in nuscenes_golden.json. To make them again, in an
environment with nuscenes-devkit: ``python tests/metrics/nuscenes_case.py tests/metrics/nuscenes_golden.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
ATTRIBUTES = {
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "traffic_cone": (),
    "barrier": (),
}
NAMES = ("vehicle.moving", "vehicle.parked", *ATTRIBUTES["pedestrian"], *ATTRIBUTES["motorcycle"])
ORIGIN = (-0.9, 0.1)  # of the car's frame
Sample = dict[str, dict[str, np.ndarray]]


def make_samples(count: int = 40, seed: int = 5) -> list[Sample]:
    """Per sample ``preds``, ``target`` and ``racks``; the legacy generator's numbers never change."""
    random = np.random.RandomState(seed)
    return [_sample(random, index) for index in range(count)]


def _sample(random: np.random.RandomState, index: int) -> Sample:
    labels = random.randint(len(CLASSES) - 1, size=0 if index == 3 else random.randint(1, 40))  # no barrier at first
    labels[random.rand(len(labels)) < 0.1] = len(CLASSES) - 1
    labels[labels == 4] = 0  # no construction vehicle at all
    target = _columns(random, labels)
    target["num_points"] = random.randint(0, 8, size=len(labels))
    target["velocity"][random.rand(len(labels)) < 0.1] = np.nan
    target["attributes"][random.rand(len(labels)) < 0.1] = -1
    kept = random.rand(len(labels)) < 0.8
    again = np.flatnonzero(kept)[: random.randint(4)]
    near = {name: np.concatenate([column[kept], column[again]]) for name, column in target.items()}
    preds = {name: np.concatenate([near[name], extra]) for name, extra in _columns(random, labels[:6]).items()}
    return {
        "preds": _disturbed(random, preds),
        "target": target,
        "racks": {"boxes": _boxes(random, 2) * (1, 1, 1, 4, 4, 4, 1)},
    }


def _columns(random: np.random.RandomState, labels: np.ndarray) -> dict[str, np.ndarray]:
    possible = [[NAMES.index(n) for n in ATTRIBUTES.get(CLASSES[label], NAMES[:2])] or [-1] for label in labels]
    attributes = np.array([choices[random.randint(len(choices))] for choices in possible], dtype=np.int64)
    velocity = random.normal(size=(len(labels), 2))
    return {"boxes": _boxes(random, len(labels)), "labels": labels, "velocity": velocity, "attributes": attributes}


def _boxes(random: np.random.RandomState, count: int) -> np.ndarray:
    reach = np.where(random.rand(count) < 0.7, 35.0, 60.0)
    columns = [reach * (2 * random.rand(count) - 1) for _ in range(2)]
    columns += [random.normal(size=count), *(0.5 + 3 * random.rand(3, count)), 7 * random.rand(count) - 3.5]
    return np.stack(columns, axis=1)


def _disturbed(random: np.random.RandomState, preds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = len(preds["labels"])
    width = np.where(random.rand(count, 1) < 0.5, 0.3, 1.5)
    preds["boxes"] = preds["boxes"] + width * random.normal(size=(count, 7)) * (1, 1, 0.3, 0, 0, 0, 0.5)
    preds["boxes"][:, 3:6] *= np.exp(0.2 * random.normal(size=(count, 3)))
    preds["velocity"] = preds["velocity"] + 0.5 * random.normal(size=(count, 2))
    # without error where a label's is unknown, which a prediction's is not
    preds["velocity"] = np.where(np.isnan(preds["velocity"]), 0.0, preds["velocity"])
    preds["attributes"] = np.where(random.rand(count) < 0.2, -1, preds["attributes"])
    preds["labels"] = np.where(random.rand(count) < 0.05, random.randint(len(CLASSES), size=count), preds["labels"])
    preds["scores"] = np.round(random.rand(count), 2)  # with ties
    return preds


def devkit_scores(samples: list[Sample]) -> dict[str, float]:
    """The nuScenes devkit's own filter, matching and averages, on these samples."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.loaders import filter_eval_boxes
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.constants import TP_METRICS
    from nuscenes.eval.detection.data_classes import DetectionMetrics

    config = config_factory("detection_cvpr_2019")
    sides = {}
    for side in ("target", "preds"):
        boxes = EvalBoxes()
        for index, sample in enumerate(samples):
            boxes.add_boxes(str(index), _devkit_boxes(str(index), sample[side]))
        sides[side] = filter_eval_boxes(_Tables(samples), boxes, config.class_range)
    metrics, skipped = DetectionMetrics(config), {"traffic_cone": TP_METRICS[2:], "barrier": TP_METRICS[3:]}
    for name in config.class_names:
        for distance in config.dist_ths:
            data = accumulate(sides["target"], sides["preds"], name, config.dist_fcn_callable, distance)
            metrics.add_label_ap(name, distance, calc_ap(data, config.min_recall, config.min_precision))
            if distance == config.dist_th_tp:
                for error in TP_METRICS:
                    value = np.nan if error in skipped.get(name, ()) else calc_tp(data, config.min_recall, error)
                    metrics.add_label_tp(name, error, value)
    return _named(metrics.serialize())


def _named(result: dict[str, Any]) -> dict[str, float]:
    kinds = {"trans_err": "ate", "scale_err": "ase", "orient_err": "aoe", "vel_err": "ave", "attr_err": "aae"}
    scores = {"nds": result["nd_score"], "mean/ap": result["mean_ap"]}
    scores |= {f"mean/{kinds[error]}": value for error, value in result["tp_errors"].items()}
    for name in CLASSES:
        scores[f"{name}/ap"] = result["mean_dist_aps"][name]
        scores |= {f"{name}/ap_{float(d):g}m": value for d, value in result["label_aps"][name].items()}
        scores |= {f"{name}/{kinds[error]}": value for error, value in result["label_tp_errors"][name].items()}
    return {name: float(value) for name, value in scores.items()}


class _Tables:
    """As much of the devkit's database as its filter asks for: the bicycle racks."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def get(self, table: str, token: str) -> dict[str, Any]:
        if table == "sample":
            return {"anns": [f"{token} {row}" for row in range(len(self.samples[int(token)]["racks"]["boxes"]))]}
        sample, row = map(int, token.split())
        return {"category_name": "static_object.bicycle_rack", **_placed(self.samples[sample]["racks"]["boxes"][row])}


def _placed(box: np.ndarray) -> dict[str, list[float]]:
    x, y, z, length, width, height, heading = box.tolist()
    turn = [np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2)]
    return {"translation": [x, y, z], "size": [width, length, height], "rotation": turn}


def _devkit_boxes(token: str, columns: dict[str, np.ndarray]) -> list[Any]:
    from nuscenes.eval.detection.data_classes import DetectionBox

    return [
        DetectionBox(
            sample_token=token,
            **_placed(box),
            velocity=tuple(columns["velocity"][row].tolist()),
            ego_translation=(box[0] - ORIGIN[0], box[1] - ORIGIN[1], box[2]),
            num_pts=int(columns["num_points"][row]) if "num_points" in columns else -1,
            detection_name=CLASSES[columns["labels"][row]],
            detection_score=float(columns["scores"][row]) if "scores" in columns else -1.0,
            attribute_name=NAMES[columns["attributes"][row]] if columns["attributes"][row] >= 0 else "",
        )
        for row, box in enumerate(columns["boxes"])
    ]


if __name__ == "__main__":
    from importlib.metadata import version

    golden = {
        "made_by": f"nuscenes-devkit {version('nuscenes-devkit')}, nuscenes_case.py",
        **devkit_scores(make_samples()),
    }
    Path(sys.argv[1]).write_text(json.dumps(golden, indent=1) + "\n")
