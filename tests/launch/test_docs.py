"""The commands of `docs/13-scale.md` that launch, with stand-ins of SLURM's commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.launch.test_launch import lighter
from tests.launch.test_launch import slurm as slurm  # a fixture
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs/13-scale.md"


def test_commands_that_launch(slurm: Path) -> None:
    lines = [line for block in blocks(PAGE) if block.language == "bash" for line in block.text.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if "--launch" in line]
    assert len(commands) == 3
    Path("job.yaml").rename("digits.yaml")
    printed = [lighter(*words) for words in commands]
    assert [result.exit_code for result in printed] == [0, 0, 0], [result.output for result in printed]
    assert printed[0].stdout.startswith("#!/bin/bash\n")
    assert "#SBATCH --partition=debug\n" in (slurm / "submitted.sh").read_text()
    (shown,) = (block.text for block in blocks(PAGE) if block.text.startswith("fit is job 17 of SLURM"))
    folder = printed[1].output.splitlines()[-4].split(", in ")[1]
    assert printed[1].output.endswith(shown.replace("outputs/2026-11-29/14-03-55-digits", folder))
