"""Configs of LightningCLI: each rule, and a fit that is the same to the bit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

import lighter
from tests.convert.work import check, from_text, places, project, run

CONFIG = """\
seed_everything: 31
model:
  class_path: rivers.module.Forecast
  init_args:
    lr: 0.05
    net:
      class_path: rivers.net.Gauges
      init_args: {gauges: [a, b, c], hidden: 12}
data:
  class_path: rivers.module.Daily
  init_args: {folder: data, batch_size: 8}
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
"""
RECORDED = 0.0867511556  # the loss on all data after the fit by LightningCLI, of Lightning 2.6 and jsonargparse 4.53


def loss_of(module, data) -> float:
    with torch.no_grad():
        return float(module.error(data.days[:]))


@pytest.fixture
def lightning_cli(own_place: Path) -> Path:
    project("rivers", own_place)
    Path("config.yaml").write_text(CONFIG)
    return own_place


def converted_fit():
    assert run("convert", "config.yaml", "-o", "ours.yaml").exit_code == 0
    runner = lighter.Runner()
    runner.run("fit", ["ours.yaml", "trainer::exact_resume=false"])  # Lightning's random numbers
    return runner.outcome.module, runner.outcome.trainer.datamodule


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_fit_is_the_same_to_the_bit(lightning_cli: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(lightning_cli))
    module, data = converted_fit()
    from rivers.module import Daily, Forecast
    from rivers.net import Gauges

    pl.seed_everything(31, workers=True)
    hand_data = Daily(folder="data", batch_size=8)
    by_hand = Forecast(lr=0.05, net=Gauges(gauges=["a", "b", "c"], hidden=12))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(by_hand, hand_data)
    assert_same(module.state_dict(), by_hand.state_dict())
    assert loss_of(module, data) == pytest.approx(RECORDED, rel=1e-4)


@pytest.mark.filterwarnings("ignore")  # of jsonargparse, about Lightning
def test_a_fit_is_the_same_as_that_of_lightning_cli(lightning_cli: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jsonargparse")
    from pytorch_lightning.cli import LightningCLI

    monkeypatch.syspath_prepend(str(lightning_cli))
    module, _ = converted_fit()
    monkeypatch.setattr(sys, "argv", ["main.py"])
    theirs = LightningCLI(save_config_callback=None, args=["fit", "--config", "config.yaml"])
    assert_same(module.state_dict(), theirs.model.state_dict())
    assert loss_of(theirs.model, theirs.datamodule) == pytest.approx(RECORDED, rel=1e-4)


def test_a_saved_config_has_all_defaults(own_place: Path) -> None:
    """`config.yaml` of `lightning_logs/version_0` holds every argument of the trainer, most of them null."""
    text = """\
# lightning.pytorch==2.6.0
seed_everything: true
trainer: {logger: null, callbacks: null, max_epochs: 3, profiler: null}
model: {class_path: a.B}
data: {class_path: a.D, init_args: {n: 1}, dict_kwargs: {extra: 2}}
optimizer: null
lr_scheduler: null
ckpt_path: null
weights_only: null
"""
    converted = from_text("lightning-cli", text, folder=own_place)
    assert not converted.left
    assert "# lightning.pytorch==2.6.0" in converted.text()
    assert converted.tree.plain() == {
        "model": {"_target_": "a.B"},
        "data": {"_target_": "a.D", "n": 1, "extra": 2},
        "trainer": {"logger": None, "callbacks": None, "max_epochs": 3, "profiler": None},
    }


def test_files_merge_as_jsonargparse_does(own_place: Path) -> None:
    first = """\
model: {class_path: a.B, init_args: {x: 1, inner: {class_path: a.C, init_args: {p: 1}}}}
trainer: {callbacks: [{class_path: EarlyStopping}], devices: [0, 1]}
"""
    second = """\
