"""Spaces from YAML, for the tests of search."""

from __future__ import annotations

from pathlib import Path

from lighter.config import Config
from lighter.config.check import check_shape
from lighter.config.load import load
from lighter.config.problems import Problem
from lighter.config.tree import Node
from lighter.errors import ConfigError
from lighter.experiments.space import Space, parse_space

CONFIG = """
vars: {width: 32}
model:
  _target_: builtins.dict
  optimizer: {_target_: torch.optim.Adam, lr: 0.001, betas: [0.9, 0.99]}
  network: {_target_: my.Net, width: 16, activation: relu, hidden: [8, 8]}
  dropout: 0.1
  layers: 4
  name: plain
  wide: "$@vars::width * 2"
data: {_target_: builtins.dict, train_dataloader: {batch_size: 32}}
trainer: {_target_: lighter.Trainer, max_epochs: 3}
"""


def section(folder: Path, search: str) -> tuple[Node, Config]:
    """The section `experiment::search`, indented by four spaces here, and the config without the experiment."""
    file = folder / "c.yaml"
    file.write_text(f"experiment:\n  search:\n{search}{CONFIG}")
    root = load([file])
    node = root.find("experiment::search")
    assert node is not None
    del root.value["experiment"]
    root.value["seed"] = Node(0, root.origin)
    problems: list[Problem] = []
    config = Config(root, check_shape(root, problems))
    assert not problems, problems
    return node, config


def parsed(folder: Path, search: str) -> tuple[Space, list[Problem]]:
    problems: list[Problem] = []
    return parse_space(*section(folder, search), problems), problems


def space(folder: Path, search: str) -> Space:
    parsed_space, problems = parsed(folder, search)
    if problems:
        raise ConfigError(problems)
    return parsed_space
