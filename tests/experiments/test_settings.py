"""The section `experiment::executor`: what it accepts, and what it says of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from lighter.config import yaml
from lighter.config.problems import Problem
from lighter.config.tree import Source
from lighter.errors import ConfigError
from lighter.experiments.executors.devices import workers_and_devices
from lighter.experiments.executors.settings import LocalSettings, RaySettings, Settings, SlurmSettings, parse_executor


def parsed(text: str) -> tuple[Settings, list[Problem]]:
    problems: list[Problem] = []
    node = yaml.parse(Source("c.yaml", text, is_file=True), problems)
    settings = parse_executor(node, problems)
    return settings, problems


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("local", LocalSettings()),
        ("{}", LocalSettings()),
        ("{workers: 2, cpus: 4}", LocalSettings(workers=2, cpus=4)),
        ("{kind: local, gpus: 1, members_per_gpu: 3}", LocalSettings(gpus=1, members_per_gpu=3)),
        ("slurm", SlurmSettings()),
        (
            "{kind: slurm, workers: 8, partition: gpu, time: 4:00:00, gpus: 1, memory: 16GB, notice: 60}",
            SlurmSettings(workers=8, partition="gpu", time=240, gpus=1, memory=16 * 2**30, notice=60),
        ),
        ("{kind: slurm, setup: module load cuda}", SlurmSettings(setup=("module load cuda",))),
        ("{kind: slurm, setup: [a, b], workers: null}", SlurmSettings(setup=("a", "b"))),
        ("{kind: slurm, options: {reservation: course}}", SlurmSettings(options={"reservation": "course"})),
        ("{kind: ray, address: auto, gpus: 0.5, cpus: 2}", RaySettings(address="auto", gpus=0.5, cpus=2.0)),
        ("{kind: ray, resources: {a100: 1}, memory: 500 MB}", RaySettings(resources={"a100": 1.0}, memory=500 * 2**20)),
    ],
)
def test_settings(text: str, settings: Settings) -> None:
    assert parsed(text) == (settings, [])


def test_without_a_section_members_run_here() -> None:
    assert parse_executor(None, []) == LocalSettings()


@pytest.mark.parametrize(
    ("written", "minutes"),
    [("90", 90), ("30:01", 31), ("01:30:00", 90), ("1-12", 2160), ("1-12:30", 2190), ("1-00:00:30", 1441)],
)
def test_times_are_sbatchs(written: str, minutes: int) -> None:
    settings, problems = parsed(f"{{kind: slurm, time: {written}}}")
    assert not problems
    assert isinstance(settings, SlurmSettings)
    assert settings.time == minutes


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[local]", "the executor is a dict with a `kind`, or a kind; found a list", "executor: {kind: local | sl"),
        ("slrum", "this executor is unknown; found 'slrum'", "Did you mean `slurm`?"),
        ("{kind: 3}", "this executor is unknown; found 3", "There is: local, slurm, ray."),
        ("{kind: local, worker: 2}", "`local` has no such setting", "Did you mean `workers`?"),
        ("{kind: local, n_jobs: 2}", "`local` has no such setting", "Did you mean `workers`?"),
        ("{kind: local, partition: gpu}", "`local` has no such setting", "It is a setting of `slurm`."),
        ("{kind: slurm, mem: 16GB}", "`slurm` has no such setting", "Did you mean `memory`?"),
        ("{kind: slurm, mail_user: me}", "`slurm` has no such setting", "options: {mail-user: ...}"),
        ("{kind: slurm, workers: 0}", "`workers` is an integer from 1 on; found 0", ""),
        ("{kind: slurm, workers: true}", "`workers` is an integer from 1 on; found true", ""),
        ("{kind: slurm, gpus: 0.5}", "`gpus` is an integer from 0 on; found 0.5", ""),
        ("{kind: slurm, cpus: $2 * 2}", "`cpus` is an integer from 1 on; found '$2 * 2'", "write it out"),
        ("{kind: slurm, memory: 16}", "`memory` is a size with its unit, such as 16GB; found 16", ""),
        ("{kind: slurm, time: soon}", "`time` is a time as sbatch has it: minutes, HH:MM:SS or D-HH:MM:SS; found", ""),
        ("{kind: slurm, time: 0}", "`time` is a time as sbatch has it", ""),
        ("{kind: slurm, time: 1, notice: 60}", "members would be told to stop 60 s before the end of 1 min", ""),
        ("{kind: slurm, setup: 3}", "`setup` is lines of a shell script: a text or a list of texts; found 3", ""),
        ("{kind: slurm, options: {a: [1]}}", "`options` is a dict of options; found a dict", ""),
        ("{kind: ray, resources: {a: many}}", "`resources` is a dict of numbers from 0 on; found a dict", ""),
        ("{kind: ray, gpus: -1}", "`gpus` is a number from 0 on; found -1", ""),
        ("{members_per_gpu: 2}", "members that share a GPU have one; here `gpus` is 0", "gpus: 1"),
    ],
)
def test_problems(text: str, message: str, hint: str) -> None:
    _, problems = parsed(text)
    assert len(problems) == 1
    assert problems[0].message.startswith(message)
    assert hint in problems[0].hint
    assert problems[0].path.startswith("experiment::executor")
    assert str(problems[0].origin).startswith("c.yaml:1:")


def test_all_problems_at_once() -> None:
    settings, problems = parsed("{kind: slurm, workers: 0, cpus: a, memory: 3, tasks: 2}")
    assert [problem.path.rpartition("::")[2] for problem in problems] == ["workers", "cpus", "memory"]
    assert settings == SlurmSettings(tasks=2)


@pytest.mark.parametrize(
    ("settings", "visible", "expected"),
    [
        (LocalSettings(workers=3), "0,1", (3, [])),
        (LocalSettings(gpus=1), "0,1,2", (3, ["0", "1", "2"])),
        (LocalSettings(gpus=2), "0,1,2", (1, ["0,1"])),
        (LocalSettings(gpus=1, members_per_gpu=2), "4,7", (4, ["4", "7", "4", "7"])),
        (LocalSettings(gpus=1, workers=1), "4,7", (1, ["4", "7"])),
        (LocalSettings(gpus=1, workers=9), "4,7", (2, ["4", "7"])),
    ],
)
def test_devices_are_shared_out(
    settings: LocalSettings, visible: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert workers_and_devices(settings) == expected


def test_too_few_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(ConfigError, match="a member needs 2 GPUs, and this machine has 0"):
        workers_and_devices(LocalSettings(gpus=2))
