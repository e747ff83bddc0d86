"""Interface of a kind of data for training, evaluation, reports and exports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from equissl.util.configtree import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from equissl.datasets.config import DataConfig
    from equissl.methods.base import Method
    from equissl.reporting.runs import Run
    from equissl.reporting.table import Column, Row
    from equissl.runs.config import PretrainConfig
    from equissl.training.metriclog import MetricLog
    from equissl.util.progress import Log

Results = dict[str, Any]


class Kind(ABC):
    """One kind of data.

    Attributes:
        name: in configs, results and registries.
        unit: what curves and rates count: ``views``.
        batch: type of a batch; a method of this kind's batches can be trained on it.
        data: the section ``data`` of its configs.
        options: dataclass of what `equissl evaluate` can be told.
        source: what the data have to be, for errors: ``a view store, which `equissl render` writes``.
        place: setting of the section ``data`` that names the store or folder.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    batch: ClassVar[type]
    data: ClassVar[type[DataConfig]]
    options: ClassVar[type]
    source: ClassVar[str]
    place: ClassVar[str] = "store"

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return True for a store or folder of this kind that is certainly of no other."""

    def accepts(self, path: Path) -> bool:
        """Return True for a store or folder that this kind can be told to take, although it may be of another."""
        return self.recognises(path)

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

    def location(self, data: Any) -> str:
        """Return the store or folder that a section ``data`` names; empty where it names none."""
        return getattr(data, self.place)

    def resolve(self, data: Any) -> Any:
        """Return the section ``data`` with absolute paths, as it is saved."""
        place = self.location(data)
        return replace(data, **{self.place: str(Path(place).resolve())}) if place else data

    def represent(self, config: PretrainConfig, method: Any, part: str) -> Tensor:
        """Compute the representation (N, D) of every training item, without augmentation, in the data set's order.

        Args:
            config: resolved.
            method: in eval mode.
            part: ``all`` or another part of the method's features, or ``embedding``.

        Raises:
            ConfigError: items of this kind have none.
        """
        raise ConfigError(f"items of kind {self.name!r} have no representation without augmentation, to cluster by")

    def prepare(self, config: PretrainConfig, method: Method, dataset: Any, out: Path, fresh: bool) -> dict[str, float]:
        """Do what is due once before the first step, in every process.

        Args:
            config: resolved.
            method: with its initial weights, or those to continue from.
            dataset: from `open`.
            out: run folder.
            fresh: False where a run continues, or starts from given weights.

        Returns:
            measures of the start, by name, for the first row of the log.
        """
        return {}

    def arrange(self, method: Method, channels_last: bool) -> Method:
        """Return the method in the memory format that suits the data.

        Args:
            method: the method to train.
            channels_last: True where the config asks for it.
        """
        return method

    def observers(self, config: PretrainConfig, method: Method, dataset: Any, log: MetricLog) -> list[Any]:
        """Create online probes and other observers of training.

        Args:
            config: of the run.
            method: the method to train.
            dataset: training data.
            log: receives values of observers.
        """
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
        """Measure the frozen method of a run, and write the results with `equissl.runs.write_results`.

        The settings belong among them (`equissl.runs.results.flat_config`): with the store they tell evaluations apart.

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
        """Return the columns of the table of these results."""

    def baselines(self, results: Sequence[Results]) -> list[Row]:
        """Return rows of what needs no learning."""
        return []

    @abstractmethod
    def page(self, runs: Sequence[Run], store: str | Path | None = None, title: str | None = None) -> str:
        """Render the HTML page about evaluated runs.

        Args:
            runs: in the order they appear.
            store: where pictures come from; the first run's evaluation data where None.
            title: heading of the page.
        """

    @abstractmethod
    def card(self, method: Any, config: PretrainConfig) -> dict[str, Any]:
        """Describe the input and the parts of an exported method, for its card.

        Args:
            method: the exported method.
            config: of the run.
        """

    def library_backbone(self, method: Any, config: PretrainConfig) -> tuple[Any, str]:
        """Return the encoder as a model of another library (a `LibraryBackbone`), or None and the reason.

        Args:
            method: the exported method.
            config: of the run.
        """
        return None, f"no other library has an encoder of {self.name} like {type(method).__name__}'s"

    def export_formats(self) -> Mapping[str, Callable[[Any, Path], Any]]:
        """Return writers of other formats by name, each called with a method and a folder."""
        return {}
