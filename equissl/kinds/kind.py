"""What training, evaluation, reports and exports ask of a kind of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from equissl.datasets.config import DataConfig
    from equissl.methods.base import Method
    from equissl.reporting.runs import Run
    from equissl.reporting.table import Column, Row
    from equissl.runs.config import PretrainConfig
    from equissl.training.metriclog import MetricLog

Results = dict[str, Any]
Log = Callable[[str], None]


class Kind(ABC):
    """One kind of data.

    Attributes:
        name: in configs, results and registries.
        unit: what curves and rates count: ``views``.
        batch: type of a batch; a method of this kind's batches can be trained on it.
        data: the section ``data`` of its configs.
        options: dataclass of what `equissl evaluate` can be told.
        source: what the data have to be, for errors: ``a view store, which `equissl render` writes``.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    batch: ClassVar[type]
    data: ClassVar[type[DataConfig]]
    options: ClassVar[type]
    source: ClassVar[str]

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return True for a store or folder of this kind that is certainly of no other."""

    @abstractmethod
    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> Any:
        """Open one split of the config's data.

        Args:
            config: resolved.
            method: that learns from it.
            split: ``train``, ``val``, or None for all.

        Returns:
            a dataset: ``len``, ``views`` (of a row of a batch), and ``__getitems__`` of addresses (epoch, index), which
            gives a batch.

        Raises:
            ConfigError: settings or data that do not fit the method.
        """

    def resolve(self, config: PretrainConfig) -> PretrainConfig:
        """The config with absolute paths, as it is saved."""
        return config

    def prepare(self, config: PretrainConfig, method: Method, dataset: Any, out: Path, fresh: bool) -> None:
        """What is done once before the first step, in every process.

        Args:
            config: resolved.
            method: with its initial weights, or those to continue from.
            dataset: from `open`.
            out: run folder.
            fresh: False where a run continues, or starts from given weights.
        """

    def arrange(self, method: Method, channels_last: bool) -> Method:
        """The method in the memory format that suits the data."""
        return method

    def observers(self, config: PretrainConfig, method: Method, dataset: Any, log: MetricLog) -> list[Any]:
        """Online probes and other observers of training."""
        return []

    @abstractmethod
    def evaluate(
        self,
        run_dir: Path,
        method: Any,
        training: PretrainConfig,
        options: Any,
        store: str | Path | None = None,
        log: Log = lambda message: None,
    ) -> Results:
        """Measure the frozen method of a run, and write ``RUN/results.json``.

        Args:
            run_dir: folder that `pretrain` wrote.
            method: in eval mode on the CPU.
            training: config of the run.
            options: of type `options`.
            store: data to evaluate on; the run's own where None.
            log: called with one line per stage.

        Returns:
            the flat results, as written.
        """

    @abstractmethod
    def columns(self, results: Sequence[Results]) -> tuple[Column, ...]:
        """The columns of the table of these results."""

    def baselines(self, results: Sequence[Results]) -> list[Row]:
        """Rows of what needs no learning."""
        return []

    @abstractmethod
    def page(self, runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
        """The HTML page about evaluated runs.

        Args:
            runs: in the order they appear.
            store: where pictures come from; the first run's evaluation data where None.
            title: heading of the page.
        """

    @abstractmethod
    def card(self, method: Any, config: PretrainConfig) -> dict[str, Any]:
        """What the card of an exported method says of its input and its parts."""
