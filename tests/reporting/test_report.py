"""The page."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_store import write_synthetic_store

from equissl.datasets.views.store.format import StoreError
from equissl.datasets.views.store.store import ViewStore
from equissl.reporting import write_report
from equissl.reporting.views.pictures import gallery


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store = write_synthetic_store(tmp_path / "views.h5", objects=8, views=3, size=16, classes=2)
    folder = tmp_path / "run <1>"
    folder.mkdir()
    parts = {"all": 50.0, "constant": 60.0}
    scores = {f"rotation/{key}/{part}": value for key in ("mean_deg", "median_deg", "r2_uniform", "r2_global")
              for part, value in parts.items()}  # fmt: skip
    scores |= {"classification/all/top1": 0.9, "classification/chance": 0.5, "classification/majority": 0.5,
               "collapse/rankme/all": 3.0, "collapse/dim/all": 8, "collapse/std/all": 0.5}  # fmt: skip
    meta = {
        "kind": "views",
        "method": "My<Method>",
        "run": folder.name,
        "store": str(store),
        "train_objects": 6,
        "val_objects": 2,
        "classes": 2,
    }
    (folder / "results.json").write_text(json.dumps(scores | meta))
    return folder


class Checker(HTMLParser):
    """Counts tags, and checks that those opened are closed."""

    VOID = frozenset({"meta", "img", "link", "br", "rect", "path"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID or tag == "path":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_run_without_curves_or_errors_still_has_its_page(run: Path, tmp_path: Path) -> None:
    page = write_report([run], tmp_path / "deep" / "report.html").read_text()
    tags = Checker(page).seen
    assert "My<Method>" not in page and "My&lt;Method&gt;" in page
    assert "10.0° below the constant predictor" in page
    images = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert len(images) == 8
    assert not any(value.startswith("http") for _, attributes in tags for value in attributes.values() if value)


def test_title_and_store_are_those_asked_for(run: Path, tmp_path: Path) -> None:
    other = write_synthetic_store(tmp_path / "other.h5", objects=8, views=2, size=16, classes=2)
    page = write_report([run], tmp_path / "report.html", store=other, title="Mine & <yours>").read_text()
    assert "<h1>Mine &amp; &lt;yours&gt;</h1>" in page and "rendered 2 times" in page and str(other) in page


def test_a_failing_page_leaves_the_one_before(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    before = write_report([run], out).read_text()
    with pytest.raises(StoreError, match="expected a view store"):
        write_report([run], out, store=tmp_path / "missing.h5")
    assert out.read_text() == before and [path.name for path in tmp_path.glob("report*")] == ["report.html"]


def test_gallery_shows_stored_pixels_and_every_class(run: Path) -> None:
    store = ViewStore(json.loads((run / "results.json").read_text())["store"])
    strips = gallery(store, strips=2, views=3)
    assert [strip.caption for strip in strips] == ["class_0 · unseen object", "class_1 · unseen object"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(strips[0].uri.split(",")[1]))), dtype=float)
    shown = picture.reshape(96, 3, 96, 3).mean((0, 2))
    stored = store.read_images(6 * 3 + np.arange(3)).float().mean((2, 3)).numpy()
    np.testing.assert_allclose(shown, stored, atol=1.5)


def test_a_run_that_was_not_evaluated_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="equissl evaluate"):
        write_report([tmp_path], tmp_path / "report.html")
    with pytest.raises(ValueError, match="at least one run"):
        write_report([], tmp_path / "report.html")
