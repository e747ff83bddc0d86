"""Captions of users: CSV files and tar shards, with what is wrong in them counted or named."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equissl.datasets.images.sources import ImagesError
from equissl.datasets.paired.captioned import is_captioned, open_captioned
from equissl.datasets.paired.captions import (
    MAX_CAPTION,
    CaptionError,
    Captions,
    Findings,
    clean_caption,
    is_caption_file,
    read_captions,
)


def png(value: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(10 * number))


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_captions_keep_texts_of_any_language() -> None:
    texts = [["a", "ÄÖ – 椅子"], ["🪑"], ["x y", "", "z"]]
    captions = pickle.loads(pickle.dumps(Captions(texts)))
    assert [captions.of(image) for image in range(len(captions))] == texts
    with pytest.raises(IndexError, match=r"caption in 0..0 of image 1, got 1"):
        captions.read(1, 1)
    with pytest.raises(CaptionError, match="none of image 1"):
        Captions([["a"], []])


def test_a_caption_is_cut_before_a_word_and_white_space_is_single() -> None:
    found = Findings()
    assert clean_caption("  a \n\t chair ", found) == "a chair" and found.lines() == []
    long = clean_caption("chair " * 17000, found)  # 100 kB
    assert long is not None and len(long) <= MAX_CAPTION and long.split() == ["chair"] * (MAX_CAPTION // 6)
    assert len(clean_caption("x" * 100_000, found) or "") == MAX_CAPTION
    assert clean_caption(" \n ", found) is None and (found.long, found.empty) == (2, 1)
    assert found.lines() == [
        "1 captions are empty: left out",
        f"2 captions have more than {MAX_CAPTION} characters: cut",
    ]


def test_a_csv_file_with_several_captions_classes_splits_and_any_order_of_columns(tmp_path: Path) -> None:
    write_images(tmp_path, 4)
    text = (
        'split,caption,class,Image\ntrain,"a chair, red",chair,0.png\nval,a table,table,1.png\n'
        "train,a seat,chair,0.png\n\ntrain,  ,table,2.png\ntrain,a bed,bed,3.png\n"
    )
    file = write_csv(tmp_path / "captions.csv", text)
    table = read_captions(file)
    assert table.images == ["0.png", "1.png", "3.png"] and table.texts[0] == ["a chair, red", "a seat"]
    assert table.findings.lines() == ["1 captions are empty: left out", "1 images have no caption: left out"]
    train, val, both = (open_captioned(tmp_path, split) for split in ("train", "val", None))
    assert train.source.classes == ("bed", "chair", "table") and train.source.labels.tolist() == [1, 0]
    assert [train.captions.of(i) for i in range(2)] == [["a chair, red", "a seat"], ["a bed"]]
    assert val.captions.of(0) == ["a table"] and len(both.source) == 3
    images = train.source.read(np.array([1, 0]))
    assert [int(image[0, 0, 0]) for image in images] == [30, 0]


def test_tab_separated_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes("\ufefffilepath\ttitle\n0.png\ta chair, red\n".encode())
    assert is_caption_file(tmp_path / "a.tsv") and read_captions(tmp_path / "a.tsv").texts == [["a chair, red"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"image,text\n0.png,\xff\xfe\n", "expected text in UTF-8"),
        (b"user,item,time\n1,2,3\n", "whose header names image and text, got the first line 'user,item,time'"),
        (b"", "got the first line ''"),
        (b"image,text\n", "expected captions, got none"),
        (b"image,text\n0.png,  \n", "expected captions, got none"),
        (b"image,text\n0.png,a\n1.png\n", "line 3: expected at least 2 fields, got 1"),
        (b"image,text\n ,a\n", "line 2: expected the name of an image"),
        (b"image,text,split\n0.png,a,test\n", "line 2: expected split to be train or val, got 'test'"),
        (b"image,text,label\n0.png,a,x\n0.png,b,y\n", "line 3: expected one label and split of '0.png'"),
        (b"image,text\n0.png," + b"x" * 200_000 + b"\n", "line 2: cannot read it: field larger"),
        (b"image,text\n0.png,a\n9.png,b\n", "1 of 2 are not there: '9.png'"),
    ],
)
def test_bad_csv_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    write_images(tmp_path, 2)
    (tmp_path / "captions.csv").write_bytes(data)
    with pytest.raises(CaptionError) as caught:
        open_captioned(tmp_path / "captions.csv")
    assert message in str(caught.value) and "captions.csv" in str(caught.value)


def test_shards_are_read_in_place(tmp_path: Path) -> None:
    words = json.dumps({"caption": ["a table", "a desk"], "label": "table"}).encode()
    first = {"a/0.png": png(0), "a/0.txt": "a chair – red".encode(), "a/0.cls": b"chair", "b/0.png": png(20),
             "b/0.json": words}  # fmt: skip
    write_tar(tmp_path / "train" / "0.tar", first)
    write_tar(tmp_path / "train" / "1.tar", {"a/0.png": png(40, 16), "a/0.txt": b"a bed"})
    write_tar(
        tmp_path / "val" / "0.tar", {"x.json": b'{"text": "a car", "label": 7}', "x.seg.png": b"", "x.png": png(60)}
    )
    assert is_captioned(tmp_path) and is_captioned(tmp_path / "val" / "0.tar")
    train, val = (open_captioned(tmp_path, split) for split in ("train", "val"))
    assert [train.captions.of(i) for i in range(3)] == [["a chair – red"], ["a table", "a desk"], ["a bed"]]
    assert train.source.classes == ("7", "chair", "table") and train.source.labels.tolist() == [1, 2, -1]
    assert val.source.labels.tolist() == [0] and val.captions.of(0) == ["a car"]
    images = pickle.loads(pickle.dumps(train.source)).read(np.array([2, 0, 1]))
    assert [(tuple(image.shape), int(image[0, 0, 0])) for image in images] == [
        ((3, 16, 16), 40), ((3, 8, 8), 0), ((3, 8, 8), 20)
    ]  # fmt: skip
    assert isinstance(train.source.read(np.array([0, 1])), torch.Tensor) and train.findings.lines() == []


def test_what_is_wrong_in_shards_is_left_out_and_counted(tmp_path: Path) -> None:
    files = {
        "0.png": png(0), "0.txt": b"good",
        "1.png": png(0), "1.txt": b"\xff\xfe not UTF-8",
        "2.png": png(0), "2.json": b"{damaged",
        "3.png": png(0), "3.json": b'{"caption": 5}',
        "4.png": png(0), "4.txt": b"   ",
        "5.png": png(0),
        "6.txt": b"no image",
        "7.png": png(0), "7.txt": b"word " * 20_000,
        "8.png": png(0), "8.json": b"[" * 100_000,
        "9.png": png(0), "9.txt": "ä".encode() * 700_000,
    }  # fmt: skip
    found = open_captioned(write_tar(tmp_path / "a.tar", files), None)
    assert len(found.source) == 3 and found.captions.of(0) == ["good"]
    assert max(len(found.captions.read(i, 0)) for i in range(3)) == MAX_CAPTION
    assert found.findings == Findings(empty=1, long=2, undecodable=4, without_caption=6, without_image=1)


def test_links_and_names_that_climb_are_only_names(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"../../0.png": png(50), "../../0.txt": b"a chair", "/1.png": png(0)})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("/1.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    found = open_captioned(path, None)
    assert found.captions.of(0) == ["a chair"] and len(found.source) == 1 and found.findings.without_caption == 1
    assert int(found.source.read(np.array([0]))[0][0, 0, 0]) == 50
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar"]


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    files = {"0.png": png(0), "0.txt": b"a chair", "1.png": b"no image at all", "1.txt": b"a table"}
    whole = write_tar(tmp_path / "whole.tar", files).read_bytes()
    for name, size in (("cut", 1100), ("cut_between", 1024), ("cut_within", 600)):
        (tmp_path / f"{name}.tar").write_bytes(whole[:size])
    damaged = bytearray(whole)
    damaged[1024 + 150] ^= 0xFF  # in the check sum of the second header
    (tmp_path / "header.tar").write_bytes(damaged)
    (tmp_path / "noise.tar").write_bytes(np.random.default_rng(0).bytes(2048))
    write_tar(tmp_path / "packed.tar", files, "w:gz")
    for name in ("cut", "cut_between", "cut_within", "header", "noise", "packed"):
        with pytest.raises(CaptionError, match=f"whole, uncompressed tar file at .*{name}.tar"):
            open_captioned(tmp_path / f"{name}.tar", None)
    with pytest.raises(CaptionError, match=r"one image of each key, got two of '0'"):
        open_captioned(write_tar(tmp_path / "two.tar", {"0.png": png(0), "0.jpg": b""}))
    with pytest.raises(CaptionError, match="found none: 1 images have no caption"):
        open_captioned(write_tar(tmp_path / "bare.tar", {"0.png": png(0)}))
    with pytest.raises(ImagesError, match=r"whole.tar: 1.png: cannot be decoded"):
        open_captioned(tmp_path / "whole.tar", None).source.read(np.array([1]))


def test_a_part_is_held_out_where_the_data_have_no_split(tmp_path: Path) -> None:
    write_images(tmp_path, 10)
    write_csv(tmp_path / "captions.csv", "image,text\n" + "".join(f"{i}.png,word {i}\n" for i in range(10)))
    train, val = (open_captioned(tmp_path, split, val_fraction=0.3) for split in ("train", "val"))
    texts = [[part.captions.read(i, 0) for i in range(len(part.captions))] for part in (train, val)]
    assert len(texts[0]) == 7 and len(texts[1]) == 3 and not set(texts[0]) & set(texts[1])
    with pytest.raises(CaptionError, match=r"captioned images of split 'val' in .*, found none of 10"):
        open_captioned(tmp_path, "val", val_fraction=0)
    with pytest.raises(CaptionError, match="expected split to be one of"):
        open_captioned(tmp_path, "test")


def test_other_places_are_not_taken(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    write_csv(tmp_path / "other.csv", "user,item,time\n1,2,3\n")
    assert not is_captioned(tmp_path) and not is_captioned(tmp_path / "other.csv") and not is_captioned(tmp_path / "no")
    with pytest.raises(CaptionError, match=r"(?s)expected a CSV file whose header .*0.png"):
        open_captioned(tmp_path)
