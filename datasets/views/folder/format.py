"""Format of the folder layout of 3DIEBench: names, and the expected tree."""

from __future__ import annotations

from pathlib import Path

from equissl.util.files import describe_folder

SPLIT_FILES = ("train_images.npy", "train_labels.npy", "val_images.npy", "val_labels.npy")
CLASSES_FILE, OBJECTS_FILE, PROVENANCE_FILE = "classes.tsv", "objects.tsv", "provenance.json"
OBJECT_COLUMNS = ("folder", "index", "name", "source", "licence", "creator", "object_pixels")

_EXPECTED = """\
  FOLDER/
    train_images.npy  train_labels.npy  val_images.npy  val_labels.npy   (or in a folder given as `index`)
    CLASS/            for example 02691156; labels follow the ascending order of these names
      OBJECT/
        image_0.jpg   latent_0.npy      (float64, 7 values, or 10 with a translation)
        image_1.jpg   latent_1.npy      ..."""


class FolderError(ValueError):
    """A folder that is not of the 3DIEBench layout; the message says what was expected and what was found."""


def wrong_folder(folder: Path, problem: str) -> FolderError:
    """Create an error that shows the expected tree beside what ``folder`` holds.

    Args:
        folder: in another layout.
        problem: what is missing.
    """
    return FolderError(f"{problem}\nexpected:\n{_EXPECTED}\nfound in {folder}:\n{describe_folder(folder)}")


def write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a tab-separated file with a header; tabs and newlines in values become spaces.

    Args:
        path: path of the file.
        columns: names.
        rows: values.
    """
    clean = [[str(value).replace("\t", " ").replace("\n", " ") for value in row] for row in (columns, *rows)]
    path.write_text("".join("\t".join(row) + "\n" for row in clean), encoding="utf-8")


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the rows of a file that :func:`write_table` wrote.

    Args:
        path: path of the file.
        columns: names expected.

    Raises:
        FolderError: for other columns.
    """
    header, *lines = path.read_text(encoding="utf-8").split("\n")
    if tuple(header.split("\t")) != columns:
        raise FolderError(f"expected columns {columns} in {path}, found {tuple(header.split(chr(9)))}")
    return [dict(zip(columns, line.split("\t"), strict=True)) for line in lines if line]
