"""The JSON of a command that runs a stage: the run's folder, how it ended, metrics and checkpoints."""

from __future__ import annotations

from typing import Any

from lighter.cli.json_output import give, is_asked
from lighter.errors import RunError
from lighter.files.run_folder import RunFolder
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.read import Run, read_run


def give_run(command: str, folder: RunFolder) -> None:
    """Give the document of a run that has ended, well or not. Of one that did not begin, nothing is left to tell."""
    if not is_asked():
        return
    try:
        run = read_run(folder.path)
    except RunError:  # its folder was removed, or nothing of it could be written
        return
    give(f"{command}/1", {**run_data(run), "exit_code": 0, "errors": []})


def run_data(run: Run) -> dict[str, Any]:
    """Return what programs want to know of a run."""
    checkpoints = Checkpoints(run.folder, run.facts)
    predictions = run.folder.predictions.glob("*")
    return {
        "id": run.id,
        "path": str(run.folder.path),
        "stage": run.facts.get("stage"),
        "status": run.status,
        "seconds": run.seconds,
        "progress": run.facts.get("progress"),
        "metrics": run.metrics,
        "checkpoints": {
            "last": checkpoints.last,
            "best": [best._asdict() for best in checkpoints.bests],
            "all": [checkpoint.path for checkpoint in checkpoints.newest],
        },
        "predictions": sorted(path for path in predictions if path.is_dir()),
    }
