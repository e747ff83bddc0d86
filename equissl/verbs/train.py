"""Verbs for training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from equissl.util.configtree import merge, values_by_key
from equissl.util.overrides import full_key, parse_overrides
from equissl.util.recipes import find_config, read_yaml
from equissl.util.runfolder import CONFIG_FILE
from equissl.verbs.check import WordError, split_words
from equissl.verbs.helptext import HELP, MORE, asked_section, full_help, section_help, short_help, wants_all, wants_help
from equissl.verbs.options import Option, Options
from equissl.verbs.parser import loaded
from equissl.verbs.runs import adopted_encoder
from equissl.verbs.training import check_kind, check_method, check_names, check_tree, config_options
from equissl.verbs.words import split_options

NO_CONFIG = "; with --config or --method those of its data and method are listed too"
OWN = (
    Option("config", "a YAML file, or the name of a packaged recipe (demo_sie)", default="RUN/config.yaml"),
    Option("out", "run folder", default=None),
    Option("print_config", "show the resolved config and stop", default=""),
)
FINETUNE = (
    Option("labels", "share of the labels that are used (0.05); for sweeps also a file of their ids", default="1.0"),
    Option("label_seed", "of the share", default="0"),
    Option("frozen", "leave the pretrained encoder as it is", default=""),
)
TRAIN_STAGES = "equissl.training.stages:train_stages"
STAGES = (
    Option("stages", "how many, stage 0 included", default="3"),
    Option("clusters", "of each clustering between two stages", default="10"),
    Option("part", "what is clustered: a part of the features, or embedding", default="all"),
    Option("iterations", "largest number of updates of k-means", default="100"),
)


def pretrain(argv: list[str]) -> int:
    """Pretrain a method; started again with the same --out, it continues.

    equissl pretrain --config FILE.yaml --out RUN [--any.key value ...]
    """
    return _train(argv, "pretrain", OWN)


def stages(argv: list[str]) -> int:
    """Train stages that draw negatives from clusters of the ones before (MCL); started again it continues.

    equissl stages --config FILE.yaml --out FOLDER [--stages 3] [--clusters 10] [--any.key value ...]
    """
    words, given = split_options(argv, tuple(f"--{option.key}" for option in STAGES))
    settings = {name[2:]: _number(name, value) if name != "--part" else value for name, value in given.items()}
    return _train(words, "stages", OWN + STAGES, lambda: partial(loaded(TRAIN_STAGES), **settings))


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise WordError(f"{name}: expected a whole number, got {value!r}")
    return int(value)


def finetune(argv: list[str]) -> int:
    """Train a detector or a classifier, from a pretrained encoder or from scratch; started again it continues.

    equissl finetune --config FILE.yaml --out RUN [--init PRETRAINED] [--labels SHARE] [--frozen] [--any.key value]
    """
    short = {"--labels": "--data.labels", "--label_seed": "--data.label_seed"}
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if word == "--frozen":
            words += ["--method.init_args.frozen", "true"]
        else:
            words.append(short.get(name, name) + equals + value)
    return _train(words, "finetune", OWN + FINETUNE)


def _train(
    argv: list[str],
    verb: str,
    own: tuple[Option, ...],
    load: Callable[[], Callable[[Any, str | None], Any]] = lambda: loaded("equissl.training:pretrain"),
) -> int:
    """Run a verb that trains with the words given; ``load`` imports its function of a config and a folder."""
    words, given = split_options(argv, ("--config", "--out"))
    out, config_file = given.get("--out"), given.get("--config")
    if config_file is None and out is not None and (Path(out) / CONFIG_FILE).is_file():
        config_file = str(Path(out) / CONFIG_FILE)
    base = read_yaml(find_config(config_file)) if config_file else {}
    if wants_help(words):
        print(_help(words, verb, base, own))
        return 0
    shown = "--print_config" in words
    words = [word for word in words if word != "--print_config"]
    words += _adopted(words, base)
    _check(words, verb, base, own, Path(config_file).name if config_file else "command line")
    if not shown and out is None:
        raise ValueError("expected --out RUN, the folder to write to")
    config = loaded("equissl.runs.configfile:load_config")(config_file, words)
    if shown:
        print(loaded("equissl.runs.configfile:dump_config")(config), end="")
    else:
        print(load()(config, out))
    return 0


def _check(words: list[str], verb: str, base: dict[str, Any], own: tuple[Option, ...], origin: str) -> None:
    """Check the words, and the config that they make of ``base``."""
    given = _pairs(words)
    # the method and the kind of data decide which other flags there are
    deciding = [f"--{key}={value}" for key, value in given if full_key(key) in ("method.class_path", "data.kind")]
    chosen = merge(base, parse_overrides(deciding))
    check_kind(chosen, origin)
    check_names([full_key(key) for key, _ in given], config_options(chosen, own), verb)
    tree = merge(base, parse_overrides(words))
    check_tree(tree, config_options(tree), origin)


def _adopted(words: list[str], base: dict[str, Any]) -> list[str]:
    """Return flags of the encoder that a method takes from the run it starts from; none of other methods."""
    given = [f"--{key}={value}" for key, value in _pairs(words)]
    found = values_by_key(adopted_encoder(merge(base, parse_overrides(given))))
    return [f"--{key}={json.dumps(value)}" for key, value in found.items() if key.endswith(".encoder")]


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    """Return flags with their values, whatever the flags."""
    anything = Options()
    anything.loose = True
    return split_words(words, anything)[1]


def _help(words: list[str], verb: str, base: dict[str, Any], own: tuple[Option, ...]) -> str:
    """Return the help that the words ask for, of the config's kind of data and method once they are known."""
    section = asked_section(words)
    rest = [word for word in words if word not in (*HELP, "all") and not word.endswith(".help")]
    if section == "method" and rest and not rest[0].startswith("--"):
        rest = ["--method", *rest]
    tree = merge(base, parse_overrides(rest))
    check_method(tree)
    if section.startswith("method.") and not tree.get("method"):
        raise WordError(f"expected --config or --method to say whose argument {section.partition('.')[2]!r} is")
    options = config_options(tree, own)
    if section:
        return section_help(options, section if section == "method" else full_key(section), verb, values_by_key(tree))
    text = (VERBS[verb].__doc__ or "").partition("\n\n")[2].strip()
    head = f"usage: {text}\n\nEvery key of the config is a flag{'' if tree else NO_CONFIG}:\n"
    if wants_all(words):
        return f"{head}\n{full_help(options, values_by_key(tree))}"
    return f"{head}\n{short_help(options, values_by_key(tree))}\n\n{MORE.format(verb)}"


VERBS = {"pretrain": pretrain, "stages": stages, "finetune": finetune}
