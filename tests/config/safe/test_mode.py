"""The allow-list: what is on it, what an entry permits, and where files may be."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.config import read
from lighter.config.safe import SafeMode, paths
from lighter.config.safe.mode import RefusedError
from lighter.errors import ConfigError

LIST = Path(paths.__file__).parent / "allowed.txt"
NAMES = [line.split()[0] for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
SUSPICIOUS = (
    *(
        "url",
        "uri",
        "download",
        "pretrained",
        "weights_path",
        "model_name_or_path",
        "hub",
        "repo",
        "code",
        "source",
        "cls",
    ),
    *("command", "cmd", "script", "expression", "eval", "import", "plugin_path", "allow_pickle", "kwargs_path", "host"),
)


def problems(text: str, mode: SafeMode, write: Callable[..., str]) -> str:
    write("config/c.yaml", f"model: {{_target_: torch.nn.Identity}}\n{text}")
    with pytest.raises(ConfigError) as caught:
        read(["config/c.yaml"], mode).objects().get("vars::x")
    return str(caught.value)


def test_the_list_has_no_patterns_and_says_each_name_once() -> None:
    assert len(NAMES) > 500
    assert len(set(NAMES)) == len(NAMES)
    assert all(name.replace(".", "_").isidentifier() and name.isascii() for name in NAMES)


@pytest.mark.parametrize("package", sorted({name.partition(".")[0] for name in NAMES}))
def test_each_name_leads_to_what_it_says(package: str) -> None:
    mode = SafeMode()
    for name in NAMES:
        if name.startswith(f"{package}."):
            assert mode.locate(name) is not None, name


def test_nothing_on_the_list_takes_what_should_make_its_reader_suspicious() -> None:
    mode = SafeMode()
    for name in NAMES:
        try:
            parameters = list(inspect.signature(mode.locate(name)).parameters)
        except (TypeError, ValueError):
            continue
        for parameter in parameters:
            assert parameter not in SUSPICIOUS or mode.rule(name, parameter) == "refused", f"{name}({parameter})"


def test_nothing_on_the_list_is_anything_that_could_run_code() -> None:
    mode = SafeMode()
    dangerous = (
        torch.load,
        torch.save,
        torch.compile,
        torch.hub.load,
        torch.jit.load,
        torch.jit.script,
        torch.from_file,
    )
    dangerous += (getattr, eval, exec, open, map, os.system, subprocess.Popen, pickle.loads, torch.ops.load_library)
    found = [mode.locate(name) for name in NAMES]
    assert not [one for one in found if any(one is other for other in dangerous)]
    assert not [one for one in found if inspect.ismodule(one)]


def test_reading_a_config_imports_nothing(write: Callable[..., str]) -> None:
    write(
        "c.yaml", "model: {_target_: torch.nn.Identity}\nvars: {x: {_target_: a.b}, y: '$a.b(1)'}\n_imports_: {a: a}\n"
    )
    code = (
        "import sys; from lighter.config import read; from lighter.config.safe import SafeMode\n"
        "before = set(sys.modules)\n"
        "try: read(['c.yaml'], SafeMode())\n"
        "except Exception as error: print(len(error.problems))\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["2", "[]"]


def test_all_refusals_at_once_each_with_its_line_and_its_entry(write: Callable[..., str]) -> None:
    text = """vars:
  x: {_target_: os.system, _args_: [rm]}
  y: "$__import__('os')"
  z: {_target_: my.Net, width: 3}
  again: "%vars::z"
run: {dir: /tmp/x}
"""
    shown = problems(text, SafeMode(), write)
    assert shown.count("\n\n") == 3
    assert "config/c.yaml:3:17: vars::x: safe mode does not call `os.system`: it is not on the list" in shown
    assert "config/c.yaml:4:6: vars::y: safe mode knows no `__import__`" in shown
    assert "config/c.yaml:5:17: vars::z: " in shown
    assert "permit it: --allow my.Net" in shown
    assert "config/c.yaml:7:12: run::dir: safe mode does not permit this path" in shown


def test_what_expressions_do_not_have_is_refused_by_reading(write: Callable[..., str]) -> None:
    text = """vars:
  a: "$[x * 2 for x in range(3)]"
  b: "$f'{1}'"
  c: "$1 << 2"
