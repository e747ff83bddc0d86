"""Versions and source revision recorded in a checkpoint."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

import equissl


def versions() -> dict[str, str | None]:
    """Return the versions of this program, Python and torch, and the git commit when run from a checkout."""
    return {
        "equissl": equissl.__version__,
        "git": git_commit(Path(equissl.__file__).parent),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit of the checkout of ``folder``, with ``+`` when files differ from it; None outside of one."""
    if not (folder.parent / ".git").exists():  # an installed package inside somebody else's repository is not it
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
