"""Config of a run: plain data, so that it can be saved, compared and run again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from equissl.datasets.config import DataConfig
from equissl.util.configtree import ConfigError, flatten


@dataclass
class MethodConfig:
    """Method, and the arguments of its constructor.

    Attributes:
        class_path: name in `equissl.methods.METHODS` (``SIE``), or import path of any other `Method`.
        init_args: arguments of its constructor; those left out keep their defaults.
    """

    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimConfig:
    """Optimiser and learning rate. The defaults are the recipe of SIE and EquiCaps: Adam at a constant rate.

    Attributes:
        lr: learning rate, the highest one of the schedule.
        lr_for: batch that the rates are those of: all are multiplied by items of a step / ``lr_for``, the linear rule
            of Goyal et al. 2017 (arXiv 1706.02677). None leaves them.
        weight_decay: of all parameters of the method: an L2 penalty for ``adam``, ``sgd`` and ``lars``, decoupled from
            the gradient for ``adamw``.
        weight_decay_end: weight decay at the end of the run, reached on half a cosine (DINO, arXiv 2104.14294); None
            keeps it.
        decay_vectors: also of parameters with one dimension: biases, and what normalisation layers learn. Without it
            ``lars`` does not adapt their rate either.
        encoder_scale: learning rate of the encoder as a multiple of ``lr``. Fine-tuning with less than 1 keeps more of
            what a pretrained encoder knows; 0 is an error, ``--frozen`` does that.
        optimizer: ``adam``, ``adamw``, ``sgd`` with momentum, or ``lars``, sgd whose rate is scaled in each tensor by
            ``trust`` · norm of the weights / norm of the update (You et al. 2017, arXiv 1708.03888).
        trust: trust coefficient of ``lars``.
        schedule: ``constant``, ``cosine`` or ``one_cycle``, over the steps of the whole run; see
            :func:`equissl.training.schedule.learning_rate`.
        warmup: steps of linear warm-up, for ``constant`` and ``cosine``.
        start: rate that the warm-up starts from; None starts at lr/warmup and reaches ``lr`` one step earlier.
        end: rate that ``cosine`` falls to.
        by_epoch: the rate and momentum move once a pass over the data, and ``warmup`` counts passes.
        betas: of Adam; the first is the momentum of ``sgd`` and ``lars``.
        momentum: for ``one_cycle``: highest and lowest first beta, which moves against the rate; None keeps it.
        clip: largest norm of the gradient of all parameters together; a longer one is scaled down. None leaves it.
    """

    lr: float = 1e-3
    lr_for: int | None = None
    weight_decay: float = 1e-6
    weight_decay_end: float | None = None
    decay_vectors: bool = True
    encoder_scale: float = 1.0
    optimizer: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    trust: float = 1e-3
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup: int = 0
    start: float | None = None
    end: float = 0.0
    by_epoch: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: tuple[float, float] | None = None
    clip: float | None = None

    @property
    def moves(self) -> bool:
        """True where rate or weight decay depend on the length of the run."""
        return self.schedule != "constant" or self.weight_decay_end is not None

    def for_batch(self, items: int) -> OptimConfig:
        """Return the same settings with the rates of a step of so many items, see ``lr_for``.

        Args:
            items: of a step, over all processes and accumulated batches.
        """
        if self.lr_for is None:
            return self
        scale = items / self.lr_for
        start = None if self.start is None else scale * self.start
        return replace(self, lr=scale * self.lr, start=start, end=scale * self.end, lr_for=None)


@dataclass
class TrainerConfig:
    """Training length, hardware and logging.

    Attributes:
        max_epochs: passes over the objects; None when max_steps alone decides.
        max_steps: optimiser steps; whichever of the two comes first ends the run.
        precision: of activations: 32, bf16, 16, or auto (bf16 where the device computes in it, else 32). Losses are
            always computed in 32 bits.
        accumulate: batches in one optimiser step.
        channels_last: memory layout of convolutions.
        compile: compile the encoder with torch.compile.
        accelerator: auto takes a GPU where there is one; gpu fails where there is none.
        devices: processes on each machine.
        nodes: machines; more than one needs torchrun or SLURM.
        threads: CPU threads of each process; None keeps torch's choice.
        log_every: steps between two rows of metrics.csv.
        checkpoint_every: steps between two checkpoints.
        checkpoint_minutes: or minutes, whichever comes first.
        strategy: of several processes: ``ddp`` keeps a copy of the method in each, ``fsdp`` shards of it; auto is ddp.
        loggers: ``csv`` (always written), ``tensorboard``, ``wandb``, ``mlflow``, or import paths; see
            :mod:`equissl.training.loggers`.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    accumulate: int = 1
    channels_last: bool = True
    compile: bool = False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    threads: int | None = None
    log_every: int = 50
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 10.0
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    loggers: list[str] = field(default_factory=lambda: ["csv", "tensorboard"])

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        return self.devices * self.nodes


