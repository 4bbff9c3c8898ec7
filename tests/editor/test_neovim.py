"""The server in a real editor: Neovim, set up as the docs say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
model:
  _target_: lighter.LighterModule
  optimizer: {_target_: torch.optim.Adam, lr: 0.1}
  criterion: {_target_: torch.nn.NLLLoss, reducton: mean}
  network: "@vars::net"
"""


@pytest.mark.long
@pytest.mark.skipif(shutil.which("nvim") is None, reason="there is no Neovim (nvim) on this machine")
def test_neovim_shows_problems_completion_and_hover(own_place: Path) -> None:
    page = (ROOT / "docs/14-editor-and-notebook.md").read_text(encoding="utf-8")
    [setup] = re.findall(r"```lua\n(.*?)```", page, re.DOTALL)
    (own_place / "setup.lua").write_text(setup)
    (own_place / "config.yaml").write_text(CONFIG)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    folders = {name: str(own_place / name) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")}
    subprocess.run(
        ["nvim", "--headless", "-u", "NONE", "-c", f"luafile {Path(__file__).parent / 'nvim.lua'}", "-c", "qall!"],
        check=True,
        timeout=150,
        cwd=own_place,
        env={**os.environ, **folders, "PATH": path, "PATIENCE": "60000"},
    )
    shown = json.loads((own_place / "shown.json").read_text())
    problems = {(each["line"], each["column"], each["message"].split("\n")[0]) for each in shown["diagnostics"]}
    assert problems >= {
        (4, 43, "torch.nn.NLLLoss: there is no argument `reducton`"),
        (5, 12, "`@vars::net` refers to nothing"),
    }
    assert {"betas", "weight_decay"} <= {*shown["labels"]}
    assert shown["hover"].startswith("`model::optimizer::lr`")
    assert "config.yaml:3:43  defined: 0.1" in shown["hover"]
