"""Lightning's CSV logger with its writer under a public name."""

from __future__ import annotations

from pytorch_lightning import loggers
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from lighter._lightning.aliases import alias


class CSVLogger(loggers.CSVLogger):
    """Lightning's logger of values as rows of a CSV file."""

    # None until the first value, and in processes of other ranks
    writer: ExperimentWriter | None = alias("_experiment")