"""
    with pytest.raises(ConfigError) as caught:
        read([write("config/c.yaml", f"model: {{_target_: torch.nn.Identity}}\n{text}")], SafeMode())
    assert [problem.message for problem in caught.value.problems] == [
        "safe mode does not evaluate a comprehension",
        "safe mode does not evaluate an f-string; `+` puts texts together",
        "safe mode does not evaluate LShift",
    ]


def test_a_near_name_is_suggested(write: Callable[..., str]) -> None:
    assert "Did you mean `torch.optim.Adam`?" in problems("vars: {x: {_target_: torch.optm.Adam}}", SafeMode(), write)


@pytest.mark.parametrize(
    "entry", ["torch.*", "torch", "torch.nn.", "", "os.system; x", "a.b arg=maybe", "a.b arg", "a..b"]
)
def test_an_entry_is_one_exact_name(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)an entry is one exact name.*no patterns"):
        SafeMode(allow=[entry])


def test_a_list_of_the_user(write: Callable[..., str]) -> None:
    write("allow.txt", "# mine\n\ncollections.Counter  # a comment\nfractions.Fraction numerator=refused\n")
    mode = SafeMode(allow_files=["allow.txt"])
    write("config/c.yaml", "model: {_target_: torch.nn.Identity}\nvars: {x: {_target_: collections.Counter, a: 1}}")
    assert read(["config/c.yaml"], mode).objects().get("vars::x") == {"a": 1}
    assert str(mode) == "collections.Counter, fractions.Fraction"
    text = "vars: {x: {_target_: fractions.Fraction, _args_: [1]}}"
    assert "does not let a config set `numerator`" in problems(text, mode, write)


def test_what_the_list_says_of_a_name_stays_unless_the_user_says_otherwise() -> None:
    name = "pytorch_lightning.Trainer"
    assert SafeMode(allow=[name]).rule(name, "model_registry") == "refused"
    assert SafeMode(allow=[f"{name} plugins=refused"]).rule(name, "model_registry") is None


def test_a_list_that_cannot_be_read(write: Callable[..., str]) -> None:
    write("allow.txt", "a.b\nc.*\n")
    with pytest.raises(ConfigError, match=r"allow\.txt:2:1"):
        SafeMode(allow_files=["allow.txt"])
    with pytest.raises(ConfigError, match="cannot be read"):
        SafeMode(allow_files=["none.txt"])
    with pytest.raises(ConfigError, match="there is no folder nowhere"):
        SafeMode(roots=["nowhere"])


@pytest.mark.parametrize("name", ["builtins.getattr", "functools.partial", "importlib.import_module", "builtins.map"])
def test_a_dispatcher_is_not_permitted_even_by_the_user(name: str, write: Callable[..., str]) -> None:
    shown = problems(f"vars: {{x: {{_target_: {name}, _args_: [1]}}}}", SafeMode(allow=[name]), write)
    assert "permitting it would permit everything" in shown


def test_a_module_is_not_permitted_even_by_the_user(write: Callable[..., str]) -> None:
    shown = problems("vars: {x: {_target_: os.path}}", SafeMode(allow=["os.path"]), write)
    assert "it is a module" in shown


class Mine:
    def __init__(self, path: str = "", size: int = 0) -> None:
        self.path, self.size = path, size


def test_a_class_itself_is_permitted_by_python_code(write: Callable[..., str]) -> None:
    mode = SafeMode(allow=[Mine])
    write("config/c.yaml", f"model: {{_target_: torch.nn.Identity}}\nvars: {{x: {{_target_: {Mine.__module__}.Mine}}}}")
    assert type(read(["config/c.yaml"], mode).objects().get("vars::x")) is Mine


def test_what_is_found_must_still_be_what_the_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has put another function in its place; by the name alone it would be called."""
    mode = SafeMode()
    for wrong in (os.system, torch.load, os, torch.nn.Bilinear, getattr):
        monkeypatch.setattr(torch.nn, "Linear", wrong)
        with pytest.raises(RefusedError, match=r"does not call `torch\.nn\.Linear`"):
            mode.locate("torch.nn.Linear")


