"""Every section of docs/benchmarks.md with a table names command, commit and machine, and files of its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_commands import commands_of

from equissl.bench.record import read_records

DOCS = Path(__file__).resolve().parent.parent / "docs"
MEASURED = DOCS / "measured"
KEYS = {"command", "commit", "machine", "date", "seeds", "results"}
MACHINES = r"EPYC|Xeon|NVIDIA \w+"


def sections(text: str) -> dict[str, str]:
    """Return the sections of a page with a table, by title."""
    parts = re.split(r"(?m)^## (.*)$", text)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {title: body for title, body in found.items() if re.search(r"(?m)^\|", body)}


SECTIONS = sections((DOCS / "benchmarks.md").read_text(encoding="utf-8"))


def missing(body: str) -> list[str]:
    """Return what a section does not say of where its numbers come from."""
    files = sorted(set(re.findall(r"measured/([\w.-]+\.json)", body)))
    commits = re.findall(r"\bcommits? ([0-9a-f]{7,40})\b", body, re.IGNORECASE)
    absent = [name for name in files if not (MEASURED / name).is_file()]
    records = [record for name in files if name not in absent for record in read_records(MEASURED / name)]
    recorded = [str(record.get("commit")) for record in records]
    lacks = {
        "a command": not commands_of(body) and not re.search(r"`(python|pytest|make) ", body),
        "a commit": not commits,
        "a machine": not re.search(MACHINES, body),
        "a file of docs/measured": not records,
        f"files that exist, unlike {absent}": bool(absent),
        f"a commit of its records, {recorded}": not any(r.startswith(c[:7]) for r in recorded for c in commits),
    }
    return [what for what, lacking in lacks.items() if lacking]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_table_says_where_its_numbers_come_from(title: str) -> None:
    found = missing(SECTIONS[title])
    assert not found, f"{title}: expected {', '.join(found)}"


@pytest.mark.parametrize("file", sorted(MEASURED.glob("*.json")), ids=lambda file: file.stem)
def test_records_are_whole(file: Path) -> None:
    records = read_records(file)
    assert records and all(record.keys() >= KEYS for record in records), [KEYS - record.keys() for record in records]
    assert all(record["results"] for record in records)
    assert not re.search(r"/(tmp|work|home|root)/", file.read_text(encoding="utf-8")), "a path of one machine"


def test_every_file_is_named_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"))
    assert [file.name for file in MEASURED.glob("*.json") if f"measured/{file.name}" not in pages] == []


def test_what_is_missing_is_named() -> None:
    assert missing("| a |")[:4] == ["a command", "a commit", "a machine", "a file of docs/measured"]
    assert "unlike ['none.json']" in "".join(missing("measured/none.json"))
