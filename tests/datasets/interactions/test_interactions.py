"""Files of interactions, k-core, splits, random views, and generated data with a known best recommender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equissl import cli
from equissl.datasets.interactions.augmentations import RandomViews
from equissl.datasets.interactions.files import InteractionsError, is_interactions, read_table
from equissl.datasets.interactions.generated import InteractionSpec, World, write_interactions
from equissl.datasets.interactions.history import core_of, read_histories
from equissl.datasets.interactions.sequences import InteractionSequences

FORMATS = {
    "plain.csv": "user,item,time\na,x,1\nb,y,2.5\n",
    "columns.csv": 'timestamp,note,item_id,user_id\n1,"one, two",x,a\n2.5,,y,b\n',
    "ratings.csv": "userId,movieId,rating,timestamp\na,x,4.0,1\nb,y,3.5,2.5\n",
    "ratings.dat": "a::x::4::1\nb::y::3::2.5\n",
    "u.data": "a\tx\t4\t1\nb\ty\t3\t2.5\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_by_their_first_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(FORMATS[name])
    table = read_table(file)
    assert (table.users.tolist(), table.items.tolist(), table.times.tolist()) == (["a", "b"], ["x", "y"], [1, 2.5])
    assert is_interactions(file) and is_interactions(tmp_path) is (name in ("ratings.csv", "ratings.dat", "u.data"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,age\n", "got the first line 'name,age'"),
        ("user,item,time\na,x,1\na,y,noon\n", r"line 3: .* got \['a', 'y', 'noon'\]"),
        ("user,item,time\na\n", "line 2: expected user, item and a number as time"),
        ("user,item,time\n", "expected interactions, got none"),
    ],
)
def test_files_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InteractionsError, match=message):
        read_table(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="or a folder with one of them"):
        read_table(tmp_path / "b.csv")


def write(file: Path, histories: dict[str, str]) -> Path:
    """One letter an item; later lines are earlier in time."""
    rows = [f"{user},{item},{time}" for user, items in histories.items() for time, item in enumerate(items)]
    file.write_text("\n".join(["user,item,time", *reversed(rows)]))
    return file


def test_core_is_taken_until_nothing_changes(tmp_path: Path) -> None:
    # item e is of d alone, and without it d has three items
    file = write(tmp_path / "a.csv", {"a": "wxyz", "b": "xyzw", "c": "wzyx", "d": "wxye", "f": "zyxw"})
    kept = core_of(read_table(file), 4)
    assert set(read_table(file).users[kept]) == {"a", "b", "c", "f"}
    histories = read_histories(file, 4)
    assert histories.items.tolist() == ["w", "x", "y", "z"] and len(histories) == 4
    assert ["".join(histories.items[histories.of(u) - 1]) for u in range(4)] == ["wxyz", "xyzw", "wzyx", "zyxw"]
    with pytest.raises(InteractionsError, match="nothing is left of 20 interactions with core 5"):
        read_histories(file, 5)
    with pytest.raises(InteractionsError, match=r"core of at least 4.*got 3"):
        read_histories(file, 3)


def test_equal_times_keep_the_order_of_the_file_and_the_catalogue_its_names(tmp_path: Path) -> None:
    rows = [f"u{user},{item},0" for user in range(5) for item in "zyxwv"]
    (tmp_path / "a.csv").write_text("\n".join(["user,item,time", *rows]))
    histories = read_histories(tmp_path / "a.csv")
    assert histories.of(3).tolist() == [5, 4, 3, 2, 1]
    (tmp_path / "b.csv").write_text("\n".join(["user,item,time", *rows]).replace("z", "t"))
    assert 0 < histories.catalogue != read_histories(tmp_path / "b.csv").catalogue > 0


def test_the_last_two_items_are_held_out(tmp_path: Path) -> None:
    histories = read_histories(write(tmp_path / "a.csv", dict.fromkeys("abcde", "abcdef")), 5)
    found = {split: InteractionSequences(histories, split, length=3)[0, 0] for split in ("train", "val", "test")}
    assert {split: (batch.items.tolist(), batch.targets.tolist()) for split, batch in found.items()} == {
        "train": ([[1, 2, 3]], [[2, 3, 4]]),
        "val": ([[2, 3, 4]], [[0, 0, 5]]),
        "test": ([[3, 4, 5]], [[0, 0, 6]]),
    }
    with pytest.raises(ValueError, match="got 'all'"):
        InteractionSequences(histories, "all")


def test_sequences_are_functions_of_their_address_and_hold_nothing_held_out(tmp_path: Path) -> None:
    world = InteractionSpec(users=40, num_items=20, genres=4, shortest=8, longest=12)
    histories = read_histories(write_interactions(tmp_path / "a.csv", world).path)
    data = InteractionSequences(histories, "train", length=6, seed=3, views=2)
    batch, alone = data.__getitems__([(2, 5), (2, 7)]), data[2, 7]
    assert batch.items.shape == batch.targets.shape == (2, 6) and batch.views.shape == (2, 2, 6)
    assert batch.views[1, :, : alone.views.shape[2]].equal(alone.views[0])
    assert not batch.views.equal(data.__getitems__([(3, 5), (3, 7)]).views)
    held_out = {5: histories.of(5)[-2:], 7: histories.of(7)[-2:]}
    for row, user in enumerate((5, 7)):
        allowed = {0, data.policy.token, *histories.of(user)[:-2].tolist()}
        assert set(batch.views[row].flatten().tolist()) <= allowed, held_out
        assert set(batch.targets[row].tolist()) <= allowed


def test_random_views() -> None:
    items, rng = np.arange(1, 11), np.random.default_rng(0)
    views = RandomViews(token=99, crop=0.5, mask=0.3, reorder=0.8)
    for _ in range(20):
        cropped, masked, reordered = (f(items, rng) for f in (views.cropped, views.masked, views.reordered))
        assert len(cropped) == 5 and (np.diff(cropped) == 1).all()
        assert (masked == 99).sum() == 3 and ((masked == items) | (masked == 99)).all()
        assert sorted(reordered) == items.tolist() and (reordered != items).sum() <= 8
    assert items.tolist() == list(range(1, 11))
    same = RandomViews(99, crop=1, mask=0, reorder=0)
    assert all((same.draw(items, rng) == items).all() for _ in range(9))
    assert RandomViews(99).cropped(items[:1], rng).tolist() == [1]
    with pytest.raises(ValueError, match="expected crop above 0"):
        RandomViews(99, crop=0)


def test_generated_interactions_are_drawn_from_the_known_probabilities() -> None:
    world = World(InteractionSpec(users=3000, num_items=12, genres=3, tastes=1, shortest=2, longest=2, noise=0.2))
    items, chances = zip(*(world.history(user) for user in range(3000)), strict=True)
    assert np.sum(chances, axis=1) == pytest.approx(np.ones(3000))
    hits = [chance[item[-1]] for item, chance in zip(items, chances, strict=True)]
    expected = [(chance**2).sum() for chance in chances]  # mean probability of a draw
    spread = np.std(hits) / 3000**0.5
    assert abs(np.mean(hits) - np.mean(expected)) < 4 * spread


def test_the_verb_writes_the_same_bytes_and_says_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--users=30", "--num_items=20", "--genres=4", "--follow=1", "--noise=0", "--tastes=1"]
    for name in ("a.csv", "b.csv"):
        assert cli.main(["interactions", f"--out={tmp_path / name}", *words]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "30 users" in (text := capsys.readouterr().out)
    assert text.strip().endswith("best possible hr@10 1.0000, ndcg@10 1.0000")  # nothing is left to chance
    assert cli.main(["interactions", f"--out={tmp_path / 'c.csv'}", "--num_items=7"]) == 2
    assert "items in genres of one size" in capsys.readouterr().err
