"""Settings of an evaluation, as dataclasses that the command line and YAML files read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class LinearProbeConfig:
    """Linear classification probe on one view (protocol of SIE and EquiCaps).

    Attributes:
        epochs: one epoch draws one view of every training object.
        steps: exact number of updates; overrides ``epochs`` where given.
        batch_size: views per update.
        lr: learning rate of Adam, constant, without weight decay.
    """

    epochs: int = 300
    steps: int | None = None
    batch_size: int = 256
    lr: float = 1e-3


@dataclass
class RotationProbeConfig:
    """MLP on the features of two views that regresses the relative quaternion (protocol of SIE and EquiCaps).

    Absolute rotation and light (one view in), ``hue_circular`` and translation use the same head and budget.

    Attributes:
        hidden: widths of the hidden layers, ReLU between them; the papers use (1024, 1024).
        epochs: one epoch draws one ordered pair of distinct views of every training object.
        steps: exact number of updates; overrides ``epochs`` where given.
        batch_size: pairs per update.
        lr: learning rate of Adam, constant, without weight decay.
        sign: sign of the target quaternion. ``legacy`` is the published one and needs Euler latents, ``canonical`` is
            w ≥ 0; ``auto`` takes the published one where the store allows it. The choice is written to the results.
        val_pairs: fixed pairs per validation object, the same for every method and run.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    epochs: int = 300
    steps: int | None = None
    batch_size: int = 256
    lr: float = 1e-3
    sign: Literal["auto", "legacy", "canonical"] = "auto"
    val_pairs: int = 20


@dataclass
class HueProbeConfig:
    """Head on the features of two views that regresses the differences of floor and light hue.

    The defaults are EquiCaps' and seq-JEPA's: one linear layer, 50 epochs. SIE's colour probe, whose numbers are not
    comparable with theirs, is the protocol ``hue_mlp``.

    Attributes:
        hidden: widths of hidden layers; none in the linear head.
        epochs, steps, batch_size, lr: as in :class:`RotationProbeConfig`.
    """

    hidden: tuple[int, ...] = ()
    epochs: int = 50
    steps: int | None = None
    batch_size: int = 256
    lr: float = 1e-3


@dataclass
class RetrievalConfig:
    """Retrieval by predicted embeddings (MRR, H@k and PRE of SIE), for methods that predict.

    Every validation object is queried from its first view to each of its views. ``retrieval/…`` is the published
    measure, which counts the query for the view the prediction starts from, answered by doing nothing;
    ``retrieval_strict/…`` leaves this query out and keeps that view among the candidates, where it misleads a predictor
    that ignores the action.

    Attributes:
        train: also look up training objects among themselves (``retrieval_train/…``).
        among_all: also PRE of validation queries among the views of both splits (``retrieval/pre_all``).
        queries: PRE queries, drawn once from a fixed seed; None takes every one, as published. Each one is compared
            with every view, which grows with the square of the data set.
        normalize: rank by cosine, as published; False ranks by dot product.
    """

    train: bool = False
    among_all: bool = False
    queries: int | None = 20_000
    normalize: bool = True


@dataclass
class SequenceConfig:
    """View sequences, for methods that aggregate them (seq-JEPA).

    Attributes:
        lengths: numbers of observed views M; each has its own heads. Those that the store has no room for are left out.
        sequences: sequences drawn once of every object, for heads to learn from and to be scored on.
    """

    lengths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    sequences: int = 16


@dataclass
class PreferenceConfig:
    """Preference heads of simulated people (SIRL), which learn from answers about which of two views is preferred.

    Attributes:
        about: attribute of views that the people care about: ``pose``, ``floor_hue``, ``light_hue``, ``light``, or
            several joined by ``+``; each person's reward is a random linear function of it.
        queries: numbers of answers that heads learn from; more keep the first ones.
        people: how many; their accuracies are averaged.
        pairs: pairs of validation views that the heads are scored on.
        penalty: on the squared weights of the heads, for features whose mean squared length is 1.
        initial: also ask the features of the encoder before training.
    """

    about: str = "floor_hue"
    queries: tuple[int, ...] = (10, 30, 100, 300)
    people: int = 20
    pairs: int = 1000
    penalty: float = 0.1
    initial: bool = True


