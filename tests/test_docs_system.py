"""docs/03 is true: each fragment runs, each row of its tables gives the value it would give by hand.

How the page is read, besides what `test_docs.py` says:

- a fragment is laid over `digits_system.yaml`, the page's config; one with `# part: snippets/NAME` over `BASES[NAME]`,
  a small config with data of the shape that it is about;
- a row of the last two tables is run by a System whose model is the identity, with the row's transforms.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_diabetes
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import lighter
from lighter.errors import ModuleValueError
from tests import test_docs
from tests.docs_jobs import CLASSES, PIXELS, SAMPLES, pairs
from tests.slow import mostly_slow, one_in
from tests.test_docs import ROOT, SHORT, Block, blocks, run_console, write_files

PAGE = ROOT / "docs/03-system-and-adapters.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}

desk = test_docs.desk


def section(heading: str) -> str:
    """The page from a heading to the next."""
    return TEXT.split(f"\n{heading}\n")[1].split("\n#")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


# --- fragments ---


def heading_of(block: Block) -> str:
    above = "\n".join(TEXT.splitlines()[: block.line])
    return re.findall(r"^##+ ([\w ]+)", above, re.MULTILINE)[-1]


def name_of(block: Block) -> str:
    return Path(block.file).stem if block.file else heading_of(block).replace(" ", "-")


YAML = [block for block in blocks(PAGE) if block.language == "yaml" and not block.is_whole]
PARTS, FRAGMENTS = [block for block in YAML if block.file], [block for block in YAML if not block.file]

# What is in `trainer.callback_metrics`, where the page gives its name
LOGGED = {
    "CriterionAdapter": {"train/loss/epoch", "val/loss/epoch"},
    "MetricsAdapter": {"val/metrics/accuracy/epoch", "val/metrics/auroc/epoch"},
    "Several-losses": {f"{mode}/loss/{name}/epoch" for mode in ("train", "val") for name in ("total", "fit", "size")},
    "Several-dataloaders": {"val/loss/epoch/dataloader_idx_0", "val/metrics/accuracy/epoch/dataloader_idx_1"},
    "multitask": {"val/metrics/digit/epoch", "val/metrics/ink/epoch", "val/loss/total/epoch"},
}


def linear(out_features: int, in_features: int = 4) -> dict[str, Any]:
    return {"_target_": "torch.nn.Linear", "in_features": in_features, "out_features": out_features}


def job(name: str) -> dict[str, str]:
    return {"_target_": f"tests.docs_jobs.{name}"}


CONVOLUTION = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
CROSS_ENTROPY, SQUARES = {"_target_": "torch.nn.CrossEntropyLoss"}, {"_target_": "torch.nn.MSELoss"}

# The mode that a part is about, and the model and the criterion that it is laid over
BASES: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "batch_dict": ("train", linear(3), CROSS_ENTROPY),
    "batch_named": ("train", job("Bert"), CROSS_ENTROPY),
    "batch_positions": ("train", job("Siamese"), {"_target_": "torch.nn.BCEWithLogitsLoss"}),
    "criterion_apart": ("train", job("Span"), {**job("span_loss"), "_mode_": "callable"}),
    "batch_callable": ("train", job("ImageAndAge"), CROSS_ENTROPY),
    "criterion_order": ("train", linear(3), {**job("truth_first"), "_mode_": "callable"}),
    "criterion_input": ("train", linear(4), SQUARES),
    "multitask": ("val", job("TwoHeads"), {**job("both_losses"), "_mode_": "callable"}),
    "sliding": ("val", CONVOLUTION, SQUARES),
    "ctc": ("train", linear(3), None),
}


def base(name: str) -> dict[str, Any]:
    mode, model, criterion = BASES[name]
    loader = {"_target_": "torch.utils.data.DataLoader", "dataset": {**job("Samples"), "kind": name}, "batch_size": 4}
    system = {
        "_target_": "lighter.System",
        "model": model,
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "dataloaders": {mode: loader},
        **({"criterion": criterion} if criterion else {}),
    }
    return {"_imports_": {"torch": "torch"}, "system": system, "trainer": {**QUIET, "max_epochs": 1}}


def logged(outcome: Any) -> dict[str, float]:
    values = {name: float(value) for name, value in outcome.trainer.callback_metrics.items()}
    assert all(math.isfinite(value) for value in values.values()), values
    return values


@pytest.mark.parametrize("block", one_in(4, PARTS), ids=name_of)
def test_parts_run(block, desk):
    name = name_of(block)
    write_files(PAGE, desk)
    stage = {"train": "fit", "val": "validate"}[BASES[name][0]]
    values = logged(lighter.Runner().execute(stage, [base(name), block.file]))
    assert LOGGED.get(name, {f"{BASES[name][0]}/loss/epoch"}) <= set(values)


@pytest.mark.parametrize("block", one_in(4, FRAGMENTS), ids=name_of)
def test_fragments_run(block, desk):
    write_files(PAGE, desk)
    Path("fragment.yaml").write_text(block.text, encoding="utf-8")
    outcome = lighter.Runner().execute("fit", ["digits_system.yaml", "fragment.yaml", *SHORT])
    assert LOGGED.get(name_of(block), set()) <= set(logged(outcome))
    assert (outcome.folder.checkpoints / "best.ckpt").is_file()
    if name_of(block) == "Several-losses":
        assert "val/loss/total/epoch" in {callback.monitor for callback in outcome.trainer.checkpoint_callbacks}
    predicted = lighter.Runner().run("predict", ["digits_system.yaml", "fragment.yaml"])
    assert sum(len(output["pred"]) for output in predicted) == 269, "the test split"
    if name_of(block) == "LoggingAdapter":
        assert predicted[0]["input"].max() == 255
        assert predicted[0]["pred"].dtype == torch.int64


def test_fragments_were_found():
    assert len(YAML) >= 12
    assert {name_of(block) for block in PARTS} == set(BASES)
    assert set(LOGGED) <= {name_of(block) for block in YAML}


@pytest.mark.slow
def test_the_commands_of_the_page_run(desk):
    write_files(PAGE, desk)
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(consoles) >= 2
    for block in consoles:
        run_console(block)


KEY_OF_A_LIST = {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": "image", "target_accessor": 1}

# What is wrong, in the order of the page
ERRORS = {
    "accessor": {"adapters": {"val": {"batch": KEY_OF_A_LIST}}},
    "criterion": {"=criterion": SQUARES},
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("mistake", ERRORS)
def test_errors_read_as_shown(mistake, desk):
    write_files(PAGE, desk)
    shown = [block.text for block in blocks(PAGE) if block.language == "text" and "in the config" in block.text]
    assert len(shown) == len(ERRORS)
    with pytest.raises((ModuleValueError, RuntimeError)) as caught:
        lighter.Runner().run("fit", ["digits_system.yaml", {"system": ERRORS[mistake]}, *SHORT])
    assert "".join(traceback.format_exception_only(caught.value)) == shown[list(ERRORS).index(mistake)]


# --- the table of transforms ---


def identity(mode: str, kind: str, **parts: Any) -> dict[str, Any]:
    """A config whose model is the identity, so that its predictions are those of `docs_jobs.pairs`."""
    loader = {
        "_target_": "torch.utils.data.DataLoader",
        "dataset": {**job("dataset"), "kind": kind},
        "batch_size": SAMPLES,
    }
    model = {"_target_": "torch.nn.Identity"}
    system = {"_target_": "lighter.System", "model": model, "dataloaders": {mode: loader}, **parts}
    return {"system": system, "trainer": QUIET}


def in_units(deviations: Tensor) -> Tensor:
    """What examples/tabular/data.py does with its training patients' mean and standard deviation."""
    progression = load_diabetes(scaled=False).target
    train = progression[np.random.default_rng(0).permutation(len(progression))[:300]]
    return float(train.mean()) + float(train.std()) * deviations


