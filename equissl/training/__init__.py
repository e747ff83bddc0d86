"""Training: the loop, online probes, collapse diagnostics, checkpoints and curves."""

# This name hides the submodule of the same name, which stays importable as `equissl.training.pretrain`.
from equissl.training.pretrain import TrainingDivergedError, pretrain

__all__ = ["TrainingDivergedError", "pretrain"]