@dataclass
class TranslationConfig:
    """Rates at which a translator keeps the class and moves the bias (CDvG).

    Attributes:
        reference: run of `Supervised` on an unbiased store of the same classes, which tells the class.
        follower: run of `Supervised` on the biased store, which reads the bias; None leaves that rate out.
        images: views of training objects that are translated, at most.
    """

    reference: str | None = None
    follower: str | None = None
    images: int = 2000


@dataclass
class EvaluateConfig:
    """Frozen features, probes and diagnostics of one run.

    Attributes:
        protocols: what to measure: names of :data:`equissl.evaluation.PROBES` or import paths of one's own, and
            ``retrieval``, ``subject``, ``train_mode``, ``preference``, ``translation``, ``aggregate``,
            ``path_integration``, ``sequence_retrieval``. None takes all that the store and the method allow, but for
            ``worst_group``, ``subject``, ``preference``, ``translation`` and the variants ``hue_mlp`` and
            ``train_mode``; one asked for by name that is impossible (translations that the store does not hold,
            retrieval without a predictor) is an error.
        classification, rotation, hue: the probes.
        retrieval: look-up of predicted embeddings.
        preference: heads of simulated people.
        translation: runs by which a translator is judged.
        sequence: what is asked of methods that aggregate views.
        group: latent whose bands make the groups of ``worst_group``: ``floor_hue`` or ``light_hue``, see
            `equissl render --bias`.
        ood_store: a store of other poses of the same classes, such as `equissl render --rotation_gap` writes: what the
            heads learned is also asked of its validation objects, under ``ood/…``.
        parts: parts of the features to probe; all that ``features`` of the method returns where None. A method that
            predicts also has ``embedding``, the equivariant embedding that its predictor works on.
        standardize: centre and scale every feature dimension with statistics of the training objects before probing,
            the same way for every method. The published protocol probes raw features. At a constant learning rate and a
            short budget a raw probe measures scale as much as content: a part that varies little looks invariant even
            where a longer training would read the pose from it. Standardise when the budget is small.
        individual: write absolute rotation under ``individual/…`` too, as earlier versions named it.
        batch_size: views per forward pass of the backbone.
        workers: threads that decode views ahead of the backbone; None takes one per core beside a GPU, none on a CPU.
        precision: arithmetic of the backbone (``bf16`` autocasts, ``auto`` does so where the device computes in it).
        probe_precision: arithmetic of the probes' layers; weights, losses and predictions stay fp32, metrics fp64.
        feature_dtype: how cached features are stored. float16 halves the file but loses what a nearly collapsed part
            holds.
        cache: keep the features in ``RUN/features`` so that a second evaluation starts from them; large ones are read
            through a memory map. Without it they are held in memory.
        diagnostic_batches: validation batches on which the predictor's real and ignored-action losses are compared.
        device: ``auto`` takes a GPU where there is one.
        seed: of probe initialisation, sampling and the fixed validation pairs.
    """

    protocols: list[str] | None = None
    classification: LinearProbeConfig = field(default_factory=LinearProbeConfig)
    rotation: RotationProbeConfig = field(default_factory=RotationProbeConfig)
    hue: HueProbeConfig = field(default_factory=HueProbeConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    translation: TranslationConfig = field(default_factory=TranslationConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    group: Literal["floor_hue", "light_hue"] = "floor_hue"
    ood_store: str | None = None
    parts: list[str] | None = None
    standardize: bool = False
    individual: bool = False
    batch_size: int = 256
    workers: int | None = None
    precision: Literal["auto", "32", "bf16"] = "32"
    probe_precision: Literal["auto", "32", "bf16"] = "32"
    feature_dtype: Literal["float32", "float16"] = "float32"
    cache: bool = True
    diagnostic_batches: int = 8
    device: str = "auto"
    seed: int = 0