@dataclass
class ProbeConfig:
    """Online probes: small heads trained beside the method on its detached representation, for kinds with labels.

    Attributes:
        enabled: train them.
        hidden: width of the rotation MLP.
        lr: learning rate of their own Adam.
        every: batches between two updates of the probes.
    """

    enabled: bool = True
    hidden: int = 256
    lr: float = 1e-3
    every: int = 1


@dataclass
class CollapseConfig:
    """Collapse diagnostics.

    Attributes:
        every: steps between two measurements; 0 turns them off.
        std: warn when the mean standard deviation of a feature is below this.
        rankme: warn when the effective rank of a batch of features is below this.
        action_ratio: warn when the loss with the wrong action is at most this many times the loss with the right one.
        warmup: steps before the first warning.
    """

    every: int = 100
    std: float = 0.01
    rankme: float = 2.0
    action_ratio: float = 1.02
    warmup: int = 500


@dataclass
class PretrainConfig:
    """One pretraining run.

    Attributes:
        method: class and constructor arguments.
        data: where the data are and how they are batched: the section of the kind of data.
        optim: optimiser.
        trainer: length, device and logs.
        probes: online probes.
        collapse: collapse diagnostics.
        seed: of the initial weights, and of the data where ``data.seed`` is None.
        init: run folder, exported folder or checkpoint (OpenPCDet's, torchvision's and timm's too) whose encoder
            training starts from; see :func:`equissl.weights.load_backbone`. None starts from random weights.
    """

    method: MethodConfig
    data: DataConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    probes: ProbeConfig = field(default_factory=ProbeConfig)
    collapse: CollapseConfig = field(default_factory=CollapseConfig)
    seed: int = 0
    init: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dictionaries, as saved in config.yaml."""
        return asdict(self)


POSITIVE = ("data.batch_size", "trainer.accumulate", "trainer.devices", "trainer.nodes", "trainer.log_every",
            "trainer.checkpoint_every", "probes.every", "probes.hidden")  # fmt: skip


def check_config(config: PretrainConfig) -> None:
    """Raise ConfigError for values that no run can have."""
    values = flatten(config.to_dict())
    for key in POSITIVE:
        if values[key] < 1:
            raise ConfigError(f"expected {key} of at least 1, got {values[key]}")
    for key in ("optim.lr", "optim.encoder_scale", "probes.lr", "trainer.checkpoint_minutes"):
        if not values[key] > 0:
            raise ConfigError(f"expected {key} above 0, got {values[key]}")
    if config.optim.weight_decay < 0 or config.seed < 0:
        raise ConfigError(
            f"expected optim.weight_decay and seed of at least 0, got {config.optim.weight_decay} and {config.seed}"
        )
    _check_optim(config.optim)
    if config.optim.optimizer == "lars" and config.trainer.strategy == "fsdp":
        raise ConfigError("expected trainer.strategy ddp with optimizer lars, whose rates want norms of whole tensors")
    if config.trainer.max_epochs is None and config.trainer.max_steps is None:
        raise ConfigError("expected trainer.max_epochs or trainer.max_steps to say when the run ends, got neither")
    for key in ("trainer.max_epochs", "trainer.max_steps"):
        if values[key] is not None and values[key] < 1:
            raise ConfigError(f"expected {key} of at least 1 or null, got {values[key]}")


def _check_optim(optim: OptimConfig) -> None:
    if (optim.lr_for is not None and optim.lr_for < 1) or not optim.trust > 0:
        raise ConfigError(f"expected optim.lr_for of at least 1 and trust above 0, got {optim.lr_for}, {optim.trust}")
    if (optim.weight_decay_end or 0.0) < 0:
        raise ConfigError(f"expected optim.weight_decay_end of at least 0, got {optim.weight_decay_end}")
    if optim.clip is not None and not optim.clip > 0:
        raise ConfigError(f"expected optim.clip above 0 or null, got {optim.clip}")
    if optim.warmup < 0:
        raise ConfigError(f"expected optim.warmup of at least 0, got {optim.warmup}")
    if optim.warmup and optim.schedule == "one_cycle":
        raise ConfigError(f"expected optim.warmup 0: one_cycle brings its own, got {optim.warmup}")
    if (optim.start or 0.0) < 0 or optim.end < 0:
        raise ConfigError(f"expected optim.start and optim.end of at least 0, got {optim.start} and {optim.end}")
    if optim.start is not None and not optim.warmup:
        raise ConfigError(f"expected optim.warmup, which begins at optim.start, got start {optim.start} alone")
    if optim.end and optim.schedule != "cosine":
        raise ConfigError(f"expected optim.end with schedule cosine only, got {optim.end} with {optim.schedule}")
    if optim.momentum is not None and optim.schedule != "one_cycle":
        raise ConfigError(f"expected optim.momentum with schedule one_cycle only, got it with {optim.schedule}")
    for name in ("betas", "momentum"):
        if (values := getattr(optim, name)) is not None and not all(0 <= value < 1 for value in values):
            raise ConfigError(f"expected optim.{name} of at least 0 and below 1, got {list(values)}")