model: {init_args: {y: 2, inner: {class_path: a.D}}}
trainer: {callbacks+: [{class_path: LearningRateMonitor}], devices: [2]}
"""
    converted = from_text("lightning-cli", first, second, folder=own_place)
    assert converted.tree.plain()["model"] == {"_target_": "a.B", "x": 1, "inner": {"_target_": "a.D"}, "y": 2}
    trainer = converted.tree.plain()["trainer"]
    assert trainer["devices"] == [2]
    assert [item["_target_"].rpartition(".")[2] for item in trainer["callbacks"]] == [
        "EarlyStopping",
        "LearningRateMonitor",
    ]
    assert places(converted.left) == [(f"{own_place}/b.yaml:1:35", "model.init_args.inner")]
    assert "the arguments of a.C are left out: p" in converted.left[0].found


def test_optimizers_of_the_command(own_place: Path) -> None:
    text = """\
model: {class_path: MODULE}
optimizer: {class_path: Adam, init_args: {lr: 1e-2}}
lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 3}}
"""
    converted = from_text("lightning-cli", text.replace("MODULE", "lighter.LighterModule"), folder=own_place)
    assert converted.tree.plain()["model"]["optimizer"] == {"_target_": "torch.optim.Adam", "lr": 0.01}
    assert converted.tree.plain()["model"]["scheduler"]["step_size"] == 3
    assert not converted.left

    converted = from_text("lightning-cli", text.replace("MODULE", "a.B"), folder=own_place)
    assert converted.tree.plain()["vars"]["optimizer"] == {
        "_target_": "torch.optim.Adam",
        "_mode_": "callable",
        "lr": 0.01,
    }
    assert [gap.path for gap in converted.left] == ["optimizer", "lr_scheduler"]
    assert "%vars::scheduler" in converted.left[1].write


def test_what_the_gap_of_an_optimizer_says_works(lightning_cli: Path) -> None:
    Path("config.yaml").write_text(f"{CONFIG}optimizer: {{class_path: SGD, init_args: {{lr: 0.25}}}}\n")
    assert run("convert", "config.yaml", "-o", "ours.yaml").exit_code == 1
    Path("own.py").write_text("""\
from rivers.module import Forecast
class Own(Forecast):
    def __init__(self, make_optimizer, **others):
        super().__init__(**others)
        self.make_optimizer = make_optimizer
    def configure_optimizers(self):
        return self.make_optimizer(self.parameters())
""")
    by_hand = ["model::_target_=own.Own", "model::make_optimizer=%vars::optimizer"]
    assert check("ours.yaml", *by_hand) == ""
    runner = lighter.Runner()
    runner.run("fit", ["ours.yaml", *by_hand, "trainer::fast_dev_run=true"])
    (optimizer,) = runner.outcome.trainer.optimizers
    assert (type(optimizer).__name__, optimizer.defaults["lr"]) == ("SGD", 0.25)


def test_a_scheduler_with_a_monitor(own_place: Path) -> None:
    text = """\
model: {class_path: lighter.LighterModule}
lr_scheduler: {class_path: ReduceLROnPlateau, init_args: {monitor: val/loss/epoch, factor: 0.5}}
"""
    converted = from_text("lightning-cli", text, folder=own_place)
    assert converted.tree.plain()["model"]["scheduler"] == {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.5},
        "monitor": "val/loss/epoch",
    }


def test_short_names_are_those_of_the_script(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: Net}\ndata: {class_path: Days, init_args: {n: 1}}\n")
    Path("main.py").write_text("from cars.nets import Net\nfrom .days import Days\nLightningCLI()\n")
    result = run("convert", "a.yaml", "main.py")
    assert "_target_: cars.nets.Net\n" in result.stdout
    assert "a.yaml:2:8: data: `Days` has no module" in result.stderr


def test_an_optimizer_callable(own_place: Path) -> None:
    text = "model: {class_path: a.B, init_args: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1.0}}}}"
    made = from_text("lightning-cli", text, folder=own_place).tree.plain()["model"]["optimizer"]
    assert made == {"_target_": "torch.optim.SGD", "_mode_": "callable", "lr": 1.0}


def test_a_config_of_all_stages(own_place: Path) -> None:
    text = """\
