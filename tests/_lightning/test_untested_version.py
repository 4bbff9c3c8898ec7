"""With a Lightning that Lighter was not tested with, nothing of ours is installed, and every rung works."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lighter._lightning.versions import lightning_version
from lighter.trainer.full import Trainer as FullTrainer
from lighter.trainer.plain import Trainer, warn_once
from tests._lightning.private_names import PACKAGE, PRIVATE, imported_by

ROOT = Path(__file__).parents[2]
SHORT = [
    "trainer::max_epochs=1",
    "trainer::limit_train_batches=4",
    "trainer::limit_val_batches=2",
    "trainer::limit_test_batches=2",
    "trainer::limit_predict_batches=2",
    "trainer::log_every_n_steps=1",
]
RUNGS = {
    "plain": "digits_lightning/config.yaml",
    "steps": "digits/config.yaml",
    "forward": "finetune/pretrain.yaml",
    "system": "digits_system/config.yaml",
}
LOGGED = {
    "plain": {"val_acc"},
    "steps": {"train/loss/step", "train/loss/epoch", "val/loss/epoch", "val/metrics/accuracy/epoch"},
    "forward": {"train/loss/ce_loss/step", "val/loss/ce_loss/epoch"},
    "system": {"train/loss/step", "train/loss/epoch", "val/loss/epoch", "val/metrics/accuracy/epoch"},
}
LINE = (
    "Lightning 2.99.1 is not tested with this Lighter, which needs >=2.6.6,<2.7: Lightning's own loops, saving and"
    " signal handling run."
)
IDLE = "Without effect: exact_resume, on_non_finite, on_save_error, async_save"


def lighter(version: str, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands in the current folder, in one process."""
    job = [sys.executable, "-m", "tests._lightning.untested_job", version, *map(json.dumps, commands)]
    return subprocess.run(
        ["env", f"PYTHONPATH={ROOT}:{ROOT / 'src'}", *job], capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.long
@pytest.mark.parametrize("rung", RUNGS)
def test_training_works_and_one_line_says_what_it_costs(rung: str, own_place: Path) -> None:
    config = str(ROOT / "examples" / RUNGS[rung])
    more = ["trainer::exact_resume=True", "trainer::on_non_finite=skip"]
    names = ["validate", "test", *([] if rung == "forward" else ["predict"])]  # that example predicts elsewhere
    stages = [[name, config, *SHORT, "--ckpt_path", "last"] for name in names]
    done = lighter("2.99.1", ["fit", config, *SHORT, *more], *stages)
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert said.count(LINE) == 1
    assert IDLE in said

    headers = [path.read_text().partition("\n")[0] for path in own_place.glob("outputs/*/*/metrics.csv")]
    assert LOGGED[rung] <= set(",".join(headers).split(","))
    assert list(own_place.glob("outputs/*/*/checkpoints/last.ckpt"))
    check_loaded(json.loads(done.stdout.splitlines()[-1]))


def check_loaded(modules: list[str]) -> None:
    """No module that was loaded takes a private name of Lightning while it is imported."""
    assert "lighter.trainer.plain" in modules
    assert not [name for name in modules if name.startswith(("lighter.trainer.loops", "lighter.trainer.full"))]
    private = {}
    for name in modules:
        path = PACKAGE.parent / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and "lightning" in str(node.module).partition(".")[0]:
                private |= {f"{name}: {one}": node.lineno for one in imported_by(node) if PRIVATE.fullmatch(one)}
    assert not private


def test_arguments_without_effect_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_non_finite is one of stop, skip, continue, not 'perhaps'"):
        Trainer(on_non_finite="perhaps", default_root_dir=tmp_path)  # type: ignore[arg-type]
    trainer = Trainer(exact_resume=True, default_root_dir=tmp_path, accelerator="cpu", enable_model_summary=False)
    assert not trainer.exact_resume
    assert type(trainer.fit_loop).__module__.startswith("pytorch_lightning.")
    assert list(inspect.signature(Trainer).parameters) == list(inspect.signature(FullTrainer).parameters)


def test_the_line_comes_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    for _ in range(2):
        Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False)
    assert [record.message.partition(" is ")[0] for record in caplog.records if record.name == "lighter"] == [
        f"Lightning {lightning_version()}"
    ]


@pytest.mark.long
def test_a_module_loads_no_loop() -> None:
    code = "import sys; from lighter import LighterModule, System; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "lighter.model" in loaded
    assert not [name for name in loaded if name.startswith(("lighter.trainer", "lighter._lightning.loops"))]
