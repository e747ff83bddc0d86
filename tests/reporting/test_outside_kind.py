"""A kind of another package has its table and its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl.reporting import format_table, write_report
from equissl.reporting.runs import load_runs

MODULE = """
from equissl.kinds import Kind
from equissl.reporting.page import run_page
from equissl.reporting.table import Column, Row

COLUMNS = (Column("words", "words", digits=0), Column("perplexity", "perplexity", best="min", error="perplexity_se"))

class Texts(Kind):
    name, unit, batch, data, options, source = "texts", "words", list, object, object, "a folder of text files"

    def recognises(self, path): return False
    def open(self, config, method, split="train"): raise NotImplementedError
    def evaluate(self, run_dir, method, training, options, store=None, log=print): raise NotImplementedError
    def card(self, method, config): return {}
    def columns(self, results): return COLUMNS
    def baselines(self, results): return [Row("uniform", (None, 26.0), baseline=True)]

    def page(self, runs, store=None, title=None):
        facts, setup = {"store": store}, f"{len(runs)} model of letters."
        return run_page("page.html", runs, COLUMNS, self.baselines([]), facts, title=title or "Texts", setup=setup)

TEXTS = Texts()
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run) -> Path:
    (tmp_path / "outside_texts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    results = {
        "kind": "outside_texts:TEXTS",
        "method": "Bigram",
        "words": 1200,
        "perplexity": 9.5,
        "perplexity_se": 0.3,
    }
    return write_run(tmp_path / "run", results)


def test_it_is_found_by_its_name_in_the_results(run: Path, tmp_path: Path) -> None:
    lines = format_table([found.results for found in load_runs([run])]).splitlines()
    assert [line.split() for line in lines[::2]] == [
        ["method", "words", "perplexity"], ["Bigram", "1,200", "9.5"], ["uniform", "–", "26.0"],
    ]  # fmt: skip
    page = write_report([run], tmp_path / "page.html", title="Letters").read_text()
    assert "<h1>Letters</h1>" in page and "1 model of letters." in page and "± 0.3" in page
    assert page.index("Bigram") < page.index("uniform")
