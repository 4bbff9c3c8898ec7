"""A run once more, from its record alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.processes.signals import Stopped, stop_signals
from lighter.runs.read import Run, read_run
from lighter.runs.reproduce.checkout import restored
from lighter.runs.reproduce.rerun import command_of, compare_losses, losses_of, run_again
from lighter.runs.secrets import REDACTED, Secrets
from lighter.runs.source import source_of
from tests.commands import git
from tests.runs.jobs import make_run

SHORT = ["trainer::max_epochs=1", "trainer::limit_train_batches=4", "trainer::limit_val_batches=1"]


def recorded(root: Path, **facts: Any) -> Run:
    """A run of the checkout in the working directory as it is now."""
    source = source_of(Path.cwd(), Secrets(environment={}), without=root)
    assert source is not None
    kept = {
        "root": str(source.root),
        "commit": source.commit,
        "changed": bool(source.patch),
        "untracked": sorted(source.untracked),
        "redacted": source.redacted,
    }
    folder = make_run(root, "2026-01-02/10-00-00-digits", source=kept, cwd=str(Path.cwd()), **facts)
    (folder / paths.PATCH).write_text(source.patch)
    for name, text in source.untracked.items():
        (folder / paths.SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / paths.SOURCE / name).write_text(text)
    return read_run(folder)


@pytest.fixture
def checkout(own_place: Path) -> Path:
    git("init", "-q", ".")
    (own_place / ".gitignore").write_text("outputs\ndata\n")
    (own_place / "net.py").write_text("api_key = 'secret-of-the-commit-1'\nwidth = 1\nname = 'ä'\n")
    (own_place / "gone.py").write_text("x = 1\n")
    (own_place / "data").mkdir()
    (own_place / "data" / "train.csv").write_text("1,2\n")
    git("add", "-A")
    git("commit", "-qm", "x")
    return own_place


def test_the_code_is_restored_and_the_users_is_left_alone(checkout: Path) -> None:
    (checkout / "net.py").write_text("api_key = 'secret-of-the-commit-1'\nwidth = 2\nname = 'ä'\npassword = 'pw-1'")
    (checkout / "gone.py").unlink()
    (checkout / "nets").mkdir()
    (checkout / "nets" / "new.py").write_text("depth = 3\n")
    (checkout / "big.bin").write_bytes(b"\0" * 100)
    run = recorded(checkout / "outputs")
    assert b"secret-of-the-commit" not in (run.folder.path / paths.PATCH).read_bytes()
    git("add", "-A")
    git("commit", "-qm", "all is other now")
    (checkout / "net.py").write_text("width = 9\n")
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    with restored(run, checkout / "outputs") as there:
        expected = f"api_key = 'secret-of-the-commit-1'\nwidth = 2\nname = 'ä'\npassword = '{REDACTED}'"
        assert (there / "net.py").read_text() == expected
        assert (there / "nets" / "new.py").read_text() == "depth = 3\n"
        assert not (there / "gone.py").exists()
        assert (there / "data" / "train.csv").read_text() == "1,2\n"
        assert not (there / "outputs").exists()
    assert not there.exists()
    assert before == {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}


def test_code_that_cannot_be_restored_is_an_error(checkout: Path) -> None:
    run = recorded(checkout / "outputs")
    run.facts["source"]["commit"] = "0" * 40
    with pytest.raises(RunError, match=r"the commit 0000.* is neither in"), restored(run, checkout):
        pass


def test_the_command(tmp_path: Path) -> None:
    facts = {"arguments": {"weights_only": False, "verbose": True}, "checkpoint": "/runs/best.ckpt"}
    folder = make_run(tmp_path, "2026-01-02/10-00-00-digits", stage="test", **facts)
    words = command_of(read_run(folder), tmp_path, None, [])[3:]
    given = [f'run::dir="{tmp_path}"', 'run::name="digits"']
    options = ["--verbose", "--ckpt_path", "/runs/best.ckpt"]
    assert words == ["test", str(folder / "config.yaml"), *given, *options], "no record lets a checkpoint run code"
    allowed = command_of(read_run(folder), tmp_path, None, [], weights_only=False)[3:]
    assert allowed == [*words, "--no_weights_only"]
    other = make_run(tmp_path, "2026-01-02/10-00-01-digits", stage="runs")
    with pytest.raises(RunError, match="was a runs, and only these are repeated: fit, validate, test, predict"):
        command_of(read_run(other), tmp_path, None, [])


def test_secrets_have_to_be_given(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "2026-01-02/10-00-00-digits")
    (folder / "config.yaml").write_text(f"vars: {{token: {REDACTED}, lr: 1}}\n")
    run = read_run(folder)
    with pytest.raises(RunError, match=r"not saved with the run; give them: lighter reproduce .*vars::token=VALUE"):
        command_of(run, tmp_path, None, [])
    with pytest.raises(RunError, match=r"`vars::lr` is not among what was left out of the saved config"):
        command_of(run, tmp_path, None, ["vars::token=x", "vars::lr=2"])
    assert "vars::token=x" in command_of(run, tmp_path, None, ["vars::token=x"])


def test_losses_are_compared_bit_for_bit(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path, f"2026-01-02/10-00-0{number}-digits") for number in (1, 2))
    (one / paths.LOSSES).write_text("step,loss\n0,2.5\n1,0.1\n2,nan\n")
    (other / paths.LOSSES).write_text("step,loss\n0,2.5\n1,0.10000000000000002\n")
    run, again = read_run(one), paths.RunFolder(other)
    assert compare_losses(run, again, 1) == ""
    assert compare_losses(run, again, 2) == (
        "1 of 2 losses differ, the first at step 1: 0.1 then, 0.10000000000000002 now"
    )
    assert compare_losses(run, again, 3) is None
    assert compare_losses(run, paths.RunFolder(one), 3) == ""
    with pytest.raises(RunError, match="losses of its first 3 steps on record: --verify 3 compares them all"):
        losses_of(run, 4)


def test_two_runs_have_the_same_first_losses(config: dict[str, Any]) -> None:
    folders = []
    for name in ("a", "b", "c"):
        Runner().run("fit", [config, f"run::name={name}", f"seed={3 + (name == 'c')}", *SHORT])
        folders += sorted(Path("outputs").glob(f"*/*-{name}"))
    first, same, other = (json.dumps(losses_of(read_run(folder), 4)) for folder in folders)
    assert first == same != other


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_command_reaches_the_run_that_it_started(name: str, own_place: Path) -> None:
    """Ctrl-C reaches both by itself, `kill` does not."""
    code = f"""
import os, signal, sys, time
signal.signal(signal.{name}, lambda *_: (open("told", "w").close(), sys.exit()))
os.kill(os.getppid(), signal.{name})
time.sleep(300)
"""
    found = Run(paths.RunFolder(own_place), {})
    with stop_signals(), pytest.raises(Stopped):
        run_again(found, own_place, [sys.executable, "-c", code], own_place, None, lambda _: None)
    assert (own_place / "told").exists()
