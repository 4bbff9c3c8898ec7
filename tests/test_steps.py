"""Steps in every form that users write them: what they may return, where they come from, what they know."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lighter.errors import ModeError, ModuleTypeError, ModuleValueError
from tests.jobs import Classifier, digits, loader
from tests.test_measuring import classifier, epoch_values, fit, trainer


def test_hooks_may_be_overridden_without_super() -> None:
    called: list[str] = []

    class Hooked(Classifier):
        def on_train_epoch_start(self):
            called.append("train start")

        def on_train_batch_end(self, outputs, batch, batch_idx):
            called.append("batch end")

        def on_train_epoch_end(self):
            called.append("train end")

        def on_validation_epoch_end(self):
            called.append("val end")

        def setup(self, stage):
            called.append("setup")

    run = fit(classifier(Hooked), trainer(max_epochs=1))
    assert {"setup", "train start", "batch end", "train end", "val end"} == set(called)
    assert {"train/loss/epoch", "val/metrics/f1/epoch"} <= set(run.callback_metrics)


def test_super_and_shared_steps_count_once() -> None:
    class Shared(Classifier):
        def test_step(self, batch, batch_idx):
            return self.validation_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            return super().validation_step(batch, batch_idx)

    module = classifier(Shared)
    run = trainer()
    run.test(module, loader(320, 390), verbose=False)
    values = epoch_values(run)
    assert set(values) == {"test/loss/epoch"}
    x, y = digits(320, 390).tensors
    with torch.no_grad():
        assert values["test/loss/epoch"] == pytest.approx(float(nn.functional.cross_entropy(module(x), y)), rel=1e-6)


def test_a_step_shared_by_assignment_is_measured_in_its_own_mode() -> None:
    class Assigned(Classifier):
        test_step = Classifier.validation_step

    run = trainer()
    run.test(classifier(Assigned), loader(320, 390), verbose=False)
    assert "test/loss/epoch" in run.callback_metrics


def test_the_mode() -> None:
    seen: set[str] = set()

    class Asking(Classifier):
        def forward(self, x):
            seen.add(self.mode)
            return super().forward(x)

    module = classifier(Asking)
    run = fit(module, trainer(max_epochs=1))
    run.test(module, loader(320, 390), verbose=False)
    run.predict(module, loader(320, 390))
    assert seen == {"train", "val", "test", "predict"}
    with pytest.raises(ModeError, match="only while a trainer runs"):
        _ = module.mode
    with pytest.raises(ModeError, match="only while a trainer runs"):
        _ = classifier().mode


def test_a_step_called_by_hand_is_not_measured() -> None:
    module = classifier()
    loss = module.training_step(next(iter(loader(0, 32))), 0)
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda loss: [loss], ModuleTypeError, "`training_step` returned a list"),
        (lambda loss: {"pred": loss}, ModuleTypeError, r"a dict with the keys \['pred'\]"),
        (lambda loss: {"loss": 0.5}, ModuleTypeError, r"a dict whose `loss` is a float \(0.5\)"),
        (lambda loss: {"loss": {"ce": loss}}, ModuleValueError, r"without `total`.*\['ce'\]"),
        (lambda loss: loss.expand(3), ModuleValueError, r"a loss of shape \(3,\).*mean\(\)"),
    ],
)
def test_wrong_outputs_show_the_right_forms(returned: Any, error: type, message: str) -> None:
    class Wrong(Classifier):
        def training_step(self, batch, batch_idx):
            return returned(super().training_step(batch, batch_idx))

    with pytest.raises(error, match=message):
        fit(classifier(Wrong), trainer(max_epochs=1))


def test_resuming_continues_and_measures(tmp_path: Path) -> None:
    first = fit(classifier(), trainer(max_epochs=1))
    first.save_checkpoint(tmp_path / "one.ckpt")
    run = trainer(max_epochs=2)
    run.fit(classifier(), loader(0, 300), loader(300, 390), ckpt_path=str(tmp_path / "one.ckpt"), weights_only=True)
    assert run.current_epoch == 2
    assert {"train/loss/epoch", "val/loss/epoch"} <= set(run.callback_metrics)


def test_a_fit_after_a_failed_fit_starts_afresh() -> None:
    class Failing(Classifier):
        fails = True

        def validation_step(self, batch, batch_idx):
            if self.fails and not self.trainer.sanity_checking and batch_idx == 2:
                raise RuntimeError("disk on fire")
            return super().validation_step(batch, batch_idx)

    module, run = classifier(Failing), trainer(max_epochs=1)
    with pytest.raises(RuntimeError, match="disk on fire"):
        fit(module, run)
    module.fails = False
    [values] = trainer().validate(module, loader(320, 390), verbose=False)
    [expected] = trainer().validate(module, loader(320, 390), verbose=False)
    assert values == expected


def test_a_step_that_calls_metrics_that_are_not_there_says_which() -> None:
    class Calling(Classifier):
        def validation_step(self, batch, batch_idx):
            self.val_metrics(self(batch[0]), batch[1])

    with pytest.raises(TypeError) as caught:
        trainer().validate(classifier(Calling, val_metrics=None), loader(0, 32), verbose=False)
    assert caught.value.__notes__ == ["the config has no `val_metrics`; a step that uses it needs it"]


class StepsFromElsewhere:
    """A mixin that knows nothing of Lighter."""

    def validation_step(self, batch, batch_idx):
        pred = self(batch[0])
        self.val_metrics(pred, batch[1])
        return {"loss": {"total": self.criterion(pred, batch[1])}}


def test_steps_of_mixins_and_other_descriptors_are_measured() -> None:
    class Mixed(StepsFromElsewhere, Classifier):
        def shared_step(self, batch, batch_idx, *, factor):
            return factor * self.criterion(self(batch[0]), batch[1])

        test_step = functools.partialmethod(shared_step, factor=2)

    class Inherited(Mixed):
        pass

    for kind in (Mixed, Inherited):
        module = classifier(kind)
        run = fit(module, trainer(max_epochs=1))
        assert {"val/loss/total/epoch", "val/metrics/f1/epoch", "train/loss/epoch"} <= set(run.callback_metrics)
        [once] = trainer().test(module, loader(320, 390), verbose=False)
        x, y = digits(320, 390).tensors
        with torch.no_grad():
            expected = 2 * nn.functional.cross_entropy(module(x), y)
        assert once["test/loss/epoch"] == pytest.approx(float(expected), rel=1e-6)


def test_a_decorated_step_keeps_its_signature_for_lightning() -> None:
    class Decorated(Classifier):
        @torch.no_grad()
        def validation_step(self, batch):
            return self.criterion(self(batch[0]), batch[1])

    [values] = trainer().validate(classifier(Decorated), loader(320, 390), verbose=False)
    assert "val/loss/epoch" in values
