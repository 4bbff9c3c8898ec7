"""Train on discharge."""

from pytorch_lightning.callbacks import ModelSummary
from pytorch_lightning.cli import LightningCLI
from rivers.module import Daily, Forecast


class Command(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_lightning_class_args(ModelSummary, "summary")
        parser.set_defaults({"summary.max_depth": 2})
        parser.link_arguments("data.horizon", "model.horizon")
        parser.link_arguments("data.means", "model.means", apply_on="instantiate")
        parser.link_arguments("data.batch_size", "model.scale", compute_fn=lambda size: 1 / size)


def main(args=None):
    return Command(Forecast, Daily, seed_everything_default=5, trainer_defaults={"log_every_n_steps": 2}, args=args)


if __name__ == "__main__":
    main()
