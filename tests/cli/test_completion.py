"""Completion as a shell asks for it, and in real shells, at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.cli.completion import SHELLS
from tests.commands import LIGHTER
from tests.runs.jobs import make_run

CONFIG = """\
model: {_target_: torch.nn.Linear, optimizer: {_target_: torch.optim.Adam, lr: 0.01, amsgrad: false}}
trainer: {callbacks: [{_target_: some.Callback, patience: 3}]}
"""


@pytest.fixture(autouse=True)
def place(own_place: Path) -> Path:
    (own_place / "job.yaml").write_text(CONFIG)
    for time_ in ("10-00-00", "11-00-00"):
        make_run(own_place / "outputs", f"2026-11-28/{time_}-digits")
    make_run(own_place / "outputs/experiments", "2026-11-27/09-00-00-sweep")
    return own_place


def completed(line: str, breaks: str = " ", shell: str = "bash") -> list[str]:
    words = line.split(" ")
    environment = {"COMP_LINE": line, "_LIGHTER_WORDBREAKS": breaks, "COMP_WORDS": line}
    environment["COMP_CWORD"] = words[-1] if shell == "fish" else str(len(words) - 1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return SHELLS[shell](cli, {}, "lighter", "_LIGHTER_COMPLETE").complete().splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lighter fit job.yaml model::opt", ["plain,model::optimizer::"]),
        ("lighter show job.yaml model::opt", ["plain,model::optimizer::"]),
        ("lighter why model::opt", ["plain,model::optimizer::"]),
        ("lighter why model::optimizer::l", ["plain,model::optimizer::lr"]),
        ("lighter schema --of runs.l", ["plain,runs.list"]),
        (
            "lighter fit job.yaml model::optimizer::",
            [f"plain,model::optimizer::{name}=" for name in ("_target_", "lr", "amsgrad")],
        ),
        ("lighter fit job.yaml trainer::callbacks::0::p", ["plain,trainer::callbacks::0::patience="]),
        ("lighter fit job.yaml ~model::optimizer::l", ["plain,~model::optimizer::lr"]),
        ("lighter fit job.yaml =model::optimizer::l", ["plain,=model::optimizer::lr="]),
        ("lighter fit job.yaml model::optimizer::lr=", ["plain,model::optimizer::lr=0.01"]),
        ("lighter fit job.yaml model::optimizer::amsgrad=t", ["plain,model::optimizer::amsgrad=true"]),
        ("lighter fit job.yaml mod", ["file,mod", "plain,model::"]),
        ("lighter fit jo", ["file,jo"]),
        ("lighter fit nothing.yaml model::", []),
        ("lighter fit job.yaml unfinished='[1, model::", []),
        ("lighter test job.yaml --ckpt_path b", ["plain,best", "file,b"]),
        (
            "lighter runs show 2026",
            ["plain,2026-11-28/11-00-00-digits", "plain,2026-11-28/10-00-00-digits", "file,2026"],
        ),
        ("lighter experiment status l", ["plain,last", "dir,l"]),
        ("lighter experiment status 2", ["plain,2026-11-27/09-00-00-sweep", "dir,2"]),
        ("lighter compare 2026-11-27", ["plain,2026-11-27/09-00-00-sweep", "file,2026-11-27"]),
        ("lighter report 2026-11-28/11", ["plain,2026-11-28/11-00-00-digits", "file,2026-11-28/11"]),
        ("lighter comple", ["plain,completion"]),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert completed(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lighter fit odd.yaml vars::do", r"plain,vars::dollar="),
        ("lighter fit odd.yaml vars::dollar=", r"plain,vars::dollar=\$\(touch\ pwned\)"),
        ("lighter fit odd.yaml 'vars::dollar=", r"plain,vars::dollar=$(touch pwned)"),
        ('lighter fit odd.yaml "vars::dollar=', r"plain,vars::dollar=\$(touch pwned)"),
        ("lighter fit odd.yaml vars::odd", r"plain,vars::odd\ key="),
        ("lighter fit odd.yaml vars::te", r"plain,vars::text="),
        ("lighter fit odd.yaml vars::text=", r"plain,vars::text=\'1\'"),
        ("lighter fit odd.yaml vars::lines=", ""),
        ("lighter fit $HERE/job.yaml model::opt", "plain,model::optimizer::"),
        ('lighter fit job.yaml "model::opt', "plain,model::optimizer::"),
        ("lighter test job.yaml --ckpt_path=b", "plain,--ckpt_path=best\nfile,--ckpt_path=b"),
    ],
)
def test_a_config_cannot_choose_what_a_shell_runs(
    line: str, expected: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", str(place))
    (place / "odd.yaml").write_text(
        'vars: {dollar: "$(touch pwned)", "odd key": 1, text: "1", lines: "a\\nb"}\n', encoding="utf-8"
    )
    assert completed(line) == expected.splitlines()
    # the shell's own word breaks: of a quoted word it replaces all
    if '"' in line or "'" in line:
        assert completed(line, ":=") == expected.splitlines()


def test_bash_gets_what_follows_its_word_break_and_fish_whole_words() -> None:
    assert completed("lighter fit job.yaml model::optimizer::l", ":=") == ["plain,lr="]
    assert completed("lighter fit job.yaml model::optimizer::lr=", ":=") == ["plain,0.01"]
    assert completed("lighter fit job.yaml model::optimizer::l", shell="fish") == ["plain,model::optimizer::lr="]


def test_no_torch_is_imported_for_it() -> None:
    code = (
        "import sys, lighter.cli; from lighter.cli.completion import _overrides; list(_overrides(['job.yaml'], 'm')); "
    )
    code += "print([name for name in ('torch', 'numpy', 'rich', 'pytorch_lightning') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SETUP = {
    "bash": "PS1='$ '; source ./script\n",
    "zsh": "autoload -U compinit; compinit -u -D; source ./script; PS1='$ '\n",
    "fish": "source ./script\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", START)
def test_at_a_terminal(place: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (place / "script").write_text(CliRunner().invoke(cli, ["completion", shell]).output)
    path = f"{Path(LIGHTER).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TERM": "dumb", "HOME": str(place)}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(START[shell][0], START[shell], environment)
    try:
        typed(terminal, SETUP[shell] + "echo rea''dy\n", "ready")
        # the first TAB ends in `::`, so that one may go on at once
        typed(terminal, "lighter fit job.yaml model::opt\tam\t", "model::optimizer::amsgrad=")
        typed(terminal, '\x15lighter fit job.yaml "model::optimizer::am\t', '"model::optimizer::amsgrad=')
        typed(terminal, "\x15echo 'vars: {a: \"$(touch pwned)\"}' > odd.yaml; echo writ''ten\n", "written")
        typed(terminal, "lighter fit odd.yaml vars::a=\t --help\n", "Usage")
        assert not (place / "pwned").exists()
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def typed(terminal: int, text: str, awaited: str, seconds: float = 60) -> None:
    """Type a text, waiting after each TAB, until the awaited one is shown."""
    shown, deadline = "", time.monotonic() + seconds
    for part in re.split(r"(?<=[\t\n])", text):
        os.write(terminal, part.encode())
        quiet = time.monotonic() + (1.5 if part.endswith("\t") else 0.2)
        while time.monotonic() < quiet:
            shown += read(terminal)
    while awaited not in plain(shown) and time.monotonic() < deadline:
        shown += read(terminal)
    assert awaited in plain(shown), shown


def plain(shown: str) -> str:
    """Leave out the bell, colours and the like."""
    return re.sub(r"\x1b\[[\d;?]*\w|[\x07\r\n\b]", "", shown)


def read(terminal: int) -> str:
    ready, _, _ = select.select([terminal], [], [], 0.1)
    return os.read(terminal, 65536).decode(errors="replace") if ready else ""
