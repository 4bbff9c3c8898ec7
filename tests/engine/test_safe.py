"""Runs in safe mode, and what holds of checkpoints in every mode."""

from __future__ import annotations

import email.message
import functools
import http.server
import io
import os
import shutil
import sys
import threading
import urllib.request
import urllib.response
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter import Runner, SafeMode
from lighter.cli import cli
from lighter.config import remote
from lighter.errors import CheckpointError, ConfigError, RunError
from lighter.files.run_folder import RunFolder, runs_of
from lighter.runs import find_checkpoint as checkpoints

CONFIG = """
vars:
  digits: {_target_: sklearn.datasets.load_digits}
_imports_: {torch: torch}
system:
  _target_: lighter.System
  model: {_target_: torch.nn.Linear, in_features: 64, out_features: 10}
  criterion: {_target_: torch.nn.CrossEntropyLoss}
  optimizer: {_target_: torch.optim.SGD, lr: 0.1, params: $@system::model.parameters()}
  dataloaders:
    train:
      _target_: torch.utils.data.DataLoader
      dataset:
        _target_: torch.utils.data.TensorDataset
        _args_:
          - "$torch.tensor(@vars::digits.data[:64], dtype=torch.float32)"
          - "$torch.tensor(@vars::digits.target[:64])"
      batch_size: 32
    test: "%::train"
trainer: {max_epochs: 1, accelerator: cpu, enable_model_summary: false, log_every_n_steps: 1}
"""


@pytest.fixture
def stranger(own_place: Path) -> str:
    """A stranger's config, in a folder of its own."""
    (own_place / "stranger").mkdir()
    (own_place / "stranger/linear.yaml").write_text(CONFIG)
    return "stranger/linear.yaml"


@pytest.fixture
def canary(own_place: Path) -> Path:
    return own_place / "canary"


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def evil_checkpoint(path: str, canary: Path) -> str:
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6", "evil": Evil(canary)}, path)
    return path


def newest(name: str = "linear") -> RunFolder:
    return next(runs_of(Path("outputs"), name))


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli(list(words))
    return int(ended.value.code or 0)


