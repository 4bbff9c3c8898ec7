"""The second tier of the check. What it finds is in tests/config/bad; here is what it must not find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.cli.check import as_data
from lighter.config.yaml import dump
from lighter.errors import ConfigError
from tests.config.corpus import found_in
from tests.conftest import digits_config
from tests.slow import one_in, slow_but

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("config.yaml"))
GOOD = ROOT / "tests/config/bad/good.yaml"
CALLABLES = "tests.config.callables"
FINE = [
    "{_target_: HERE.anything, _args_: [1, 2], x: {y: 1}, z: null}",
    "{_target_: HERE.keywords, sise: 1}",
    "{_target_: HERE.unnamed, x: 1}",
    "{_target_: HERE.unnamed, _args_: [1, 2]}",
    "{_target_: HERE.half, other: 1}",
    "{_target_: HERE.half, size: 3}",
    "{_target_: HERE.placed, y: 1}",
    "{_target_: HERE.decorated, size: 1, retries: 3}",
    "{_target_: HERE.injected, size: 1, verbose: true}",
    "{_target_: HERE.injected, size: 1}",
    "{_target_: HERE.converted, value: '5'}",
    "{_target_: HERE.dispatched, _args_: [text]}",
    "{_target_: HERE.cached, size: 1}",
    "{_target_: HERE.Inherits, size: 1, name: a}",
    "{_target_: HERE.PassesOn, size: 1, extra: 2}",
    "{_target_: HERE.WithMeta, size: 1, registered: true}",
    "{_target_: HERE.New, size: 1, more: 2}",
    "{_target_: HERE.NewOnly, size: 1}",
    "{_target_: HERE.Called}",
    "{_target_: HERE.instance, size: 1}",
    "{_target_: HERE.PassesAllOn, width: 1, optimizer: null}",
    "{_target_: HERE.Warm, temperature: 2, width: 1, ckpt_match: 0.5}",
    "{_target_: HERE.TakesSomeOut, extra: 1, optimizr: 2}",
    "{_target_: HERE.Keeps, anything: 1}",
    "{_target_: HERE.PassesOnOne, anything: 1, width: 2}",
    "{_target_: HERE.OwnSystem, depth: 2, dataloaders: {}}",
    "{_target_: HERE.OwnWriter, path: a.csv, keys: [pred]}",
    "{_target_: HERE.Data, size: 1, items: [1, 2]}",
    "{_target_: HERE.Named, size: 1}",
    "{_target_: HERE.Box, value: {a: [1]}}",
    "{_target_: HERE.Box.of, value: 1}",
    "{_target_: HERE.Box.plain, value: 1}",
    "{_target_: HERE.Documented, name: 1}",
    "{_target_: HERE.Module, width: 1, activation: gelu}",
    "{_target_: HERE.Data, _mode_: callable}",
    "{_target_: HERE.Data, _disabled_: true}",
    "{_target_: HERE.Base, size: {_target_: builtins.int, _disabled_: true}, _mode_: callable}",
    "{_target_: '$dict', anything: 1}",
    "{_target_: '@vars::kind', anything: 1}",
    "{_target_: HERE.unnamed, _args_: '@vars::list'}",
    "{_target_: HERE.unnamed, _args_: '$[1]', _mode_: '$\"default\"'}",
    "{_target_: builtins.dict, a: 1}",
    "{_target_: builtins.int, _args_: ['7']}",
    "{_target_: math.sqrt, _args_: [2]}",
    "{_target_: str.upper, _args_: [a]}",
    "{_target_: operator.attrgetter, _args_: [a.b]}",
    "{_target_: itertools.chain, _args_: [[1], [2]]}",
    "{_target_: functools.partial, _args_: ['$print'], sep: x}",
    "{_target_: datetime.date, year: 2026, month: 1, day: 1}",
    "{_target_: pathlib.Path, _args_: [a, b]}",
    "{_target_: decimal.Decimal, value: '1.5'}",
    "{_target_: collections.namedtuple, typename: P, field_names: [x, y]}",
    "{_target_: logging.getLogger, name: x}",
    "{_target_: numpy.zeros, shape: [2, 2], dtype: float32}",
    "{_target_: numpy.random.default_rng, seed: 1}",
    "{_target_: sklearn.datasets.load_digits, n_class: 5, return_X_y: true}",
    "{_target_: sklearn.model_selection.train_test_split, _args_: [[1, 2, 3]], test_size: 0.5}",
    "{_target_: sklearn.linear_model.LogisticRegression, C: 1, max_iter: 100}",
    "{_target_: torch.tensor, data: [1, 2], dtype: $None}",
    "{_target_: torch.softmax, dim: 1, _mode_: callable}",
    "{_target_: torch.Generator, device: cpu}",
    "{_target_: torch.device, type: cpu}",
    "{_target_: torch.nn.Sequential, _args_: [{_target_: torch.nn.ReLU, inplace: true}]}",
    "{_target_: torch.nn.Conv2d, in_channels: 1, out_channels: 2, kernel_size: [3, 3], padding: same, dilation: 2}",
    "{_target_: torch.nn.Dropout, p: 0}",
    "{_target_: torch.nn.LSTM, input_size: 3, hidden_size: 4, num_layers: 2, batch_first: true}",
    "{_target_: torch.nn.LSTM, _args_: [3, 4]}",
    "{_target_: torch.nn.Transformer, d_model: 8, nhead: 2, activation: gelu}",
    "{_target_: torch.nn.Embedding, num_embeddings: 3, embedding_dim: 2, padding_idx: 0}",
    "{_target_: torch.nn.LayerNorm, normalized_shape: [8]}",
    "{_target_: torch.nn.Upsample, scale_factor: 2, mode: bilinear, size: null}",
    "{_target_: torch.nn.CrossEntropyLoss, label_smoothing: 0, weight: null}",
    "{_target_: torch.nn.parameter.Parameter, requires_grad: true}",
    "{_target_: torch.optim.SGD, params: '@vars::list', lr: 1, nesterov: true, momentum: 0.9}",
    "{_target_: torch.utils.data.DataLoader, dataset: [1, 2], batch_size: null, sampler: null}",
    "{_target_: torch.utils.data.random_split, dataset: '@vars::list', lengths: [0.5, 0.5]}",
    "{_target_: torch.utils.data.TensorDataset, _args_: ['$1', '$2']}",
    "{_target_: torch.compile, model: '@vars::kind', mode: max-autotune}",
    "{_target_: torch.distributions.Normal, loc: 0.0, scale: 1}",
    "{_target_: torchmetrics.Accuracy, task: multiclass, num_classes: 3}",
    "{_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 3, average: null, compute_on_cpu: true}",
    "{_target_: torchmetrics.MetricCollection, metrics: {a: {_target_: torchmetrics.MeanMetric}}, prefix: x}",
    "{_target_: torchmetrics.wrappers.ClasswiseWrapper, metric: {_target_: torchmetrics.MeanMetric}}",
    "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, monitor: x, every_n_epochs: 1, dirpath: a}",
    "{_target_: pytorch_lightning.callbacks.LearningRateMonitor, logging_interval: step}",
    "{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: x, version: 3}",
    "{_target_: pytorch_lightning.strategies.DDPStrategy, find_unused_parameters: true, process_group_backend: gloo}",
    "{_target_: pytorch_lightning.profilers.SimpleProfiler, filename: a}",
    "{_target_: monai.networks.nets.UNet, spatial_dims: 2, in_channels: 1, out_channels: 1, channels: [4, 8],"
    " strides: [2], act: PRELU, norm: [group, {num_groups: 2}]}",
    "{_target_: monai.losses.DiceLoss, sigmoid: true, include_background: false}",
    "{_target_: monai.transforms.Compose, transforms: []}",
    "{_target_: monai.inferers.SlidingWindowInferer, roi_size: [8, 8], sw_batch_size: 2, mode: gaussian}",
]
VALUES = {
    "number": ["1", "2.5", "1e-3"],
    "whole": ["1", "100.0", "true"],
    "sloppy": ["0.7", "text"],
    "implicit": ["null", "text"],
    "flag": ["true", "0"],
    "path": ["a/b", "null"],
    "either": ["1", "text", "null"],
    "choice": ["a", "1"],
    "items": ["[1, 2]", "[]", "['$x', '@vars::list']"],
    "pair": ["[0.9, 1]"],
    "many": ["[1, 2, 3]"],
    "text": ["[a, b]", "ab"],
    "table": ["{a: 1}", "{}"],
    "ordered": ["{a: 1}"],
    "color": ["red", "RED"],
    "rate": ["0.1", "1"],
    "noted": ["3"],
    "array": ["[1, 2]"],
    "device": ["cuda"],
    "dtype": ["float32"],
    "options": ["{size: 1}"],
    "sized": ["5"],
    "generic": ["5"],
    "unknown": ["5"],
    "function": ["'$len'", "{_target_: builtins.len, _mode_: callable}"],
    "module": ["{_target_: torch.nn.ReLU}", "'@model::network'"],
    "kind": ["'$int'"],
    "lists": ["[[1], []]"],
    "unions": ["[1, a]", "3"],
    "floats": ["[1, 2.5]", "1"],
}


@pytest.fixture
def problems_with(own_place: Path) -> Any:
    def problems_with(text: str) -> list[str]:
        imports = "_imports_: {x: math}\n"
        free = f"vars: {{kind: $dict, list: [1], made: {text}}}\n".replace("HERE", CALLABLES)
        (own_place / "c.yaml").write_text(f"_base_: {GOOD}\n{imports}{free}")
        return [str(problem) for problem in found_in(["c.yaml"], None)]

    return problems_with


@pytest.mark.parametrize("text", one_in(3, FINE))
def test_no_false_alarm_for_any_kind_of_target(problems_with: Any, text: str) -> None:
    assert problems_with(text) == []


@pytest.mark.parametrize("name", VALUES)
def test_no_false_alarm_for_any_kind_of_annotation(problems_with: Any, name: str) -> None:
    for value in VALUES[name]:
        assert problems_with(f"{{_target_: HERE.annotated, {name}: {value}}}") == []


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("stage", slow_but([None, "fit", "validate", "test", "predict"], "fit"))
def test_no_false_alarm_for_an_example(config: Path, stage: str | None) -> None:
    problems = found_in([str(config)], stage)
    assert not [problem for problem in problems if "needs a dataloader" not in problem.message]
    assert stage == "predict" or not problems


def test_no_false_alarm_for_what_is_completed_where_it_is_copied_to(own_place: Path) -> None:
    (own_place / "c.yaml").write_text(
        f"_base_: {GOOD}\n"
        "vars:\n"
        "  sgd: {_target_: torch.optim.SGD, lr: 0.1, params: '0'}\n"
        "  adam: {_target_: torch.optim.Adam}\n"
        "  step: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}\n"
        "model: {=optimizer: ['%vars::sgd', '%vars::adam'], scheduler: ['@vars::step', null]}\n"
    )
    assert found_in(["c.yaml"], None) == []


CHECKPOINT = "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, %s}"
RATES = "{_target_: pytorch_lightning.callbacks.LearningRateMonitor}"
PLATEAU = "scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau%s}, monitor: val/loss/epoch"
SEVERAL = "dataloaders: {=val: ['%system::dataloaders::train', '%system::dataloaders::train']}"
LEGAL = {
    "of a factory": "system: {metrics: {=val: {_target_: torchmetrics.Accuracy, task: binary}}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/metrics/BinaryAccuracy/epoch, mode: max'}]}}",
    "of a wrapper": "system: {metrics: {=val: [{_target_: torchmetrics.wrappers.ClasswiseWrapper, metric: "
    "{_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 3, average: none}}]}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/metrics/multiclassf1score_2/epoch, mode: max'}]}}",
    "of a dict": f"system: {{metrics: {{=val: {{spread: {{_target_: {CALLABLES}.Spread}}}}}}}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/metrics/sum/epoch'}]}}",
    "of what is not known": f"system: {{metrics: {{=val: {{one: {{_target_: {CALLABLES}.Opaque}}}}}}}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/metrics/other/epoch'}]}}",
    "of one of several losses": f"system: {{criterion: {{=_target_: {CALLABLES}.SeveralLosses}}}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/loss/ce/epoch'}]}}",
    "step": f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: step, mode: max'}]}}",
    "epoch": f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: epoch, mode: max'}]}}",
    "learning rate": f"trainer: {{callbacks: [{RATES}, {CHECKPOINT % 'monitor: lr-Adam'}]}}",
    "of a loader": f"system: {{{SEVERAL}}}\n"
    f"trainer: {{callbacks: [{CHECKPOINT % 'monitor: val/loss/epoch/dataloader_idx_1'}]}}",
    "as often as the validation": "trainer: {val_check_interval: 2, callbacks: "
    f"[{CHECKPOINT % 'monitor: val/loss/epoch, every_n_train_steps: 4'}]}}",
    "plateau": f"system: {{scheduler: {{{PLATEAU % ''}}}}}",
    "plateau, seldom": f"system: {{scheduler: {{{PLATEAU % ''}, frequency: 4}}}}\n"
    "trainer: {check_val_every_n_epoch: 2}",
    "plateau, not strict": f"system: {{scheduler: {{{PLATEAU % ''}, interval: step, strict: false}}}}",
    "file name": "trainer: {callbacks: ["
    + CHECKPOINT % "auto_insert_metric_name: false, filename: 'e{epoch}-{val/loss/epoch:.2f}'"
    + "]}",
    "anchors": "x-common: &a {lr: 0.1}\n.more: &b {_target_: no.such.Thing}\nsystem: {optimizer: *a}",
    "a name in braces": "vars: {text: 'x/${name}', set: '${str}'}",
    "a template": "vars: {t: {_target_: collections.Counter, a: '@::::::one'}, uses: {x: ['%vars::t'], one: 1}}",
}


@pytest.mark.parametrize("text", LEGAL.values(), ids=LEGAL)
def test_no_false_alarm_for_what_is_legal(own_place: Path, text: str) -> None:
    (own_place / "system.yaml").write_text((ROOT / "tests/config/bad/system.yaml").read_text())
    (own_place / "config.yaml").write_text(f"_base_: system.yaml\n{text}")
    assert found_in(["config.yaml"], "fit") == []


@pytest.mark.parametrize("argument", ["_target_: tests.jobs.ForwardClassifier, model", "_target_: HERE.Own, network"])
def test_what_a_users_class_logs_is_not_known(own_place: Path, argument: str) -> None:
    """A forward module's evaluators, and a class with a constructor of its own, may log anything under metrics."""
    (own_place / "good.yaml").write_text(GOOD.read_text())
    made = argument.replace("HERE", CALLABLES)
    module = f"{{{made}: {{_target_: tests.jobs.mlp}}, optimizer: {{_target_: torch.optim.Adam}}}}"
    monitor = CHECKPOINT % "monitor: val/metrics/dice/epoch, mode: max"
    (own_place / "config.yaml").write_text(f"_base_: good.yaml\n=model: {module}\ntrainer: {{callbacks: [{monitor}]}}")
    assert found_in(["config.yaml"], "fit") == []


