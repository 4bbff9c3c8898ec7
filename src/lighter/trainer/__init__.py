"""`lighter.Trainer`: Lightning's trainer with defaults that suit a run in a folder of its own."""

from typing import TYPE_CHECKING

from lighter._lightning.versions import IS_TESTED
from lighter.trainer.arguments import OWN_ARGUMENTS as OWN_ARGUMENTS
from lighter.trainer.arguments import default_logger as default_logger
from lighter.trainer.checkpointing.defaults import DEFAULT_MONITORS as DEFAULT_MONITORS
from lighter.trainer.checkpointing.defaults import BestCheckpoint as BestCheckpoint
from lighter.trainer.checkpointing.defaults import LastCheckpoint as LastCheckpoint

if TYPE_CHECKING or IS_TESTED:
    from lighter.trainer.full import Trainer as Trainer
else:
    from lighter.trainer.plain import Trainer as Trainer