def test_it_travels_to_another_process() -> None:
    mode = pickle.loads(pickle.dumps(SafeMode(allow=[Mine, "a.b"])))
    assert mode.permits("a.b")
    assert mode.locate(f"{Mine.__module__}.Mine") is Mine


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for folder in ("in/deep", "out"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("in/x.ckpt", "out/y.ckpt"):
        (tmp_path / file).touch()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in/loop")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "permitted"),
    [
        ("in", True),
        ("in/x.ckpt", True),
        ("in/deep/../x", True),
        ("./in/x", True),
        ("ROOT/in/x", True),
        (Path("in/x"), True),
        (["in/x", "in/y"], True),
        ({"path": "in/x", "rename": {"blocks.": "layers."}}, True),
        (None, True),
        (3, True),
        ("", False),
        ("x", False),
        ("..", False),
        ("in/../out/x", False),
        ("in/..", False),
        ("in/link/x", False),
        ("in/link", False),
        ("in/new/../x", True),
        ("in/../in/x", True),
        ("out/new/../../in/x", False),  # which would tell whether there is an out/new
        ("/etc/new/../../ROOT/in/x", False),
        ("in/[l]ink/new", False),
        ("in/l*k/../new", False),
        ("in/*.ckpt", True),
        ("in/*", False),
        ("in/l?nk/*", False),
        ("*", False),
        ("/etc/passwd", False),
        ("//etc/passwd", False),
        ("ROOT/inside", False),
        ("ROOT/in/../out", False),
        ("~", False),
        ("~root/x", False),
        ("$HOME/x", False),
        ("in\0/../../x", False),
        (b"/etc/passwd", False),
        (Path("/etc/passwd"), False),
        (["in/x", "/etc/passwd"], False),
        ({"path": "/etc/passwd"}, False),
        ({"train": "/etc/passwd"}, False),
        ("file:///etc/passwd", False),
        ("file:in/x", False),
        ("https://evil.example/x", False),
        ("s3://evil/x", False),
        ("simplecache::s3://evil/x", False),
        ("data:,x", False),
        (" https://evil.example/x", False),
    ],
)
def test_where_files_may_be(places: Path, monkeypatch: pytest.MonkeyPatch, path: Any, permitted: bool) -> None:
    monkeypatch.chdir(places)
    if isinstance(path, str):
        path = path.replace("ROOT", str(places))
    assert (paths.outside(path, SafeMode(roots=["in"]).roots) is None) is permitted


@pytest.mark.parametrize(
    ("part", "permitted"),
    [
        ("best", True),
        ("sub/best", True),
        ("{epoch:02d}-{val/loss/epoch:.3f}", True),
        ("{epoch}", True),
        (3, True),
        ("a..b", True),
        ("../x", False),
        ("x/../../y", False),
        ("/x", False),
        ("~/x", False),
        ("$HOME/x", False),
        ("..\\x", False),
        ("{epoch:c}", False),
        ("{epoch:100d}", False),
        ("{epoch!r}", False),
        ("{epoch.__class__}", True),  # Lightning looks it up as the name of a metric
        ("{epoch[0]}", False),
        ("{{x}}", False),
    ],
)
def test_what_may_become_part_of_a_name(part: Any, permitted: bool) -> None:
    assert (paths.leads_out(part) is None) is permitted


@pytest.mark.parametrize(
    "name", ["path", "ckpt_path", "save_dir", "dirpath", "root", "data_dir", "files", "TRAIN_FILE"]
)
def test_names_of_arguments_that_are_paths(name: str) -> None:
    assert paths.rule_of(name) == paths.PATH


@pytest.mark.parametrize("name", ["filename", "sub_dir", "log_filename"])
def test_names_of_arguments_that_are_parts_of_names(name: str) -> None:
    assert paths.rule_of(name) == paths.PART


@pytest.mark.parametrize("name", ["direction", "pathology", "profile", "rooted", "dim", "monitor", "params", "model"])
def test_names_of_arguments_that_are_neither(name: str) -> None:
    assert paths.rule_of(name) is None


def test_a_path_for_something_of_the_user_is_checked_too(write: Callable[..., str]) -> None:
    mode = SafeMode(allow=[Mine])
    name = f"{Mine.__module__}.Mine"
    for arguments in ("path: /etc/x", "_args_: [/etc/x]", "path: \"$'/etc' + '/x'\"", "path: '@vars::p'"):
        text = f"vars: {{p: /etc/x, x: {{_target_: {name}, {arguments}}}}}"
        assert "outside of the folders" in problems(text, mode, write), arguments


def test_a_folder_of_the_user(write: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mode = SafeMode(allow=[Mine], roots=[tmp_path / "data"])
    text = f"model: {{_target_: torch.nn.Identity}}\nvars: {{x: {{_target_: {Mine.__module__}.Mine, path: data/x}}}}"
    write("config/c.yaml", text)
    assert read(["config/c.yaml"], mode).objects().get("vars::x").path == "data/x"
