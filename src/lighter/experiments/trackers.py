"""Let trackers show the members of an experiment as the runs of one group.

Environment variables say it, so whatever a config or the user's shell says goes first, and a member's config means the
same when it is run by hand. TensorBoard needs none: it names runs by their folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

_MLFLOW = "MLFLOW_RUN_CONTEXT"  # tags in JSON, which MLflow gives to every run


def variables(experiment: str, member: str, present: Mapping[str, str]) -> dict[str, str]:
    """Return variables for a member's process, without those that are there already.

    Args:
        experiment: the experiment's id, by which W&B groups runs, and a tag of MLflow's.
        member: the name of its folder, which is its name in both.
        present: the environment variables that it will have.
    """
    wandb = {"WANDB_RUN_GROUP": experiment, "WANDB_NAME": member, "WANDB_JOB_TYPE": "member"}
    tags = _tags(present.get(_MLFLOW))
    mlflow = {} if tags is None else {_MLFLOW: json.dumps({"experiment": experiment, "mlflow.runName": member, **tags})}
    return {**{name: value for name, value in wandb.items() if name not in present}, **mlflow}


def _tags(text: str | None) -> dict[str, object] | None:
    """Return the tags in the user's variable; None if it has something else, which is left to MLflow."""
    try:
        tags = json.loads(text or "{}")
    except ValueError:
        return None
    return tags if isinstance(tags, dict) else None
