"""The job with Ray Tune and its search by Optuna: `python ray_job.py TRIALS`, with `reuse` to reuse actors."""

import sys
from pathlib import Path

import ray
from plain import fit
from ray import tune
from ray.tune.search.optuna import OptunaSearch

FITS = Path.cwd() / "fits"  # the workers have folders of their own, under Ray's


def trial(config: dict[str, float]) -> None:
    tune.report({"loss": fit(config["lr"], str(FITS / tune.get_context().get_trial_id()))})


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False)
    tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"lr": tune.loguniform(1e-4, 1e-1)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=int(sys.argv[1]),
            search_alg=OptunaSearch(seed=1),
            reuse_actors="reuse" in sys.argv,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray")),
    ).fit()
