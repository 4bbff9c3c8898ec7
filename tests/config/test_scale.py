"""The work on a config grows as the config does, counted in calls of functions, which no busy machine changes."""

from __future__ import annotations

from pathlib import Path

from lighter.config import read
from lighter.config.yaml import dump
from tests.work import calls


def work(groups: int) -> int:
    """What it takes to read a config of so many groups of values, a file over it and overrides."""
    layer = {"_target_": "torch.nn.Linear", "out_features": 4}
    variables = {
        f"g{n}": {"width": n, "other": f"@vars::g{n // 2}::width", "rate": f"$2 * @vars::g{n}::width", "sizes": [1, n]}
        for n in range(groups)
    }
    layers = [{**layer, "in_features": f"@vars::g{n}::other"} for n in range(groups)]
    model = {"_target_": "lighter.LighterModule", "network": {"_target_": "torch.nn.Sequential", "_args_": layers}}
    copies = {"copy": "%vars::g0", "again": "%vars::copy"}
    Path("base.yaml").write_text(dump({"vars": variables | copies, "model": model, "trainer": {"max_epochs": 1}}))
    Path("over.yaml").write_text(dump({"_base_": "base.yaml", "vars": {f"g{n}": {"width": 0} for n in range(groups)}}))
    return calls(read, ["over.yaml", *(f"vars::g{n}::width={n}" for n in range(min(5, groups)))])


def test_four_times_the_values_take_four_times_the_work(own_place: Path) -> None:
    work(1)  # what is done once in a process
    assert work(400) < 4.2 * work(100)
