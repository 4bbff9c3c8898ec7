"""Numbers that are not finite. Many more places are tried by tests/faults/inject_nan.py."""

from __future__ import annotations

import logging
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import OnExceptionCheckpoint
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.tuner import Tuner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lighter.cli.stage import exit_code
from lighter.errors import NonFiniteError
from lighter.trainer.nonfinite.tensors import all_finite, first_nonfinite, largest_value, mark, nonfinite_in_batch
from tests.faults.spoiled import BATCHES, EPOCHS, MODULES, Fault, Samples, fit, make_trainer, place_in, spoiled_files
from tests.slow import mostly_slow

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
    pytest.mark.filterwarnings("ignore:.*was called without a model. The last model"),
    pytest.mark.filterwarnings("ignore:.fit.ckpt_path=.last.. is set"),  # by Lightning, for OnExceptionCheckpoint
]
WithLighter, WithLightning, ByHand = MODULES.values()


def stopped(module: Any, folder: Path, **kwargs: Any) -> str:
    with pytest.raises(NonFiniteError) as caught:
        fit(module, folder, **kwargs)
    return str(caught.value)


def test_the_message_says_where_what_and_what_helps(tmp_path: Path) -> None:
    assert (
        stopped(WithLighter(Fault("batch", 1, 4)), tmp_path)
        == """\
The loss `loss/ce` is nan in epoch 1, batch 4 (from 0), global step 13.

  batch          `x`: 1 of 20 values are not finite, the first is nan at [1, 2]
  weights        all finite, the largest 1.09 in `network.1.weight`
  learning rate  0.01

The optimizer's step was not taken: the weights are those of the step before.
The data are not finite when they get to the step: look at these samples, and at what loads them.
`detect_anomaly: true` names the operation. `on_non_finite: skip` leaves such a step out, `continue` trains on."""
    )


@pytest.mark.parametrize("defaults", [{}, {"lr": None}])
@pytest.mark.parametrize("what", ["loss", "gradient", "weight"])
def test_an_optimizer_need_not_have_a_learning_rate(what: str, defaults: Any, tmp_path: Path) -> None:
    class Optimizer(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> Any:
            return closure()

    class Module(WithLightning):
        def configure_optimizers(self) -> Any:
            return Optimizer(self.parameters(), dict(defaults))

    batch = BATCHES - 1 if what == "weight" else 3  # of which no later loss tells
    assert "  learning rate  not known\n" in stopped(Module(Fault(what, 1, batch)), tmp_path)


def test_the_command_line_shows_it_without_a_traceback(capsys: pytest.CaptureFixture) -> None:
    def fails() -> None:
        raise NonFiniteError("The loss is nan.")

    assert exit_code(fails) == 1
    assert capsys.readouterr().err == "Training stopped at a number that is not finite.\n\nThe loss is nan.\n"
    assert exit_code(fails, traceback=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_clipping_does_not_hide_which_gradient_it_was(tmp_path: Path) -> None:
    class InTheMiddle(WithLighter):
        def on_after_backward(self) -> None:
            if self.trainer.global_step == 2:
                self.network[3].weight.grad[1, 1] = inf

    message = stopped(InTheMiddle(Fault("none")), tmp_path, gradient_clip_val=0.5)
    assert message.startswith("The gradient of `network.3.weight` is not finite in epoch 0, batch 2")
    assert "  gradient       1 of 24 values are not finite, the first is inf at [1, 1]\n" in message


@pytest.mark.parametrize("hook", ["on_after_backward", "on_before_optimizer_step"])
def test_gradients_that_a_hook_mends_are_no_fault(hook: str, tmp_path: Path) -> None:
    def mend(self: Any, *_: Any) -> None:
        for parameter in self.parameters():
            parameter.grad.nan_to_num_(0, 0, 0)

    mending = type("Mending", (WithLighter,), {hook: mend})
    assert fit(mending(Fault("gradient", 1, 4)), tmp_path).global_step == BATCHES * EPOCHS


@pytest.mark.parametrize("kind", mostly_slow([WithLighter, WithLightning, ByHand]))
@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_is_skipped_is_as_if_it_had_never_been_seen(kind: Any, accumulate: int, tmp_path: Path) -> None:
    together = 1 if kind is ByHand else accumulate
    module, other = kind(Fault("gradient", 1, 5)), kind(Fault("none"), left_out=tuple((1, b) for b in (4, 5, 6, 7)))
    if together == 1:
        other.left_out = {(1, 5)}
    trainer = fit(module, tmp_path / "1", on_non_finite="skip", accumulate_grad_batches=together)
    expected = fit(other, tmp_path / "2", on_non_finite="skip", accumulate_grad_batches=together)
    assert trainer.global_step == expected.global_step
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value) or name == "scratch", name


def test_skipping_is_said_sparsely_and_leaves_the_mean_finite(tmp_path: Path, caplog: Any) -> None:
    class Often(WithLighter):
        def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
            losses = super().losses(batch, batch_idx)
            return {**losses, "total": losses["total"] * (nan if batch_idx % 2 else 1)}

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=1.0)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}]

    with caplog.at_level(logging.INFO, "lighter.runs"):
        trainer = fit(Often(Fault("none")), tmp_path, on_non_finite="skip")
    messages = [record.getMessage() for record in caplog.records if record.name == "lighter.runs"]
    assert [message.partition("(")[0] for message in messages if "left out" in message] == [
        "The loss `loss/total` is nan in epoch 0, batch 1 ",
        "The loss `loss/total` is nan in epoch 0, batch 3 ",
        "The loss `loss/total` is nan in epoch 0, batch 7 ",
        "The loss `loss/total` is nan in epoch 1, batch 7 ",
        "on_non_finite=skip: 12 steps of the optimizer were left out",
    ]
    assert "left out (4 so far; the next message comes at 8). batch: all finite; weights: all finite" in messages[2]
    assert trainer.callback_metrics["train/loss/total/epoch"].isfinite()
    assert trainer.global_step == BATCHES * EPOCHS  # schedules and the end are where they were planned
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5**EPOCHS)


