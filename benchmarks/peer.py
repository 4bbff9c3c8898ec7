"""Lighter 0.1.0, the release of project-lighter on PyPI, in an environment and a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sides import Outcome

HERE = Path(__file__).parent
RELEASE = "0.1.0"
ENVIRONMENT = HERE / ".envs" / f"lighter-{RELEASE}"
# Installed without its own requirements, which ask for numpy 1 and torchvision: both sides run on the same torch.
NEEDS = ["torch", "pytorch-lightning", "torchmetrics", "sparkwheel", "PyYAML", "rich", "cloudpickle", "scikit-learn"]
NEEDS_TOO = ["loguru==0.7.3"]


class PeerError(Exception):
    """The peer cannot be run; the message says why."""


class Peer:
    """A process that trains the peer's LighterModule when asked to, so that its rounds lie between those of others."""

    def __init__(self, python: Path) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open for as long as the process writes to it
        self._process = subprocess.Popen(
            [python, "-E", HERE / "sides.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        found = self._answer()
        if found != RELEASE:
            self.close()
            raise PeerError(f"{python} has Lighter {found}, not {RELEASE}")

    def train(self, epochs: int) -> Outcome:
        """One run of the job."""
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._answer()))

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise PeerError(f"its process ended: {last_line(self._log.read())}")
        return line.strip()


def start_peer(python: Path | None) -> Peer:
    """Start the peer, in an environment that is made on first use, and see that it trains.

    Args:
        python: the interpreter of an environment that has the peer already.

    Raises:
        PeerError: it could not be installed or started.
    """
    try:
        peer = Peer(python or prepare_environment())
        peer.train(1)
    except OSError as error:
        raise PeerError(str(error)) from error
    return peer


def prepare_environment() -> Path:
    """The interpreter of the peer's environment, made with the versions of `constraints.txt` if it is not there yet."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "ready"
    if not ready.exists():
        print(f"Installing Lighter {RELEASE} into {ENVIRONMENT}; this takes some minutes, once.", file=sys.stderr)
        run_quietly([sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
        install = [python, "-m", "pip", "install", "--quiet"]
        run_quietly([*install, "--constraint", HERE.parent / "constraints.txt", *NEEDS, *NEEDS_TOO])
        run_quietly([*install, "--no-deps", f"lighter=={RELEASE}"])
        ready.touch()
    return python


def run_quietly(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(last_line(done.stderr or done.stdout))


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")
