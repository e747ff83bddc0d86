"""A job of two items a part, each a line in the part's file; run as a script it makes all parts, to be killed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equissl.util.files import write_text


@dataclass
class FakeJob:
    """Item ``deadly`` kills its process, the first time only where ``once``; ``endless`` never returns.

    The file ``log`` takes item and process. With ``loud`` every item logs one warning, raises another in Python's way,
    and logs what is no warning.
    """

    folder: Path
    count: int = 4
    delay: float = 0.0
    deadly: int | None = None
    once: bool = True
    endless: int | None = None
    faulty: int | None = None
    loud: bool = False

    def path(self, part: int) -> Path:
        return self.folder / f"part-{part}"

    def check(self, part: int) -> None:
        if not self.path(part).read_text().endswith("end\n"):
            raise ValueError("cut")

    def items(self, part: int) -> range:
        return range(2 * part, 2 * part + 2)

    def units(self, part: int) -> int:
        return 2

    def describe(self, part: int, item: int) -> str:
        return f"item {item}"

    def run(self, part: int, given_up: Mapping[int, str], tell: Callable[[Any], None]) -> int:
        from equissl.util.job import Begun

        lines = []
        for item in self.items(part):
            tell(Begun(item, "counting"))
            self._do(item, given_up)
            lines.append(f"{item} {given_up.get(item, 'done')}\n")
        tell(None)
        write_text(self.path(part), "".join(lines) + "end\n")
        return part * part

    def _do(self, item: int, given_up: Mapping[int, str]) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(f"{item} {os.getpid()}\n")
        if self.loud:
            logging.getLogger("some.library").warning("the disk is %s", "slow")
            logging.getLogger("some.library").info("nothing to say")
            warnings.warn("divided by zero", RuntimeWarning, stacklevel=1)
        time.sleep(self.delay)
        died = self.folder / "died"
        if item == self.deadly and not (self.once and died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item == self.faulty:
            raise KeyError("surprise")
        while item == self.endless and item not in given_up:
            time.sleep(1)


if __name__ == "__main__":
    from equissl.util.parts import make_parts
    from equissl.util.parts_folder import parts_folder
    from equissl.util.progress import Progress

    out = Path(sys.argv[1])
    with Progress(8, "parts", "items") as bar, parts_folder(out, {"size": 2}) as folder:
        print("start", flush=True)
        make_parts(FakeJob(folder.path, delay=float(sys.argv[3])), range(4), bar, workers=int(sys.argv[2]))
