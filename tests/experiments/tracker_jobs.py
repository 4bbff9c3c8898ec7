"""Fit a member with one tracker, as a worker does: `python -m tests.experiments.tracker_jobs NAME FOLDER LOGS`.

It pauses after its first epoch; started once more, it resumes to its end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from lighter.engine.runner import Runner
from lighter.trainer.stopping.pause import Pause
from tests.conftest import digits_config
from tests.lightning.test_loggers import LOGGERS


def main(name: str, folder: Path, logs: Path) -> None:
    if (folder / "run.json").exists():
        Runner().resume(folder)
        return
    for path in (folder, logs):
        path.mkdir()
    config = digits_config()
    config["trainer"] |= {
        "enable_progress_bar": False,
        "logger": [yaml.safe_load(LOGGERS[name].replace("logs", str(logs)))],
    }
    Runner().execute("fit", [config], pause=Pause("max_epochs", 1), in_folder=folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
