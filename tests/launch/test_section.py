"""The section `launch`: what it accepts, what it says of the rest, and how it fits the trainer."""

from __future__ import annotations

from typing import Any

import pytest

from lighter.config import read, yaml
from lighter.config.problems import Problem
from lighter.config.tree import Source
from lighter.engine.submit import Launch, settings_of
from lighter.errors import ConfigError
from lighter.launch.section import USUAL_REQUEUES, LaunchSettings, parse_launch
from lighter.launch.submission import _parameters


def parsed(text: str) -> tuple[LaunchSettings, list[Problem]]:
    problems: list[Problem] = []
    root = yaml.parse(Source("c.yaml", f"launch: {text}", is_file=True), problems)
    assert root is not None
    return parse_launch(root, problems), problems


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", LaunchSettings()),
        ("{kind: slurm}", LaunchSettings()),
        ("{requeue: true}", LaunchSettings(requeue=USUAL_REQUEUES)),
        ("{requeue: false}", LaunchSettings()),
        ("{requeue: 5, partition: gpu}", LaunchSettings(requeue=5, partition="gpu")),
        ("{time: 4:00:00, memory: 32GB, gpus: 2}", LaunchSettings(time=240, memory=32 * 2**30, gpus=2)),
    ],
)
def test_settings(text: str, settings: LaunchSettings) -> None:
    assert parsed(text) == (settings, [])


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("gpu", "launch", "launch: {kind: slurm, partition: gpu}"),
        ("{kind: slum}", "launch::kind", "jobs are launched by slurm; found 'slum'"),
        ("{slurm: {partition: gpu}}", "launch::slurm", "one level up"),
        ("{partion: gpu}", "launch::partion", "partition"),
        ("{reservation: x}", "launch::reservation", "options: {reservation: ...}"),
        ("{mem: 16GB}", "launch::mem", "Did you mean `memory`?"),
        ("{requeue: often}", "launch::requeue", "true, false, or how often at most"),
        ("{requeue: -1}", "launch::requeue", "true, false, or how often at most"),
        ("{time: 1, notice: 90}", "launch::notice", "the fit would be told to stop 90 s before the end of 1 min"),
        ("{workers: 3}", "launch::workers", "`slurm` has no such setting"),
        ("{options: {mem: 4G}}", "launch::options::mem", "Use the setting `memory` beside `options`."),
        ("{options: {no_requeue: true}}", "launch::options::no_requeue", "Use the setting `requeue`"),
        ("{options: {output: log.txt}}", "launch::options::output", "What a job prints is in the run's folder"),
        ("{options: {array: 1-3}}", "launch::options::array", "lighter sweep"),
    ],
)
def test_mistakes_say_where_and_what_is_right(text: str, path: str, said: str) -> None:
    [problem] = parsed(text)[1]
    assert problem.path == path
    assert said in str(problem)
    assert str(problem).startswith("c.yaml:1:")


def settings(config: dict[str, Any], launch: Launch = Launch(), **trainer: Any) -> LaunchSettings:  # noqa: B008
    config["trainer"] |= trainer
    return settings_of(read([config]), launch)


def test_of_several_nodes_slurm_starts_a_process_for_each_device(config: dict[str, Any]) -> None:
    config["launch"] = {"nodes": 2}
    assert settings(config, num_nodes=2, devices=4).tasks == 4
    assert settings(config, num_nodes=2, devices="auto").tasks == 1
    config["launch"] |= {"gpus": 8}
    assert settings(config, num_nodes=2, devices="auto").tasks == 8
    config["launch"] |= {"tasks": 2}
    assert settings(config, num_nodes=2, devices=2).tasks == 2


@pytest.mark.parametrize(
    ("devices", "parallel", "tasks"),
    [
        ("@vars::n", None, 4),
        ("2", None, 2),
        ([0, 1, 2], None, 3),
        (None, {"data": 4}, 2),
        (None, {"data": 2, "tensor": 4, "plan": {"*": "colwise"}}, 4),
        (None, {"data": "auto"}, 1),
    ],
)
def test_the_tasks_are_the_devices_that_the_trainer_will_have(
    devices: Any, parallel: Any, tasks: int, config: dict[str, Any]
) -> None:
    config |= {"launch": {"nodes": 2}, **({"parallel": parallel} if parallel else {})}
    config["vars"]["n"] = 4
    assert settings(config, num_nodes=2, devices=devices).tasks == tasks


def test_how_many_tasks_must_be_known(config: dict[str, Any]) -> None:
    config["launch"] = {"nodes": 2}
    with pytest.raises(ConfigError, match=r"trainer::devices: .* is an expression(.|\n)*launch::tasks"):
        settings(config, num_nodes=2, devices="$1 + 1")
    config["launch"] |= {"tasks": 2}
    assert settings(config, num_nodes=2, devices="$1 + 1").tasks == 2


def test_the_size_of_memory_is_never_that_of_the_node() -> None:
    pytest.importorskip("submitit")
    for text, asked in (("500K", "1M"), ("1.5M", "2M"), ("0.0001K", "1M"), ("32GB", "32768M")):
        assert _parameters(parsed(f"{{memory: {text}}}")[0], "name", requeue=False)["mem"] == asked


def test_on_one_node_lightning_starts_the_processes(config: dict[str, Any]) -> None:
    assert settings(config, devices=4).tasks == 1


@pytest.mark.parametrize(
    ("launch", "trainer", "said"),
    [
        ({"nodes": 2}, {}, "the job asks for 2 nodes, and the trainer uses one"),
        ({"nodes": 2}, {"num_nodes": 3}, "the trainer has 3 nodes, and its job asks for 2"),
        ({"nodes": 2, "tasks": 2}, {"num_nodes": 2, "devices": 4}, "SLURM starts 2 processes on each node"),
    ],
)
def test_a_trainer_that_the_job_does_not_fit(
    launch: dict[str, Any], trainer: dict[str, Any], said: str, config: dict[str, Any]
) -> None:
    config["launch"] = launch
    with pytest.raises(ConfigError, match=said):
        settings(config, **trainer)


def test_the_command_decides_on_requeues(config: dict[str, Any]) -> None:
    assert settings(config, Launch(requeue=True)).requeue == USUAL_REQUEUES
    config["launch"] = {"requeue": 7}
    assert settings(config).requeue == 7
    assert settings(config, Launch(requeue=True)).requeue == 7
    assert settings(config, Launch(requeue=False)).requeue == 0
