"""The wheel that users install holds everything, under the right names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "equissl": "equissl",
    "equissl.datasets": "datasets",
    "equissl.renderers": "renderers",
    "equissl.configs": "configs",
}


def _packages_on_disk() -> set[str]:
    """Every folder with an ``__init__.py``, by the name under which it is installed."""
    found = set()
    for package, folder in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return found


def test_every_package_is_listed() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == _packages_on_disk()


def test_every_template_is_packaged() -> None:
    listed = PROJECT["tool"]["setuptools"]["package-data"]
    files = [path.relative_to(ROOT) for suffix in ("html", "css") for path in (ROOT / "equissl").rglob(f"*.{suffix}")]
    assert files
    for file in files:
        patterns = listed.get(".".join(file.parent.parts), [])
        assert any(file.match(pattern) for pattern in patterns), f"package-data lacks {file}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A non-editable installation of the wheel, without its dependencies, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = ["pyproject.toml", "README.md", "LICENSE", *FOLDERS.values()]
    source.mkdir()
    subprocess.run(["cp", "-r", *tracked, str(source)], cwd=ROOT, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


def _run(site: Path, code: str) -> str:
    # -I ignores the environment, so only the wheel's own folder, put first, can provide equissl
    program = f"import sys; sys.path.insert(0, {str(site)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True, cwd=site.parent
    ).stdout


def test_wheel_holds_datasets_renderers_and_configs(installed: Path) -> None:
    assert not (installed / "datasets").exists(), "a top-level `datasets` would shadow the Hugging Face package"
    assert not (installed / "renderers").exists()
    modules = ("equissl.datasets", "equissl.renderers", "equissl.configs")
    code = "; ".join(f"import {name}; print({name}.__file__)" for name in modules)
    for line in _run(installed, code).splitlines():
        assert line.startswith(str(installed)), line
    assert list((installed / "equissl" / "configs").glob("*.yaml"))
    assert (installed / "equissl" / "datasets" / "meshes" / "sweethome3d_labels.tsv").is_file()


def test_wheel_command_runs(installed: Path) -> None:
    out = _run(installed, "sys.argv = ['equissl', '--help']; from equissl.cli import main; main()")
    assert "pretrain" in out