def test_a_run(stranger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", stranger, "--safe") == 0
    folder = newest()
    said = "safe mode: only what is on the list is called; permitted beside it: nothing"
    assert capsys.readouterr().err.count(said) == 1
    assert folder.log.read_text().count(said) == 1
    assert folder.config.read_text().startswith(f"# {said}\n# Run this file with --safe too.\n")


def test_the_record_of_a_run_runs_again(stranger: str) -> None:
    Runner(safe=True).run("fit", [stranger])
    saved = newest().config
    Runner(safe=True).run("fit", [saved])
    assert newest().config.read_text() == saved.read_text()
    Runner().run("fit", [saved])
    assert not newest().config.read_text().startswith("#")


def test_a_run_goes_on_from_its_checkpoints(stranger: str) -> None:
    runner = Runner(safe=True)
    runner.run("fit", [stranger])
    runner.run("fit", [stranger, "trainer::max_epochs=2"], ckpt_path="last")
    assert torch.load(newest().checkpoints / "last.ckpt", weights_only=True)["epoch"] == 1
    runner.run("test", [stranger, f"args::test::ckpt_path={newest().checkpoints / 'last.ckpt'}"], verbose=False)


def test_a_refusal(stranger: str, own_place: Path, canary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("torch.nn.Linear", "os.system")
    (own_place / stranger).write_text(text)
    assert command("fit", stranger, "--safe") == 2
    shown = capsys.readouterr().err
    assert "The config has 1 problem." in shown
    assert (
        "stranger/linear.yaml:7:21: system::model: safe mode does not call `os.system`: it is not on the list" in shown
    )
    assert "--allow os.system" in shown
    assert not (own_place / "outputs").exists()


def test_the_command_line_can_permit_more(stranger: str, own_place: Path) -> None:
    text = CONFIG.replace("torch.nn.Linear", "project.nets.Net").replace("nn.Cross", "nn.modules.loss.Cross")
    (own_place / stranger).write_text(f"project: ../mine\n{text}")
    (own_place / "mine").mkdir()
    (own_place / "mine/nets.py").write_text("from torch.nn import Linear as Net\n")
    (own_place / "allow.txt").write_text("torch.nn.modules.loss.CrossEntropyLoss  # from a list\n")
    permitted = ["--allow", "project.nets.Net", "--allow-file", "allow.txt", "--allow_project", "mine"]
    assert command("fit", stranger, *permitted) == 0
    said = "permitted beside it: project.nets.Net, torch.nn.modules.loss.CrossEntropyLoss, project"
    assert said in newest().log.read_text()
    for index in (0, 2, 4):
        assert command("fit", stranger, "--safe", *permitted[:index], *permitted[index + 2 :]) == 2


def test_a_project_is_the_one_that_was_permitted(stranger: str, own_place: Path) -> None:
    (own_place / stranger).write_text(f"project: ../theirs\n{CONFIG}")
    for folder in ("mine", "theirs"):
        (own_place / folder).mkdir()
    with pytest.raises(ConfigError, match="imports no folder but the one that was permitted"):
        Runner(safe=SafeMode(project="mine")).run("fit", [stranger])


def test_a_path_of_the_command_line(stranger: str, own_place: Path) -> None:
    """What the user types as `run::dir` is where runs go; other paths are in the roots, or in one that is permitted."""
    Runner(safe=True).run("fit", [stranger, f"run::dir={own_place / 'elsewhere'}"])
    assert next(runs_of(own_place / "elsewhere", "linear"))
    logger = "trainer::logger={_target_: pytorch_lightning.loggers.CSVLogger, save_dir: logs}"
    with pytest.raises(ConfigError, match="`logs` is outside of the folders"):
        Runner(safe=True).run("fit", [stranger, logger])
    (own_place / "logs").mkdir()
    Runner(safe=SafeMode(roots=["logs"])).run("fit", [stranger, logger])
    assert list((own_place / "logs").rglob("metrics.csv"))


def test_the_working_directory_is_not_imported(
    stranger: str, own_place: Path, monkeypatch: pytest.MonkeyPatch, canary: Path
) -> None:
    (own_place / "shadow.py").write_text(f"open({str(canary)!r}, 'w').close()\nThing = dict\n")
    (own_place / "__lighter__.py").touch()
    (own_place / "nets.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend(str(own_place))
    path = list(sys.path)
    for name in ("shadow.Thing", "project.nets.Net"):
        (own_place / stranger).write_text(CONFIG.replace("torch.nn.Linear", name))
        with pytest.raises(ConfigError, match="cannot be imported"):
            Runner(safe=SafeMode(allow=[name])).run("fit", [stranger])
    assert sys.path == path
    assert not canary.exists()


def test_pythonpath_is_the_users_own(stranger: str, own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_place / "theirs_in_path.py").write_text("from torch.nn import Linear\n")
    monkeypatch.setenv("PYTHONPATH", str(own_place))
    monkeypatch.syspath_prepend(str(own_place))
    (own_place / stranger).write_text(CONFIG.replace("torch.nn.Linear", "theirs_in_path.Linear"))
    Runner(safe=SafeMode(allow=["theirs_in_path.Linear"])).run("fit", [stranger, "trainer::fast_dev_run=true"])


def test_workers_run_in_safe_mode_too(stranger: str) -> None:
    Runner(safe=True).run("fit", [stranger, "system::dataloaders::train::num_workers=1", "trainer::fast_dev_run=true"])


class Site(urllib.request.BaseHandler):
    """Answers for every host, from memory: a path has a status and a text, or a place where it went."""

    def __init__(self, pages: dict[str, tuple[int, str]]) -> None:
        self.pages, self.asked = pages, []

    def https_open(self, request: urllib.request.Request) -> Any:
        self.asked.append(request.full_url)
        status, text = self.pages.get(request.selector, (404, ""))
        headers = email.message.Message()
        if 300 <= status < 400:
            headers["Location"] = text
        answer = urllib.response.addinfourl(io.BytesIO(text.encode()), headers, request.full_url, status)
        answer.msg = ""
        return answer

    http_open = https_open


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site, build = Site({}), urllib.request.build_opener

    class Quiet(urllib.request.HTTPSHandler):
        def https_open(self, request: Any) -> Any:
            return site.https_open(request)

    monkeypatch.setattr(urllib.request, "build_opener", lambda *handlers: build(*handlers, Quiet))
    return site


URL = "https://stranger.example/configs/linear.yaml?version=2"


def test_a_config_from_a_url_runs_in_safe_mode(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pages["/configs/linear.yaml?version=2"] = (200, CONFIG)
    assert command("fit", URL, "trainer::fast_dev_run=true") == 0
    assert "safe mode" in capsys.readouterr().err
    assert newest().config.read_text().startswith("# safe mode")
    site.pages["/configs/linear.yaml?version=2"] = (200, CONFIG.replace("torch.nn.Linear", "os.system"))
    assert command("fit", URL) == 2
    assert f"{URL}:7:21: system::model: safe mode does not call `os.system`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "pages", "message"),
    [
        ("http://stranger.example/c.yaml", {"/c.yaml": (200, CONFIG)}, "by https:// only"),
        ("HTTP://stranger.example/c.yaml", {"/c.yaml": (200, CONFIG)}, "by https:// only"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (302, "http://other.example/c.yaml")}, "by https:// only"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (302, "file:///etc/passwd")}, "cannot be fetched"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (302, "/c.yaml")}, "cannot be fetched"),
        ("https://stranger.example/c.yaml", {}, "cannot be fetched"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (200, "a: " + "x" * 11_000_000)}, "at most 10 MB"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (200, "_base_: base.yaml")}, "does not read this file"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (200, "x: '%a.yaml::b'")}, "does not read this file"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (200, "x: &a 1\ny: *a")}, "reads no aliases"),
        ("https://stranger.example/c.yaml", {"/c.yaml": (200, "- 1")}, "a config is a dict"),
        ("https://", {}, "cannot be fetched"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(site: Site, url: str, pages: dict[str, Any], message: str) -> None:
    site.pages = pages
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [url])
    assert all(asked.startswith("https://stranger") for asked in site.asked)


