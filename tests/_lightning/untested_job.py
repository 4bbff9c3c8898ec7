"""Run `lighter` commands in a process whose Lightning says that it is of another version, and print what they loaded.

python -m tests._lightning.untested_job VERSION '["fit", "config.yaml"]' ...
"""

from __future__ import annotations

import json
import sys

import pytorch_lightning

pytorch_lightning.__version__ = sys.argv[1]

from lighter.cli import main  # noqa: E402


def run(arguments: list[str]) -> None:
    sys.argv = ["lighter", *arguments]
    try:
        main()
    except SystemExit as error:
        if error.code:
            raise


if __name__ == "__main__":
    for command in sys.argv[2:]:
        run(json.loads(command))
    print(json.dumps([name for name in sys.modules if name.startswith("lighter.")]))