fit: {model: {class_path: a.B}, trainer: {max_epochs: 2}, ckpt_path: null}
test: {model: {class_path: a.B}, trainer: {max_epochs: 3}, ckpt_path: best, verbose: false}
"""
    converted = from_text("lightning-cli", text, folder=own_place)
    assert converted.tree.plain() == {
        "model": {"_target_": "a.B"},
        "trainer": {"max_epochs": 2},
        "args": {"test": {"ckpt_path": "best", "verbose": False}},
    }
    assert places(converted.left) == [(f"{own_place}/a.yaml:2:34", "test.trainer")]


@pytest.mark.parametrize(
    ("trainer", "expected", "gaps"),
    [
        ("gpus: 2", {"accelerator": "gpu", "devices": 2}, []),
        ("{gpus: 2, accelerator: ddp}", {"strategy": "ddp", "accelerator": "gpu", "devices": 2}, []),
        ("gpus: 0", {"accelerator": "cpu"}, []),
        ("{gpus: 0, tpu_cores: 8}", {"accelerator": "tpu", "devices": 8}, []),
        ("{gpus: 2, devices: 2}", {"accelerator": "gpu", "devices": 2}, []),
        ("{gpus: 2, num_processes: 4}", {"accelerator": "gpu", "devices": 2}, ["trainer.num_processes"]),
        ("checkpoint_callback: false", {"enable_checkpointing": False}, []),
        ("auto_lr_find: true", {}, ["trainer.auto_lr_find"]),
        ("{weights_summary: full, max_epochs: 1}", {"max_epochs": 1}, ["trainer.weights_summary"]),
        ("accumulate_grad_batches: {4: 2}", {}, ["trainer.accumulate_grad_batches"]),
        ("logger: TensorBoardLogger", {"logger": {"_target_": "pytorch_lightning.loggers.TensorBoardLogger"}}, []),
        ("callbacks: ModelSummary", {"callbacks": [{"_target_": "pytorch_lightning.callbacks.ModelSummary"}]}, []),
    ],
)
def test_the_trainer_of_earlier_versions(own_place: Path, trainer: str, expected: dict, gaps: list[str]) -> None:
    content = trainer if trainer.startswith("{") else f"{{{trainer}}}"
    converted = from_text("lightning-cli", f"model: {{class_path: a.B}}\ntrainer: {content}", folder=own_place)
    assert converted.tree.plain()["trainer"] == expected
    assert [gap.path for gap in converted.left] == gaps
    assert all(gap.origin for gap in converted.left)


def test_what_resumes_belongs_to_the_stage(own_place: Path) -> None:
    text = "model: {class_path: a.B}\ntrainer: {resume_from_checkpoint: x.ckpt}\n"
    assert from_text("lightning-cli", text, folder=own_place).tree.plain()["args"] == {"fit": {"ckpt_path": "x.ckpt"}}


def test_a_seed_that_is_none(own_place: Path) -> None:
    converted = from_text("lightning-cli", "model: {class_path: a.B}\nseed_everything: x\n", folder=own_place)
    assert places(converted.left) == [(f"{own_place}/a.yaml:2:1", "seed_everything")]


def test_a_section_of_the_name_args(own_place: Path) -> None:
    text = "fit: {model: {class_path: a.B}, ckpt_path: x.ckpt}\nargs: {fit: 3, size: 4}\n"
    tree = from_text("lightning-cli", text, folder=own_place).tree.plain()
    assert (tree["args"], tree["vars"]) == ({"fit": {"ckpt_path": "x.ckpt"}}, {"args": {"fit": 3, "size": 4}})


def test_sections_that_the_script_adds(own_place: Path) -> None:
    text = "model: {class_path: a.B}\nstop: {patience: 3}\n"
    converted = from_text("lightning-cli", text, folder=own_place)
    assert converted.tree.plain()["vars"] == {"stop": {"patience": 3}}
    assert places(converted.left) == [(f"{own_place}/a.yaml:2:1", "stop")]


def test_the_script_says_the_rest(own_place: Path) -> None:
    project("rivers", own_place)
    Path("train.py").write_text(
        Path("train.py").read_text().replace('"model.scale", compute_fn=lambda size: 1 / size', '"model.scale"')
    )
    result = run("convert", "configs/discharge.yaml", "train.py", "-o", "ours.yaml")
    assert result.exit_code == 0, result.stderr
    text = Path("ours.yaml").read_text()
    for line in ("horizon: '@data::horizon'", "means: $@data.means", "scale: '@data::batch_size'", "max_depth: 2"):
        assert line in text
    assert check("ours.yaml") == ""


def test_a_script_that_is_not_understood(own_place: Path) -> None:
    project("rivers", own_place)
    script = Path("train.py")
    text = script.read_text().replace('"data.horizon", "model.horizon"', "*ENDS").replace("Forecast, Daily", "make()")
    script.write_text(text)
    result = run("convert", "configs/discharge.yaml", "train.py")
    assert "train.py:12:9: `parser.link_arguments(*ENDS)` is not understood" in result.stderr
    assert (
        "configs/discharge.yaml:34:1: model: its class, a LightningModule, is neither in the config nor found"
        in result.stderr
    )
    script.write_text("def")
    broken = run("convert", "configs/discharge.yaml", "train.py")
    assert broken.exit_code == 2
    assert "train.py:1:4: this is not Python: invalid syntax" in broken.stderr
    assert run("convert", "configs/discharge.yaml", "nothing.py").exit_code == 2


def test_what_a_script_does_beside_the_command(own_place: Path) -> None:
    Path("a.yaml").write_text(CONFIG)
    Path("main.py").write_text("""\
