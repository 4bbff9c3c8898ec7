"""An executor that trains nothing: members end in a random order, with records as a fit would write them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lighter.experiments.executors.base import ERROR, Ended, Task

Loss = Callable[[str, float], float | str | None]
"""The loss of a member after so many epochs, by its folder's name; a text if it fails, None if its process dies."""


def loss_of(name: str, epochs: float) -> float:
    """A loss of its own for each member, which falls with the epochs."""
    return random.Random(name).random() + 1 / (1 + epochs)


@dataclass
class FakeExecutor:
    """Runs `workers` members at once; `starts` has the folder's name and the epochs of each start, in their order."""

    workers: int = 1
    limit: float = 9
    loss: Loss = loss_of
    seed: int = 0
    starts: list[tuple[str, float]] = field(default_factory=list)
    running: list[Task] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def adopt(self) -> Sequence[Path]:
        return [Path(task.folder) for task in self.running]

    def free(self) -> int:
        return self.workers - len(self.running)

    def start(self, task: Task) -> None:
        assert task.folder not in [other.folder for other in self.running], "one member twice at once"
        self.starts.append((Path(task.folder).name, self._epochs(task)))
        self.running.append(task)

    def ended(self, timeout: float) -> Sequence[Ended]:
        if not self.running:
            return []
        task = self.running.pop(self.random.randrange(len(self.running)))
        self.train(task)
        return [Ended(Path(task.folder), "exit code 0")]

    def stop(self) -> None:
        self.running.clear()

    def train(self, task: Task) -> None:
        """Leave in the folder what a fit would."""
        folder, epochs = Path(task.folder), self._epochs(task)
        loss = self.loss(folder.name, epochs)
        if isinstance(loss, str):
            (folder / ERROR).write_text(loss)
        elif loss is not None:
            write_record(folder, "paused" if task.pause else "finished", int(epochs), {"val/loss/epoch": loss})

    def _epochs(self, task: Task) -> float:
        return task.pause[1] if task.pause else self.limit

    def __enter__(self) -> FakeExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def write_record(folder: Path, status: str, epochs: int, metrics: dict[str, Any]) -> None:
    facts = {"stage": "fit", "status": status, "progress": {"epoch": epochs, "step": epochs}, "metrics": metrics}
    (folder / "run.json").write_text(json.dumps(facts))
