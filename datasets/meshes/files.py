"""Sources of mesh bytes: a folder, a zip or a tar archive, with a fingerprint per file for the cache."""

from __future__ import annotations

import hashlib
import lzma
import posixpath
import tarfile
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Protocol


class Files(Protocol):
    """Read access by relative POSIX path. ``None`` means that the file does not exist."""

    location: str

    def read(self, path: str) -> bytes | None: ...

    def fingerprint(self, path: str) -> str:
        """Return the text that changes with the file's content; ``"absent"`` for a file that does not exist."""
        ...

    def size(self, path: str) -> int | None:
        """Return the bytes of the file, without reading it where that can be had."""
        ...


def folded(path: str) -> str:
    """Return a path's spelling without regard to case and to how its accents are composed."""
    return unicodedata.normalize("NFC", posixpath.normpath(path)).casefold()


class FolderFiles:
    """Files below a folder; folders and files are found without regard to case when the exact name is absent."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.location = str(self.root.resolve())

    def _find(self, path: str) -> Path | None:
        file = self.root / path
        if any(len(part.encode()) > 255 for part in file.parts):
            return None  # no file can have such a name, and asking for it is an error
        if file.is_file():
            return file
        file = self.root
        for part in PurePosixPath(path).parts:
            exact = file / part
            spellings = [] if exact.exists() or not file.is_dir() else sorted(file.iterdir())
            file = next((f for f in spellings if folded(f.name) == folded(part)), exact)
        return file if file.is_file() else None

    def read(self, path: str) -> bytes | None:
        file = self._find(path)
        return None if file is None else file.read_bytes()

    def fingerprint(self, path: str) -> str:
        data = self.read(path)
        return "absent" if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()

    def size(self, path: str) -> int | None:
        file = self._find(path)
        return None if file is None else file.stat().st_size


class ZipFiles:
    """Members of a zip archive, opened at first use and never carried across processes.

    The fingerprint is the member's CRC-32 and size from the archive's directory, so that nothing is inflated to check a
    cached mesh.
    """

    def __init__(self, archive: Path | str) -> None:
        self.archive = Path(archive)
        self.location = self.archive.name
        self._zip: zipfile.ZipFile | None = None
        self._names: dict[str, zipfile.ZipInfo] = {}

    def _info(self, path: str) -> zipfile.ZipInfo | None:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.archive)
            self._names = {folded(info.filename): info for info in self._zip.infolist() if not info.is_dir()}
        return self._names.get(folded(path))

    def read(self, path: str) -> bytes | None:
        info = self._info(path)
        if info is None:
            return None
        assert self._zip is not None
        return self._zip.read(info)

    def fingerprint(self, path: str) -> str:
        info = self._info(path)
        return "absent" if info is None else f"{info.CRC:08x}-{info.file_size}"

    def size(self, path: str) -> int | None:
        info = self._info(path)
        return None if info is None else info.file_size

    def __getstate__(self) -> dict[str, Any]:
        return {"archive": self.archive, "location": self.location, "_zip": None, "_names": {}}


class TarFiles:
    """Members of ``root/FOLDER.tar.xz`` archives as if they were unpacked in ``root``.

    Compressed tar archives have no random access: one is read whole at a time and kept, so neighbours cost nothing. The
    fingerprint is the whole archive's, known without decompressing it.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.location = str(self.root.resolve())
        self._marks: dict[str, str] = {}
        self._opened: tuple[str, dict[str, bytes]] = ("", {})

    def _archive(self, path: str) -> Path:
        return self.root / f"{path.split('/')[0]}.tar.xz"

    def read(self, path: str) -> bytes | None:
        archive = self._archive(path)
        if self._opened[0] != archive.name:
            if not archive.is_file():
                return None
            self._opened = archive.name, _read_tar(archive)
        return self._opened[1].get(folded(path))

    def fingerprint(self, path: str) -> str:
        archive = self._archive(path)
        if archive.name not in self._marks:
            data = archive.read_bytes() if archive.is_file() else None
            self._marks[archive.name] = "absent" if data is None else hashlib.blake2b(data, digest_size=16).hexdigest()
        return self._marks[archive.name]

    def size(self, path: str) -> int | None:
        data = self.read(path)
        return None if data is None else len(data)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "location": self.location, "_marks": {}, "_opened": ("", {})}


def _read_tar(archive: Path) -> dict[str, bytes]:
    """Read a tar archive; any damage raises OSError."""
    try:
        with tarfile.open(archive, "r:xz") as tar:
            files = ((member, tar.extractfile(member)) for member in tar if member.isfile())
            return {folded(member.name): file.read() for member, file in files if file is not None}
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise OSError(f"{archive} cannot be read: {error}") from error


class RecordingFiles:
    """Files that remember the fingerprint of every path asked for, absent ones too."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.location = files.location
        self.used: dict[str, str] = {}

    def read(self, path: str) -> bytes | None:
        self.used[path] = self.files.fingerprint(path)
        return self.files.read(path)

    def fingerprint(self, path: str) -> str:
        return self.files.fingerprint(path)

    def size(self, path: str) -> int | None:
        return self.files.size(path)
