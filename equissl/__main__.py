"""``python -m equissl`` is the program ``equissl``; torchrun needs this form."""

import sys

from equissl.cli import main

sys.exit(main())
