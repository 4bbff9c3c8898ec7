"""Start the fits that a sweep would, one after another in this process: `python loop.py 0.001 0.01`."""

import sys
from pathlib import Path

from lighter import Runner

CONFIG = Path(__file__).with_name("config.yaml")

for learning_rate in sys.argv[1:]:
    Runner().run("fit", [CONFIG, f"model::optimizer::lr={learning_rate}"])