# By code: the kind of data, whether its inputs (0) or its targets (1) are transformed, and what becomes of them
TRANSFORMED: dict[str, tuple[str, int, Callable[[Tensor], Tensor]]] = {
    "{_target_: torch.sigmoid}": ("classes", 0, lambda x: 1 / (1 + (-x).exp())),
    "{_target_: torch.argmax, dim: 1}": ("classes", 0, lambda x: x.max(dim=1).indices),
    "{_target_: torch.Tensor.float}": ("labels", 1, lambda x: torch.where(x == 1, 1.0, 0.0)),
    "{_target_: torch.Tensor.long}": ("classes", 0, lambda x: x.trunc().to(torch.int64)),
    "{_target_: torch.nn.Flatten}": ("maps", 0, lambda x: x.reshape(SAMPLES, -1)),
    "{_target_: torch.nn.AvgPool2d, kernel_size: 2}": (
        "maps",
        0,
        lambda x: x.reshape(SAMPLES, CLASSES, PIXELS // 2, 2, PIXELS // 2, 2).mean(dim=(3, 5)),
    ),
    '"$lambda x: x[:, 0]"': ("classes", 0, lambda x: x.select(1, 0)),
    "[{_target_: torch.softmax, dim: 1}, {_target_: torch.argmax, dim: 1}]": ("classes", 0, lambda x: x.argmax(dim=1)),
    "{_target_: project.data.in_units}": ("classes", 0, in_units),
}
HOWS = [how for row in rows("## Transforms") for how in re.findall(r"`([{\[\"].*?[}\]\"])`", row[1])]


@pytest.mark.parametrize("how", mostly_slow(HOWS, 3))
def test_transforms_do_what_the_table_says(how):
    kind, accessor, by_hand = TRANSFORMED[how]
    adapters = {
        "batch": {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": accessor},
        "logging": {"_target_": "lighter.adapters.LoggingAdapter", "pred_transforms": yaml.safe_load(how)},
    }
    config = identity("predict", kind, adapters={"predict": adapters})
    config["project"] = str(ROOT / "examples/tabular")
    [output] = lighter.Runner().run("predict", [config])
    torch.testing.assert_close(output["pred"], by_hand(pairs(kind)[accessor]))


def test_the_transforms_were_found():
    assert set(HOWS) == set(TRANSFORMED)


# --- the tables of losses and metrics ---

# A row's columns `prediction` and `target`, and the data of `docs_jobs.pairs` that has these shapes
KINDS = {
    "`(B, C)` | `(B,)`": "classes",
    "`(B, C, H, W)` | `(B, 1, H, W)`": "maps",
    "`(B, 1)` | `(B,)`, 0 or 1": "bits",
    "`(B, L)` | `(B, L)`, 0 or 1": "labels",
    "`(B, 1, H, W)` | `(B, 1, H, W)`, 0 or 1": "mask",
    "`(B, 1)` | `(B,)` numbers": "numbers",
    "`(B, C)` | `(B, C)` logits": "logits",
    "`(B, 1, H, W)` | `(B, 1, H, W)` images": "images",
    "`(B, T, V)` | `(B, T)`": "text",
}


class Row(NamedTuple):
    """A loss or metric, the kind of its data, and the transforms that the table gives it."""

    part: str
    definition: dict[str, Any]
    kind: str
    transforms: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.definition['_target_'].rsplit('.', 1)[1]}-{self.kind}"


def row_of(part: str, cells: list[str]) -> Row:
    codes = re.findall(r"`(\w+_transforms: .*?)`", cells[3])
    assert codes or cells[3] == "none", cells
    transforms = {key: value for code in codes for key, value in yaml.safe_load(code).items()}
    return Row(part, yaml.safe_load(cells[0].strip("`")), KINDS[" | ".join(cells[1:3])], transforms)


ROWS = [row_of("criterion", cells) for cells in rows("### Losses")]
ROWS += [row_of("metrics", cells) for cells in rows("### Metrics")]


def bce(p: Tensor, t: Tensor) -> Tensor:
    return -torch.where(t == 1, p.sigmoid(), 1 - p.sigmoid()).log().mean()


def dice(p: Tensor, t: Tensor, smooth: float = 1e-5) -> Tensor:
    """Dice of probabilities and truth, per image and channel. MONAI smooths, torchmetrics does not."""
    return (2 * (p * t).sum((2, 3)) + smooth) / (p.sum((2, 3)) + t.sum((2, 3)) + smooth)


def one_hot(t: Tensor) -> Tensor:
    return F.one_hot(t, CLASSES).permute(0, 3, 1, 2).float()


def dice_of_classes(p: Tensor, t: Tensor) -> Tensor:
    """As MONAI means it: the mean over images, of each over the classes that it has."""
    values = dice(p, t, smooth=0)
    return torch.stack([of_image[has].mean() for of_image, has in zip(values, t.sum((2, 3)) > 0, strict=True)]).mean()


def jaccard(p: Tensor, t: Tensor) -> Tensor:
    return (p & t).sum() / (p | t).sum()


def squares(p: Tensor, t: Tensor) -> Tensor:
    return (p[:, 0] - t).square()


def distances(p: Tensor, t: Tensor) -> Tensor:
    return (p[:, 0] - t).abs()


def cross_entropy(p: Tensor, t: Tensor) -> Tensor:
    return -p.log_softmax(dim=1).gather(1, t[:, None]).mean()


def huber(p: Tensor, t: Tensor) -> Tensor:
    return torch.where(distances(p, t) < 1, squares(p, t) / 2, distances(p, t) - 0.5).mean()


def divergence(p: Tensor, t: Tensor) -> Tensor:
    return (t.softmax(1) * (t.log_softmax(1) - p.log_softmax(1))).sum(dim=1).mean()


BY_HAND: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "CrossEntropyLoss-classes": cross_entropy,
    "CrossEntropyLoss-maps": lambda p, t: cross_entropy(p.movedim(1, -1).reshape(-1, CLASSES), t.flatten()),
    "BCEWithLogitsLoss-bits": lambda p, t: bce(p[:, 0], t),
    "BCEWithLogitsLoss-labels": bce,
    "BCEWithLogitsLoss-mask": bce,
    "NLLLoss-classes": cross_entropy,
    "KLDivLoss-logits": divergence,
    "MSELoss-numbers": lambda p, t: squares(p, t).mean(),
    "L1Loss-numbers": lambda p, t: distances(p, t).mean(),
    "SmoothL1Loss-numbers": huber,
    "HuberLoss-numbers": huber,
    "DiceLoss-mask": lambda p, t: (1 - dice(p.sigmoid(), t)).mean(),
    "DiceLoss-maps": lambda p, t: (1 - dice(p.softmax(1), one_hot(t[:, 0]))).mean(),
    "DiceCELoss-mask": lambda p, t: (1 - dice(p.sigmoid(), t)).mean() + bce(p, t),
    "MulticlassAccuracy-classes": lambda p, t: (p.argmax(1) == t).float().mean(),
    "MulticlassF1Score-classes": lambda p, t: f1_score(t, p.argmax(1), average="macro"),
    "MulticlassAUROC-classes": lambda p, t: roc_auc_score(t, p.double().softmax(1), multi_class="ovr"),
    "BinaryAccuracy-bits": lambda p, t: ((p[:, 0] > 0) == t).float().mean(),
    "BinaryF1Score-bits": lambda p, t: f1_score(t, p[:, 0] > 0),
    "BinaryAUROC-bits": lambda p, t: roc_auc_score(t, p[:, 0]),
    "MultilabelAccuracy-labels": lambda p, t: ((p > 0) == t).float().mean(),
    "BinaryJaccardIndex-mask": lambda p, t: jaccard(p > 0, t == 1),
    "MulticlassJaccardIndex-maps": lambda p, t: torch.stack(
        [jaccard(p.argmax(1) == number, t[:, 0] == number) for number in range(CLASSES)]
    ).mean(),
    "DiceScore-maps": lambda p, t: dice(one_hot(p.argmax(1)), one_hot(t[:, 0]), smooth=0).mean(),
    "DiceMetric-maps": lambda p, t: dice_of_classes(one_hot(p.argmax(1)), one_hot(t[:, 0])),
    "MeanSquaredError-numbers": lambda p, t: squares(p, t).mean(),
    "MeanAbsoluteError-numbers": lambda p, t: distances(p, t).mean(),
    "R2Score-numbers": lambda p, t: 1 - squares(p, t).mean() / t.var(correction=0),
    "PearsonCorrCoef-numbers": lambda p, t: torch.corrcoef(torch.stack([p[:, 0], t]))[0, 1],
    "PeakSignalNoiseRatio-images": lambda p, t: -10 * (p - t).square().mean().log10(),
    "Perplexity-text": lambda p, t: cross_entropy(p.flatten(0, 1), t.flatten()).exp(),
}


