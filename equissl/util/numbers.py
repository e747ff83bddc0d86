"""Numbers in text."""

from __future__ import annotations

import re
import warnings

import numpy as np

#: How old C libraries of Windows write what is not finite: ``1.#IND``, ``-1.#INF``, ``1.#QNAN00``.
_NOT_FINITE = re.compile(rb"([-+]?)1\.#(\w*)")


def parse_numbers(joined: bytes) -> np.ndarray:
    """Parse numbers between blanks, (N,) float64.

    Raises:
        ValueError: For text that is no number.
    """
    if b"#" in joined:
        joined = _NOT_FINITE.sub(lambda found: found[1] + (b"inf" if found[2][:3] == b"INF" else b"nan"), joined)
    with warnings.catch_warnings():
        # text that is no number ends the parse with a warning only
        warnings.simplefilter("error")
        try:
            return np.fromstring(joined.decode("ascii"), dtype=np.float64, sep=" ")
        except DeprecationWarning as error:
            raise ValueError(str(error)) from None
