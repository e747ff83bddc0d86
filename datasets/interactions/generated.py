"""Generated interactions of known structure, and the best that any recommender can do on them.

Items belong to genres, and each genre's items follow each other in a circle. A user has a few genres; each item of the
user continues one of them, from the user's last item of that genre. The next item hence depends on the last item of
every genre of the user, not on the last item alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equissl.metrics.ranking import ndcg, target_ranks
from equissl.metrics.retrieval import hit_rate
from equissl.util.files import write_text

CUTOFF = 10


@dataclass(frozen=True)
class InteractionSpec:
    """Settings of generated interactions.

    Attributes:
        users: number of users.
        num_items: number of items, in genres of one size.
        genres: number of genres.
        tastes: genres of each user.
        shortest, longest: a user's number of items is uniform between them.
        follow: probability of the next item of the genre's circle; else it is any of the genre.
        noise: probability of an item of any genre, by popularity, which falls as 1 / rank.
        seed: of all that is random. User u has the SeedSequence [seed, u].
    """

    users: int = 1000
    num_items: int = 300
    genres: int = 10
    tastes: int = 2
    shortest: int = 8
    longest: int = 20
    follow: float = 0.7
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.users < 1 or not 1 <= self.tastes <= self.genres or self.num_items % self.genres or self.num_items < 1:
            got = f"users {self.users}, num_items {self.num_items}, genres {self.genres}, tastes {self.tastes}"
            raise ValueError(f"expected users, num_items in genres of one size, and at most as many tastes, got {got}")
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(f"expected 1 <= shortest <= longest, got {self.shortest} and {self.longest}")
        if not 0 <= self.follow <= 1 or not 0 <= self.noise <= 1:
            raise ValueError(f"expected follow and noise in 0..1, got {self.follow} and {self.noise}")


@dataclass(frozen=True)
class Generated:
    """Written file, its size, and the best possible scores on each user's last item.

    Attributes:
        path: CSV file.
        users, interactions: how many.
        best: ``hr@10`` and ``ndcg@10`` of ranking by the true probabilities.
    """

    path: Path
    users: int
    interactions: int
    best: dict[str, float]

    def __str__(self) -> str:
        best = ", ".join(f"{name} {value:.4f}" for name, value in self.best.items())
        return f"{self.path}: {self.users} users, {self.interactions} interactions; best possible {best}"


class World:
    """Genres, circles and popularity of a spec's items, numbered from 0.

    Args:
        spec: settings.
    """

    def __init__(self, spec: InteractionSpec) -> None:
        self.spec = spec
        rng = np.random.default_rng(np.random.SeedSequence([spec.seed, spec.users]))
        self.circles = rng.permutation(spec.num_items).reshape(spec.genres, -1)  # (G, M) items in their order
        self.genre, self.place = (np.empty(spec.num_items, np.int64) for _ in range(2))
        self.genre[self.circles] = np.arange(spec.genres)[:, None]
        self.place[self.circles] = np.arange(self.circles.shape[1])
        weights = 1 / (1 + rng.permutation(spec.num_items))
        self.popularity = weights / weights.sum()

    def probabilities(self, last: dict[int, int]) -> np.ndarray:
        """Compute the probabilities (N,) of a user's next item.

        Args:
            last: the last item of each of the user's genres.
        """
        spec, size = self.spec, self.circles.shape[1]
        chances = spec.noise * self.popularity
        for genre, item in last.items():
            share = (1 - spec.noise) / len(last)
            chances[self.circles[genre]] += share * (1 - spec.follow) / size
            chances[self.circles[genre, (self.place[item] + 1) % size]] += share * spec.follow
        return chances

    def history(self, user: int) -> tuple[list[int], np.ndarray]:
        """Draw a user's items, and return the probabilities (N,) that the last of them was drawn from."""
        rng = np.random.default_rng(np.random.SeedSequence([self.spec.seed, user]))
        genres = rng.permutation(self.spec.genres)[: self.spec.tastes]
        last = {int(genre): int(rng.choice(self.circles[genre])) for genre in genres}
        items: list[int] = []
        for _ in range(int(rng.integers(self.spec.shortest, self.spec.longest + 1))):
            chances = self.probabilities(last)
            item = int(rng.choice(len(chances), p=chances))
            if self.genre[item] in last:
                last[int(self.genre[item])] = item
            items.append(item)
        return items, chances


def write_interactions(out: str | Path, spec: InteractionSpec) -> Generated:
    """Write generated interactions as CSV with columns user, item and time, the same bytes for the same settings.

    Args:
        out: file to write.
        spec: settings.
    """
    lines, chances, last = ["user,item,time"], [], []
    world = World(spec)
    for user in range(spec.users):
        items, true = world.history(user)
        lines += [f"u{user:06d},i{item:06d},{time}" for time, item in enumerate(items)]
        chances.append(torch.from_numpy(true))
        last.append(items[-1])
    write_text(Path(out), "\n".join(lines) + "\n")
    return Generated(Path(out), spec.users, len(lines) - 1, _best(torch.stack(chances), torch.tensor(last)))


def _best(chances: Tensor, last: Tensor) -> dict[str, float]:
    """Scores of the ranking by the true probabilities (U, N), of which ``last`` (U,) were drawn."""
    above, tied = target_ranks(chances, last)
    return {f"hr@{CUTOFF}": hit_rate(above, tied, CUTOFF), f"ndcg@{CUTOFF}": ndcg(above, tied, CUTOFF)}