def test_a_config_from_a_url_after_a_redirection(site: Site) -> None:
    site.pages = {"/old": (301, "https://other.example/new"), "/new": (200, CONFIG)}
    assert remote.fetch("https://stranger.example/old", 10_000).decode() == CONFIG


def test_no_more_is_fetched_than_is_read(site: Site) -> None:
    site.pages = {"/x": (200, "x" * 1000)}
    assert len(remote.fetch("https://stranger.example/x", 10)) == 11


@pytest.fixture
def server(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of the files in `served`; what torch downloads is forgotten afterwards."""
    monkeypatch.setenv("TORCH_HOME", str(own_place / "torch"))
    (own_place / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory="served")) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("trainer", ["lighter.Trainer", "pytorch_lightning.Trainer"])
@pytest.mark.parametrize("how", ["argument", "args", "args that say null"])
def test_a_checkpoint_at_a_url_runs_no_code(stranger: str, server: str, canary: Path, trainer: str, how: str) -> None:
    evil_checkpoint("served/evil.ckpt", canary)
    url, inputs, given = f"{server}/evil.ckpt", [stranger, f"trainer::_target_={trainer}"], {}
    if how == "argument":
        given = {"ckpt_path": url}
    else:
        inputs.append(
            f"args::test={{ckpt_path: '{url}', weights_only: null}}"
            if "null" in how
            else f"args::test::ckpt_path={url}"
        )
    with pytest.raises(CheckpointError, match=r"(?s)holds more than weights.*can run code.*--no-weights_only"):
        Runner().run("test", inputs, **given)
    assert not canary.exists()


def test_a_sound_checkpoint_at_a_url_is_used(stranger: str, server: str) -> None:
    Runner().run("fit", [stranger])
    shutil.copy(newest().checkpoints / "last.ckpt", "served/last.ckpt")
    outcome = Runner().execute("test", [stranger], ckpt_path=f"{server}/last.ckpt")
    trained = torch.load("served/last.ckpt", weights_only=True)["state_dict"]["model.weight"]
    assert torch.equal(outcome.trainer.lightning_module.model.weight, trained)
    with pytest.raises(CheckpointError, match="safe mode fetches nothing"):
        Runner(safe=True).run("test", [stranger], ckpt_path=f"{server}/last.ckpt")


def test_a_config_does_not_switch_the_protection_off(stranger: str, canary: Path) -> None:
    evil = evil_checkpoint("evil.ckpt", canary)
    for value in ("false", "0", "'no'", "$1 == 2"):
        with pytest.raises(ConfigError, match=r"args::test::weights_only: a config does not decide"):
            Runner().run("test", [stranger, f"args::test={{ckpt_path: {evil}, weights_only: {value}}}"])
    assert not canary.exists()


def test_the_user_switches_the_protection_off_and_is_warned(stranger: str, canary: Path) -> None:
    evil = evil_checkpoint("evil.ckpt", canary)
    with (
        pytest.warns(UserWarning, match="the checkpoint can run any code while it is loaded"),
        pytest.raises(CheckpointError, match="does not fit this model"),
    ):
        Runner().run("test", [stranger], ckpt_path=evil, weights_only=False)
    assert canary.exists()


def test_safe_mode_does_not_switch_it_off(stranger: str, canary: Path) -> None:
    evil = evil_checkpoint("stranger/evil.ckpt", canary)
    with pytest.raises(ConfigError, match="in safe mode checkpoints are loaded with `weights_only`, always"):
        Runner(safe=True).run("test", [stranger], ckpt_path=evil, weights_only=False)
    assert command("test", stranger, "--safe", "--ckpt_path", evil, "--no-weights_only") == 2
    assert not canary.exists()


def test_an_environment_variable_does_not_switch_it_off(
    stranger: str, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    evil = evil_checkpoint("stranger/evil.ckpt", canary)
    for inputs, given in (([stranger], {"ckpt_path": evil}), ([stranger, f"system::ckpt_path={evil}"], {})):
        with pytest.raises(CheckpointError, match="can run code"):
            Runner().run("fit", inputs, **given)
    assert not canary.exists()


def test_a_folder_of_a_distributed_checkpoint(stranger: str, own_place: Path) -> None:
    (own_place / "sharded").mkdir()
    (own_place / "sharded" / ".metadata").touch()
    with pytest.raises(CheckpointError, match="its metadata is a pickle"):
        Runner().run("test", [stranger], ckpt_path="sharded")
    checkpoints.verify("sharded", weights_only=False)


def test_a_checkpoint_does_not_make_lightning_delete_a_file(stranger: str, own_place: Path) -> None:
    """ModelCheckpoint deletes the best checkpoint of its state if that lies, by its text, below its folder."""
    (own_place / "treasure").write_text("gold")
    callback = "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: stranger/saved}"
    inputs = [stranger, f"trainer::callbacks=[{callback}]"]
    Runner(safe=True).run("fit", inputs)
    [path] = (own_place / "stranger/saved").glob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    (own_place / "stranger/saved/link").symlink_to(own_place)
    for victim in ("stranger/saved/../../treasure", "stranger/saved/link/treasure"):
        for state in checkpoint["callbacks"].values():
            state["best_model_path"] = victim
        torch.save(checkpoint, "stranger/evil.ckpt")
        with pytest.raises(CheckpointError, match="paths that lead out"):
            Runner(safe=True).run("fit", [*inputs, "trainer::max_epochs=2"], ckpt_path="stranger/evil.ckpt")
    Runner().run("fit", [*inputs, "trainer::max_epochs=2"], ckpt_path="stranger/evil.ckpt")
    assert (own_place / "treasure").read_text() == "gold"


def test_what_ran_in_safe_mode_does_not_go_on_outside_of_it(stranger: str) -> None:
    Runner(safe=True).run("fit", [stranger])
    with pytest.raises(RunError, match="ran in safe mode, and this would run its config as one that you trust"):
        Runner().resume("last", ["trainer::max_epochs=3"])