from pytorch_lightning.cli import LightningCLI
class Command(LightningCLI):
    def before_fit(self):
        self.model.warm_up()
cli = Command(run=False)
cli.model.use(cli.datamodule.means())
cli.trainer.fit(cli.model, datamodule=cli.datamodule)
""")
    result = run("convert", "a.yaml", "main.py")
    assert result.exit_code == 1
    assert "main.py:3:5: `Command.before_fit` is not understood" in result.stderr
    assert "main.py:6:1: `cli.model.use(cli.datamodule.means())` is not understood" in result.stderr
    assert "main.py:7" not in result.stderr


CALL = "from pytorch_lightning.cli import LightningCLI\n"
SCRIPTS = {
    "a class from elsewhere": ("from mine import MyCLI as C\nC()\n", "main.py:3:1: `C` is not understood"),
    "add_argument": ("LightningCLI()\nparser.add_argument('--x')\n", "main.py:3:1: `parser.add_argument('--x')`"),
    "a second call": (
        "LightningCLI(seed_everything_default=1)\nLightningCLI(run=False)\n",
        "`LightningCLI(run=False)`",
    ),
    "trainer_class": ("LightningCLI(trainer_class=Mine)\n", "main.py:2:28: `trainer_class=Mine` is not understood"),
    "an annotated name": (
        "cli: LightningCLI = LightningCLI()\ncli.model.prepare()\n",
        "main.py:3:1: `cli.model.prepare()`",
    ),
    "a name in a condition": ("if cli := LightningCLI():\n  cli.model.use()\n", "main.py:3:3: `cli.model.use()`"),
}


@pytest.mark.parametrize(("script", "gap"), SCRIPTS.values(), ids=SCRIPTS)
def test_what_else_a_script_does_is_a_gap(own_place: Path, script: str, gap: str) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B}\n")
    Path("main.py").write_text(CALL + script)
    result = run("convert", "a.yaml", "main.py")
    assert (result.exit_code, gap in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize(
    "script",
    [
        "from pytorch_lightning.cli import LightningCLI as L\nL(A)\n",
        "from lightning.pytorch import cli\ncli.LightningCLI(A)\n",
        f"{CALL}class MyCLI(LightningCLI):\n    pass\nMyCLI(A)\n",
        f"{CALL}class Mine(LightningCLI):\n    pass\nMine(A)\n",
    ],
)
def test_a_call_by_another_name(own_place: Path, script: str) -> None:
    Path("a.yaml").write_text("seed_everything: 1\n")
    Path("main.py").write_text(f"from a import A\n{script}")
    result = run("convert", "a.yaml", "main.py")
    assert (result.exit_code, "_target_: a.A" in result.stdout) == (0, True), result.stderr


NO_SCRIPTS = {
    "no call": (b"import lightning\n", "main.py: this script does not call LightningCLI"),
    "nested": (b"x = " + b"-" * 100_000 + b"1\n", "main.py:1:1: an expression in it is nested too deep"),
    "a long sum": (b"x = f(" + b"a+" * 20_000 + b"a)()\n", "main.py:1:1: an expression in it is nested too deep"),
    "no UTF-8": (b"x = 1\ny = '\xe9'\n", "main.py: this is not UTF-8 text: line 2 has the byte 0xe9"),
    "no Python": (b"x = 1\ny = (]\n", "main.py:2:6: this is not Python"),
}


@pytest.mark.parametrize(("script", "said"), NO_SCRIPTS.values(), ids=NO_SCRIPTS)
def test_a_script_that_cannot_be_read(own_place: Path, script: bytes, said: str) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B}\n")
    Path("main.py").write_bytes(script)
    result = run("convert", "a.yaml", "main.py")
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_script_that_is_not_there(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B}\n")
    Path("main.py").write_text(CALL)
    result = run("convert", "a.yaml", "man.py")
    assert result.exit_code == 2
    assert "man.py: there is no such file\n  Did you mean `main.py`?" in result.stderr


def test_a_trainer_that_is_no_dict(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B}\ntrainer: []\n")
    Path("main.py").write_text(
        f"{CALL}from a import Stop\nLightningCLI()\nparser.add_lightning_class_args(Stop, 'stop')\n"
    )
    result = run("convert", "a.yaml", "main.py")
    assert result.exit_code == 2
    assert "a.yaml:2:10: trainer: this is a dict; found a list" in " ".join(result.stderr.split())


def test_values_of_yaml_1_1(own_place: Path) -> None:
    text = 'model: {class_path: a.B, init_args: {a: yes, b: "yes", c: 010, d: 1:30, e: off, f: 1e-3, g: 2026-11-22}}'
    model = from_text("lightning-cli", text, folder=own_place).tree.plain()["model"]
    assert model == {
        "_target_": "a.B",
        "a": True,
        "b": "yes",
        "c": 8,
        "d": 90,
        "e": False,
        "f": 0.001,
        "g": "2026-11-22",
    }


def test_text_that_would_be_a_reference(own_place: Path) -> None:
    text = 'model: {class_path: a.B, init_args: {mail: "@home", price: "$5", rest: "%d"}}'
    model = from_text("lightning-cli", text, folder=own_place).tree.plain()["model"]
    assert model == {"_target_": "a.B", "mail": "$'@home'", "price": "$'$5'", "rest": "$'%d'"}


def test_a_gap_of_what_only_the_script_says_is_in_no_file(own_place: Path) -> None:
    Path("a.yaml").write_text("model: {class_path: a.B}\n")
    Path("main.py").write_text(f"{CALL}LightningCLI()\nparser.set_defaults({{'seed_everything': 'x'}})\n")
    result = run("convert", "a.yaml", "main.py")
    assert "\nseed_everything: a seed is an integer; found x" in result.stderr
