"""Table of runs on drives: what needs no learning stands beneath the runs."""

from __future__ import annotations

from equissl.reporting import format_table


def result(label: str, before: float = 0.9) -> dict:
    return {
        "kind": "drives", "method": "X", "label": label, "run": label, "store": "s.h5",
        "equivariance/flow/trained": 0.25, "equivariance/flow/initial": before, "rotation/accuracy": 0.5,
        "rotation/initial": 0.2, "rotation/outline": 0.3, "rotation/chance": 0.1, "collapse/rankme/initial_cells": 7.0,
    }  # fmt: skip


def test_one_row_for_encoders_that_started_alike() -> None:
    lines = format_table([result("STRL"), result("E-SSL3D")]).splitlines()
    assert [line.split("  ")[0] for line in lines if not line.startswith("-")] == [
        "method", "STRL", "E-SSL3D", "before training", "outline alone", "chance",
    ]  # fmt: skip
    assert lines[5].split()[2:] == ["0.900", "–", "–", "–", "–", "20.0", "–", "7.0"]
    assert lines[6].split()[2:] == ["–"] * 5 + ["30.0", "–", "–"]


def test_encoders_that_started_otherwise_have_rows_of_their_own() -> None:
    text = format_table([result("STRL"), result("E-SSL3D", 0.8)])
    assert "before training (STRL)" in text and "before training (E-SSL3D)" in text
