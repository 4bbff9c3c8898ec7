"""Whatever is in a config, a conversion ends with a config that reads back, or with a message."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from lighter.config import yaml
from lighter.convert import KINDS
from lighter.convert.conversion import convert
from lighter.convert.reading import read_files
from lighter.errors import ConfigError
from tests.convert.work import PROJECTS, from_text, read

ODD: list[Any] = [
    *(
        None,
        3,
        2.5,
        True,
        "x",
        "",
        [],
        {},
        [1],
        {"a": 1},
        "???",
        "$",
        "@a",
        "%#",
        "@a#",
        "${a",
        "${}",
        "${.}",
        "${...x}",
    ),
    *({"class_path": 3}, {"class_path": "a.B", "init_args": [1]}, {"_target_": None}, ["${a}", None]),
]
SECTIONS = (
    "trainer",
    "model",
    "data",
    "system",
    "callbacks",
    "logger",
    "seed",
    "vars",
    "args",
    "hydra",
    "defaults",
    "fit",
)
FILES = sorted(PROJECTS.rglob("*.yaml"))


def changed(value: Any) -> Any:
    if random.random() < 0.05:
        return copy.deepcopy(random.choice(ODD))
    if isinstance(value, dict):
        return {key: changed(child) for key, child in value.items()}
    return [changed(child) for child in value] if isinstance(value, list) else value


def odd_config() -> dict[str, Any]:
    plain = changed(read_files([random.choice(FILES)])[0].plain())
    odd = {section: copy.deepcopy(random.choice(ODD)) for section in SECTIONS if random.random() < 0.05}
    return {**plain, **odd} if isinstance(plain, dict) else odd


@pytest.mark.parametrize("kind", KINDS)
def test_odd_configs(own_place: Path, kind: str) -> None:
    random.seed(4)
    assert len(FILES) > 20
    converted = 0
    for _ in range(60):
        files = [own_place / name for name in ("a.yaml", "b.yaml")[: random.choice([1, 2])]]
        for file in files:
            file.write_text(yaml.dump(odd_config()))
        try:
            result = convert(files, kind)
        except ConfigError:
            continue
        converted += 1
        assert (read(result.text()).plain() or {}) == result.tree.plain()
    assert converted > 20


WRONG = {
    "args are no dict": ("lighter-0.1", "args: 3\ntrainer: {resume_from_checkpoint: x}\n"),
    "a stage's args are no dict": ("lighter-0.1", "args: {fit: 3}\ntrainer: {resume_from_checkpoint: x}\n"),
    "class_path is a dict": ("lightning-cli", "model: {class_path: {a: 1}}\n"),
    "class_path is null": ("lightning-cli", "model: {class_path: null}\n"),
}


@pytest.mark.parametrize(("kind", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_kind_of_value_is_a_message(own_place: Path, kind: str, text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml:1:.*found"):
        from_text(kind, text, folder=own_place)


def test_what_is_nested_too_deep_is_a_message(own_place: Path) -> None:
    deep = "${oc.env:A," * 900 + "1" + "}" * 900
    with pytest.raises(ConfigError, match="nested too deep"):
        from_text("hydra", f"model: {{_target_: a.B, x: '{deep}'}}\n", folder=own_place)
