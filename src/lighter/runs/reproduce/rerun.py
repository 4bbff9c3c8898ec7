"""Repeat a run in a new folder, and compare it with the record: `lighter reproduce`.

The new run is a process of its own, in the recorded working directory or in a restored checkout. No torch here.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lighter.config.check.sections import STAGES
from lighter.config.load import load
from lighter.config.problems import nearest
from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.processes.signals import Stopped
from lighter.runs import provenance
from lighter.runs.compare import Difference, differences, environment
from lighter.runs.read import Run, read_run
from lighter.runs.reproduce.checkout import restored
from lighter.runs.secrets import Secrets, missing
from lighter.runs.source import source_of

# of the arguments on record; no record lets a checkpoint run code
_REPEATED = ("verbose", "return_predictions")
# variables by which a process would take this one's folder and project for its own
_OF_A_RUN = ("LIGHTER_RUN_FOLDER", "LIGHTER_GOES_ON", "LIGHTER_PROJECT")


def losses_of(run: Run, count: int) -> list[str]:
    """Read the first losses of a run, as they were written: the same text is the same number, bit for bit.

    Raises:
        RunError: there are not so many on record.
    """
    losses = _losses(run.folder)
    if len(losses) < count:
        recorded = f"the losses of its first {len(losses)} steps" if losses else "no losses of single steps"
        hint = f": --verify {len(losses)} compares them all" if losses else ": only a fit whose steps return a loss has"
        raise RunError(f"{run.id} has {recorded} on record{hint}")
    return losses[:count]


def compare_losses(run: Run, repeated: paths.RunFolder, count: int) -> str | None:
    """Describe the differences of the first losses; an empty text if none, None if they are not all written yet."""
    then, now = losses_of(run, count), _losses(repeated)[:count]
    if len(now) < count:
        return None
    wrong = [step for step in range(count) if then[step] != now[step]]
    if not wrong:
        return ""
    first = wrong[0]
    return f"{len(wrong)} of {count} losses differ, the first at step {first}: {then[first]} then, {now[first]} now"


def _losses(folder: paths.RunFolder) -> list[str]:
    file = folder.path / paths.LOSSES
    lines = file.read_text(encoding="utf-8").splitlines()[1:] if file.is_file() else []
    return [line.split(",")[1] for line in lines]


def differences_now(run: Run) -> list[Difference]:
    """Compare the packages and the hardware with those of a run."""
    now = {"software": provenance.software(), "hardware": provenance.hardware()}
    return environment({key: run.facts.get(key) for key in now}, now)


@contextmanager
def code_of(run: Run, root: Path, say: Callable[[str], None]) -> Iterator[tuple[Path, Path | None]]:
    """Provide the code of a run: where to run it, and the restored checkout if it takes one.

    Raises:
        RunError: it cannot be restored.
    """
    if not run.facts.get("cwd"):
        raise RunError(f"{run.folder.record} does not say where {run.id} ran")
    source, cwd = run.facts.get("source"), Path(run.facts["cwd"])
    if source is None:
        if not cwd.is_dir():
            raise RunError(f"{run.id} ran in {cwd}, which is not there any more, and has no code on record")
        say("code: not on record, for it was in no git checkout; what is there now runs")
        yield cwd, None
        return
    folder, current = Path(source["root"]), None
    if folder.is_dir():
        # with the run's own secrets, as its digest is of texts without them
        current = source_of(folder, Secrets(load([run.folder.config]).plain()), without=root)
    if current is not None and current.digest == source.get("digest") and cwd.is_dir():
        say(f"code: the same, {_called(source)}")
        yield cwd, None
        return
    say(f"code: another now; {_called(source)} is restored into a temporary checkout")
    for name in source.get("redacted") or []:
        say(f"code: a secret in {name} was not saved, and is not in the restored file")
    for what in source.get("left_out") or []:
        say(f"code: not saved for its size, and so not restored: {what}")
    with restored(run, root) as checkout:
        yield checkout / os.path.relpath(cwd, source["root"]), checkout


def _called(source: Mapping[str, Any]) -> str:
    count = len(source.get("untracked") or [])
    more = ["its uncommitted changes"] if source.get("changed") else []
    more += [f"{count} file{'s' * (count != 1)} that git did not know"] if count else []
    return " with ".join([f"commit {str(source.get('commit'))[:12]}", *([" and ".join(more)] if more else [])])


def command_of(
    run: Run, root: Path, checkout: Path | None, overrides: Sequence[str], *, weights_only: bool = True
) -> list[str]:
    """Return the command that repeats a run.

    Args:
        overrides: values for the secrets that were not saved.
        weights_only: false if its checkpoint may hold objects, which can run code.

    Raises:
        RunError: a secret is missing, an override is of something else, or the record names no stage.
    """
    if run.facts.get("stage") not in STAGES:
        raise RunError(f"{run.id} was a {run.facts.get('stage')}, and only these are repeated: {', '.join(STAGES)}")
    config = load([run.folder.config]).plain()
    _require_secrets(run, config, overrides)
    facts = run.facts
    words = [f"run::dir={json.dumps(str(root.resolve()))}", f"run::name={json.dumps(facts['name'])}", *overrides]
    if checkout is not None and config.get("project"):
        inside = os.path.relpath(config["project"], facts["source"]["root"])
        if not inside.startswith(".."):  # a project elsewhere is not in the checkout, and stays where it is
            words.append(f"project={json.dumps(str(checkout / inside))}")
    # the checkpoint that its first start began from: later ones resumed from its own
    first = (facts.get("starts") or [facts])[0]
    noted = facts.get("arguments") or {}
    arguments = {
        **{name: noted[name] for name in _REPEATED if name in noted},
        "ckpt_path": first.get("checkpoint"),
        **({} if weights_only else {"weights_only": False}),
    }
    for name, value in arguments.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        elif isinstance(value, str):
            words += [f"--{name}", value]
    return [sys.executable, "-m", "lighter", facts["stage"], str(run.folder.config.resolve()), *words]


def _require_secrets(run: Run, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    left_out = list(missing(config))
    named = [word.lstrip("=").partition("=")[0] for word in overrides]
    other = [name for name in named if name not in left_out]
    if other:
        hint = nearest(other[0], left_out) or f"With changes, it is another run: lighter fit {run.folder.config} ..."
        raise RunError(f"`{other[0]}` is not among what was left out of the saved config. {hint}")
    absent = [path for path in left_out if path not in named]
    if absent:
        words = " ".join(f"{path}=VALUE" for path in absent)
        raise RunError(f"these secrets were not saved with the run; give them: lighter reproduce {run.id} {words}")


def run_again(
    run: Run, root: Path, command: Sequence[str], cwd: Path, checkout: Path | None, look: Callable[[Run], None]
) -> tuple[int, Run | None]:
    """Run the command, and return its exit code and the new run, if there is one.

    `look` is called with the new run every second while it runs.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
    environment[paths.REPRODUCES] = run.id
    if checkout is not None:
        environment["PYTHONPATH"] = os.pathsep.join(_import_paths(run, checkout))
    process = subprocess.Popen(command, cwd=cwd, env=environment)
    try:
        while process.poll() is None:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                repeated = _started_by(process.pid, root)
                if repeated is not None:
                    look(repeated)
    except (Stopped, KeyboardInterrupt) as error:
        if isinstance(error, Stopped):  # if both got it, after Ctrl-C say, the second is taken for the same request
            process.send_signal(error.signum)
        process.wait()
        raise
    return process.returncode, _started_by(process.pid, root)


def _import_paths(run: Run, checkout: Path) -> list[str]:
    # the entries of `sys.path` in the user's checkout, at their places in the restored one
    root = Path(run.facts["source"]["root"]).resolve()
    entries = [Path(entry or ".").resolve() for entry in sys.path]
    inside = [str(checkout / path.relative_to(root)) for path in entries if path.is_relative_to(root)]
    kept = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys([*inside, *kept]))


def _started_by(pid: int, root: Path) -> Run | None:
    for folder in itertools.islice(paths.all_runs(root), 50):  # it is among the newest, and other processes start runs
        with suppress(RunError):
            run = read_run(folder.path)
            if run.facts.get("pid") == pid:
                return run
    return None


def outcome(run: Run, repeated: Run) -> list[Difference]:
    """Compare the data and the results with those of a repeated run."""
    return [one for one in differences(run, repeated) if one.about in ("data", "results")]
