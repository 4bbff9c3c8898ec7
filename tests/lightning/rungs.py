"""One experiment on each rung of the ladder: the same network, data and loss."""

from __future__ import annotations

from typing import Any

from tests.lightning.compare import config_of

_PARTS = """
  network: {_target_: tests.jobs.mlp}
  criterion: {_target_: torch.nn.CrossEntropyLoss}
  optimizer: {_target_: torch.optim.SGD, lr: 0.05, momentum: 0.9}
"""
_SYSTEM = """
  adapters: {predict: {batch: {_target_: lighter.adapters.BatchAdapter, input_accessor: 0}}}
  dataloaders:
    train: {_target_: tests.jobs.loader, start: 0, end: 96, batch_size: 16, shuffle: true}
    val: {_target_: tests.jobs.loader, start: 96, end: 136, batch_size: 16}
    test:
      - {_target_: tests.jobs.loader, start: 136, end: 176, batch_size: 16}
      - {_target_: tests.jobs.loader, start: 96, end: 136, batch_size: 16}
    predict:
      - {_target_: tests.jobs.loader, start: 136, end: 176, batch_size: 16}
      - {_target_: tests.jobs.loader, start: 96, end: 136, batch_size: 20}
"""
RUNGS = {
    "plain": "model: {_target_: tests.lightning.jobs.%s}",
    "steps": "model:\n  _target_: tests.lightning.jobs.%s" + _PARTS,
    "forward": "model:\n  _target_: tests.lightning.jobs.%s" + _PARTS.replace("network", "model"),
    "system": "system:\n  _target_: tests.lightning.jobs.%s" + _PARTS.replace("network", "model") + _SYSTEM,
}
CLASSES = {"plain": "AllSteps", "steps": "Steps", "forward": "Forward", "system": "NoCode"}


def experiment(rung: str, more: str = "", trainer: str = "lighter.Trainer", name: str = "") -> dict[str, Any]:
    """The experiment's config. `more` is further YAML, `name` another class of `tests.lightning.jobs`."""
    config = config_of(f"{RUNGS[rung] % (name or CLASSES[rung])}\n{more}", trainer)
    return {key: value for key, value in config.items() if (rung, key) != ("system", "data")}