def value_of(row: Row, **adapters: Any) -> float:
    """What the Runner reports for a row: the loss of `validate` or the metric of `test`."""
    stage, mode, name = {
        "criterion": ("validate", "val", "val/loss/epoch"),
        "metrics": ("test", "test", "test/metrics/it/epoch"),
    }[row.part]
    definition = row.definition if row.part == "criterion" else {mode: {"it": row.definition}}
    config = identity(mode, row.kind, adapters={mode: adapters}, **{row.part: definition})
    [values] = lighter.Runner().run(stage, [config], verbose=False)
    assert set(values) == {name}
    return values[name]


@pytest.mark.parametrize("row", one_in(4, ROWS), ids=lambda row: row.name)
def test_rows_give_the_value_by_hand(row):
    target = {"criterion": "CriterionAdapter", "metrics": "MetricsAdapter"}[row.part]
    adapter = {"_target_": f"lighter.adapters.{target}", "pred_argument": 0, "target_argument": 1, **row.transforms}
    by_hand = float(BY_HAND[row.name](*pairs(row.kind)))
    assert value_of(row, **{row.part: adapter}) == pytest.approx(by_hand, rel=1e-5)
    if not row.transforms:
        assert value_of(row) == pytest.approx(by_hand, rel=1e-5), "with none needed you may leave the adapter out"


def test_the_rows_were_found():
    assert len(ROWS) >= 25
    assert {row.name for row in ROWS} == set(BY_HAND)