@pytest.mark.slow
def test_a_fit_imports_nothing_of_experiments(own_place: Path) -> None:
    config = digits_config()
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
    (own_place / "c.yaml").write_text(json.dumps(config))
    code = """
import sys
from lighter.cli import cli
try:
    cli(["fit", "c.yaml"])
except SystemExit as end:
    assert not end.code, end.code
loaded = [name for name in sys.modules if name.startswith(("lighter.experiments", "optuna", "ray", "submitit"))]
assert "lighter.trainer.full" in sys.modules and not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_first_tier_imports_nothing_and_runs_nothing(own_place: Path) -> None:
    (own_place / "mine.py").write_text("raise SystemExit('imported')\n")
    (own_place / "c.yaml").write_text(
        "_imports_: {m: mine}\nmodel: {_target_: mine.Net, x: \"$m.f(__import__('mine'))\"}\n"
        "trainer: {max_epochs: $1 + 1}\n"
    )
    code = """
import sys
from click.testing import CliRunner
from lighter.cli import cli
for words in (["check", "--shape"], ["show"], ["show", "--origins", "--resolve"], ["why", "trainer::max_epochs"]):
    result = CliRunner().invoke(cli, [*words, "c.yaml"])
    assert result.exit_code == 0, result.output
heavy = {"torch", "pytorch_lightning", "lightning", "torchmetrics", "numpy", "mine"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_second_tier_builds_nothing(own_place: Path) -> None:
    (own_place / "built_nothing.py").write_text(
        "import lighter\n"
        "def explode(*args, **kwargs): raise SystemError('called')\n"
        "class Net(lighter.LighterModule):\n"
        "    def __init__(self, **kwargs): explode()\n"
        "    def training_step(self, batch, batch_idx): pass\n"
    )
    (own_place / "c.yaml").write_text(
        "model: {_target_: built_nothing.Net, a: {_target_: built_nothing.explode}, b: '$1 / 0'}\n"
        "data: {_target_: built_nothing.explode}\n"
    )
    assert found_in(["c.yaml"], None) == []
    assert not (own_place / "outputs").exists()


def test_a_stage_is_checked_for_what_it_needs_alone(config: dict[str, Any]) -> None:
    config["model"]["test_metrics"] = {"_target_": "not.there"}
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    with pytest.raises(ConfigError, match=r"model::test_metrics::_target_: `not.there` cannot be imported"):
        Runner().run("test", [config, "trainer::fast_dev_run=true"])


def test_warnings_are_logged_once_and_the_run_goes_on(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    config["data"]["train_dataloader"] = {
        "_target_": "torch.utils.data.DataLoader",
        "dataset": {"_target_": "tests.config.steps.Ordered"},
    }
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    [warning] = [record for record in caplog.records if record.name == "lighter.check"]
    assert "the train loader does not shuffle" in warning.getMessage()


def test_a_module_that_fails_at_import_keeps_its_exception_in_a_stage(config: dict[str, Any]) -> None:
    config["model"]["network"] = {"_target_": "tests.config.broken_module.Net"}
    with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
        Runner().run("fit", [config])


def test_the_fields_for_editors(own_place: Path) -> None:
    (own_place / "c.yaml").write_text(f"_base_: {GOOD}\ntrianer: 1\n")
    problems = found_in(["c.yaml", "vars::lrr=1", "modle=2"], None, shape=True)
    first, second, third = map(as_data, problems)
    assert first == {
        "severity": "error",
        "file": "c.yaml",
        "line": 2,
        "column": 1,
        "word": None,
        "path": "trianer",
        "message": "this section is unknown",
        "hint": "Did you mean `trainer`?",
        "nearest": "trainer",
    }
    assert (second["file"], second["line"], second["column"], second["word"]) == (None, None, 1, "vars::lrr=1")
    assert third["word"] == "modle=2"


def test_python_dicts_have_no_place(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [{**config, "trainer": {"max_epochs": "many"}}])
    [problem] = caught.value.problems
    assert as_data(problem)["file"] is None
    assert str(problem).startswith("Python: trainer::max_epochs: ")


def test_a_dumped_config_of_the_tests_is_good(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "c.yaml").write_text(dump(config))
    assert found_in(["c.yaml"], None) == []