class ByClosure(ByHand):
    """Its gradients are made in the optimizer's step, as often as the optimizer asks."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.losses(batch, batch_idx)["total"]
            self.manual_backward(loss)
            return loss

        optimizer = self.optimizers()
        if self.seen(batch_idx):
            optimizer.step(closure)


@pytest.mark.parametrize("late", [False, True])
def test_gradients_that_a_closure_makes_are_looked_at_before_the_step(
    late: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    if late:
        monkeypatch.setattr("lighter.trainer.nonfinite.check.reads_cost_nothing", lambda trainer: False)
    module = ByClosure(Fault("gradient", 1, 4))
    message = stopped(module, tmp_path)
    assert ("A gradient is not finite in" if late else "The gradient of `network.0.weight` is not finite in") in message
    assert place_in(message) == (1, 4)
    if not late:
        assert "The optimizer's step was not taken" in message
        assert all(parameter.isfinite().all() for parameter in module.parameters())


class BySearch(ByClosure):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


@pytest.mark.parametrize("kind", mostly_slow([ByClosure, BySearch]))
def test_a_step_with_a_closure_is_skipped(kind: Any, tmp_path: Path) -> None:
    module, other = kind(Fault("gradient", 1, 5)), kind(Fault("none"), left_out=((1, 5),))
    for number, each in enumerate((module, other)):
        fit(each, tmp_path / str(number), on_non_finite="skip", max_epochs=2)
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value) or name == "scratch", name


def test_skipping_does_not_go_on_with_spoiled_weights(tmp_path: Path) -> None:
    message = stopped(WithLighter(Fault("weight", 1, 3)), tmp_path, on_non_finite="skip")  # no save is due
    assert "weights        `network.0.weight`: 1 of 40 values" in message
    assert "Earlier checkpoints are as they were" in message  # and not that the weights are those of the step before
    assert place_in(message) == (1, 4)


def scaled() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))


def test_a_scaler_judges_gradients_itself(tmp_path: Path) -> None:
    trainer = fit(WithLighter(Fault("gradient", 1, 4)), tmp_path / "1", plugins=[scaled()])
    assert trainer.global_step == BATCHES * EPOCHS
    assert trainer.precision_plugin.scaler.get_scale() == 4.0
    assert place_in(stopped(WithLighter(Fault("loss", 1, 4)), tmp_path / "2", plugins=[scaled()])) == (1, 4)
    trainer = fit(WithLighter(Fault("batch", 1, 4)), tmp_path / "3", plugins=[scaled()], on_non_finite="skip")
    assert trainer.global_step == BATCHES * EPOCHS
    assert not spoiled_files(tmp_path / "3")


def spoil(module: Any) -> None:
    with torch.no_grad():
        module.network[3].bias[0] = nan


def test_a_checkpoint_of_the_user_is_refused_too(tmp_path: Path) -> None:
    module = WithLighter(Fault("none"))
    trainer = fit(module, tmp_path / "run")
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    good = (tmp_path / "mine.ckpt").read_bytes()
    spoil(module)
    with pytest.raises(NonFiniteError, match=r"(?s)mine.ckpt is not written.*`network.3.bias` is not finite"):
        trainer.save_checkpoint(tmp_path / "mine.ckpt")
    assert (tmp_path / "mine.ckpt").read_bytes() == good


@pytest.mark.parametrize("epoch", mostly_slow(range(EPOCHS)))
def test_continue_is_lightnings_with_a_warning_at_each_save(epoch: int, tmp_path: Path, caplog: Any) -> None:
    trainer = fit(WithLighter(Fault("weight", epoch, 7)), tmp_path, on_non_finite="continue", max_epochs=3)
    assert trainer.global_step == BATCHES * EPOCHS
    assert "newest.ckpt" in spoiled_files(tmp_path)
    warned = [r.getMessage() for r in caplog.records if "newest.ckpt is written all the same" in r.getMessage()]
    assert len(warned) == EPOCHS - epoch
    assert "the weight `network.0.weight`" in warned[0]


def test_the_error_of_a_fit_is_not_hidden_by_what_cannot_be_saved(tmp_path: Path, caplog: Any) -> None:
    class Fails(WithLighter):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.trainer.global_step == 7:
                spoil(self)
                raise KeyError("the user's")

    with pytest.raises(KeyError, match="the user's"):
        fit(Fails(Fault("none")), tmp_path / "run", callbacks=[OnExceptionCheckpoint(tmp_path)])
    assert not (tmp_path / "on_exception.ckpt").exists()
    assert "on_exception.ckpt is not written, and earlier ones stay: the weight `network.3.bias`" in caplog.text


def test_a_search_for_the_learning_rate_may_diverge(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epochs=-1)
    module = WithLightning(Fault("loss", 0, 7))
    module.lr = 0.1
    found = Tuner(trainer).lr_find(module, DataLoader(Samples(40), 4), num_training=20, early_stop_threshold=None)
    assert len(found.results["loss"]) >= 19


def test_anomaly_detection_names_the_operation(tmp_path: Path) -> None:
    class Root(WithLighter):
        def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
            losses = super().losses(batch, batch_idx)
            return {**losses, "total": (losses["total"] - (1e9 if batch_idx == 3 else 0)).sqrt()}

    with pytest.raises(RuntimeError, match="SqrtBackward0"), pytest.warns(UserWarning, match="Error detected"):
        fit(Root(Fault("none")), tmp_path, detect_anomaly=True)


def test_sparse_gradients_and_an_optimizer_that_searches(tmp_path: Path) -> None:
    class Words(WithLightning):
        def __init__(self, fault: Fault) -> None:
            super().__init__(fault)
            self.words = nn.Embedding(2, 3, sparse=True)

        def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
            losses = super().losses(batch, batch_idx)
            worth = self.words(batch["y"]).sum() * (inf if self.fault.is_now(self, batch_idx, "word") else 0.1)
            return {**losses, "total": losses["total"] + worth - worth.detach()}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    assert fit(Words(Fault("none")), tmp_path / "1").global_step == BATCHES * EPOCHS
    assert "The loss is nan" in stopped(Words(Fault("word", 1, 2)), tmp_path / "2").replace(" `loss/total`", "")

    class Searching(WithLightning):
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3, line_search_fn="strong_wolfe")

    assert fit(Searching(Fault("none")), tmp_path / "3", max_epochs=1).global_step == BATCHES


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_any_value_of_any_type_is_found_and_none_is_changed(dtype: torch.dtype, value: float) -> None:
    good = [torch.tensor([-0.0, 1.5, 6e4], dtype=dtype), torch.ones(2, 2, dtype=dtype).t(), torch.zeros(0, dtype=dtype)]
    before, flag, one = [tensor.clone() for tensor in good], torch.zeros(()), torch.ones(())
    mark(good, flag, one)
    assert not flag
    assert all_finite(good)
    assert all(torch.equal(a, b) for a, b in zip(before, good, strict=True))
    bad = torch.tensor([[1.0, 2.0], [value, nan]], dtype=dtype)
    mark([*good, bad.clone()], flag, one)
    assert flag.item() == 1
    assert not all_finite([*good, bad])
    found = first_nonfinite(iter([("a", good[0]), ("b", bad)]))
    assert found is not None
    assert (found.name, found.index[:2]) == ("b", (1, 0))


def test_values_in_batches_and_large_ones() -> None:
    batch = {"image": torch.tensor([[0.0, nan]]), "meta": [torch.tensor(1), (torch.tensor(inf), "text")], "n": None}
    assert [str(found) for found in nonfinite_in_batch(batch)] == [
        "`image`: 1 of 2 values are not finite, the first is nan at [0, 1]",
        "`meta[1][0]`: inf",
    ]
    assert [found.name for found in nonfinite_in_batch([torch.tensor(nan)])] == ["batch[0]"]
    assert [found.name for found in nonfinite_in_batch(torch.tensor(nan))] == ["the batch"]
    assert all_finite([torch.tensor([1e300], dtype=torch.float64), torch.tensor(6e4, dtype=torch.float16)])
    assert largest_value(torch.tensor([3e38, -3.4e38])) == pytest.approx(3.4e38)
