"""Verbs for training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from equissl.runs.configfile import config_parser, dump_config, find_kind, find_method, load_config
from equissl.runs.recipes import find_config, read_yaml
from equissl.training import pretrain as run_training
from equissl.verbs.words import split_options


def pretrain(argv: list[str]) -> int:
    """Pretrain a method; started again with the same --out, it continues.

    equissl pretrain --config FILE.yaml --out RUN [--any.key value ...]

    --config     a YAML file, or the name of a packaged recipe (demo_sie); default: RUN/config.yaml, if it is there
    --out        run folder
    --print_config  shows the resolved config and stops
    Every key of the config is a flag: --trainer.max_steps 100 --method VICReg --method.init_args.sim 5
    """
    return _train(argv, pretrain)


def finetune(argv: list[str]) -> int:
    """Train a detector of 3D boxes, from a pretrained backbone or from scratch; started again it continues.

    equissl finetune --config FILE.yaml --out RUN [--init PRETRAINED] [--labels SHARE] [--frozen] [--any.key value ...]

    --config     a YAML file, or the name of a packaged recipe (detection/second_small); default: RUN/config.yaml
    --out        run folder; labels.txt in it lists the frames whose labels were used
    --init       run of `equissl pretrain`, folder of `equissl export`, or checkpoint of OpenPCDet; its voxel backbone
    --labels     share of the training frames whose labels are used (0.05), or a file of their ids; default: all
    --label_seed of the share
    --frozen     train neck and head alone
    --print_config  shows the resolved config and stops
    Every key of the config is a flag: --trainer.max_steps 100 --data.store drives.h5
    """
    short = {"--labels": "--data.labels", "--label_seed": "--data.label_seed"}
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if word == "--frozen":
            words += ["--method.init_args.frozen", "true"]
        else:
            words.append(short.get(name, name) + equals + value)
    return _train(words, finetune)


def _train(argv: list[str], verb: Callable[[list[str]], int]) -> int:
    """Run ``pretrain`` or ``finetune`` with the words given."""
    words, options = split_options(argv, ("--config", "--out"))
    out = options.get("--out")
    config_file = options.get("--config")
    if config_file is None and out is not None and (Path(out) / "config.yaml").is_file():
        config_file = str(Path(out) / "config.yaml")
    if "-h" in words or "--help" in words:
        return _train_help(config_file, verb)
    shown = "--print_config" in words
    config = load_config(config_file, [word for word in words if word != "--print_config"])
    if shown:
        print(dump_config(config), end="")
        return 0
    if out is None:
        raise ValueError("expected --out RUN, the folder to write to")
    print(run_training(config, out))
    return 0


def _train_help(config_file: str | None, verb: Callable[[list[str]], int]) -> int:
    """Print the flags of the kind of data and of the method's constructor too, once a config names them."""
    print("usage: " + (verb.__doc__ or "").partition("\n\n")[2].replace("\n    ", "\n").strip())
    parser = config_parser()
    if config_file:
        tree = read_yaml(find_config(config_file))
        method = find_method(tree, config_file)
        parser = config_parser(method, find_kind(tree, method, config_file))
    text = parser.format_help()
    text = re.sub(r"^  --\S+ CONFIG +Path to a configuration file\.\n", "", text, flags=re.MULTILINE)
    print("\n" + text[text.find("options:") :])
    return 0
