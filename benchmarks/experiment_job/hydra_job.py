"""The job with Hydra, its Optuna sweeper and its joblib launcher: `python hydra_job.py --multirun`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from plain import fit


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    return fit(config.lr, HydraConfig.get().runtime.output_dir)


if __name__ == "__main__":
    main()
