"""Numbers of the splits in stores."""

TRAIN, VAL = 0, 1
SPLITS = {"train": TRAIN, "val": VAL}
