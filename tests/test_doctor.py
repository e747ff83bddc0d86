"""The doctor names what is missing and the command that fixes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from equissl import doctor
from equissl.doctor import Check

ROOT = Path(__file__).resolve().parent.parent


def test_this_machine_passes() -> None:
    lines: list[str] = []
    assert doctor.run_doctor(lines.append) == 0, "\n".join(lines)
    assert "everything required is present" in lines[-1]
    assert any("ray casting works" in line for line in lines)


@pytest.mark.parametrize(("version", "ok"), [((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 1), True)])
def test_python_is_one_that_the_package_installs_on(monkeypatch, version, ok) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert doctor.check_python().ok is ok
    requirement = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert (".".join(map(str, version)) in SpecifierSet(requirement)) is ok


def test_a_missing_requirement_fails_and_is_named(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Check("h5py", False, "No module named 'h5py'", "pip install h5py")])
    lines: list[str] = []
    assert doctor.run_doctor(lines.append) == 1
    assert "-> pip install h5py" in lines[0]
    assert lines[-1] == "missing: h5py"


def test_a_missing_option_does_not_fail(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Check("bpy", False, "absent", "pip install bpy", required=False)])
    assert doctor.run_doctor(lambda line: None) == 0


def test_absent_package() -> None:
    check = doctor.check_package("no_such_module_here", "pip install it")
    assert not check.ok
    assert "no_such_module_here" in check.found


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError("libusb-1.0.so.0: cannot open shared object file"), "apt-get install -y libusb-1.0-0"),
        (ModuleNotFoundError("No module named 'open3d'"), "pip install open3d-cpu"),
    ],
)
def test_open3d_problems_have_their_own_cure(monkeypatch, error, fix) -> None:
    def fails() -> float:
        raise error

    monkeypatch.setattr(doctor, "_cast_ray", fails)
    check = doctor.check_open3d()
    assert not check.ok
    assert fix in check.fix


def test_wrong_rays_are_noticed(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_cast_ray", lambda: 2.0)
    assert not doctor.check_open3d().ok
