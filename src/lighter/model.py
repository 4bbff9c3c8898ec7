"""`LighterModule`: the rung of the ladder on which the user writes the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from lighter.base import BaseModule
from lighter.parts.hooks import missing_hook


class LighterModule(BaseModule):
    """A module whose steps you write; losses, metrics and optimizers are logged and run for you.

    Override `training_step`, `validation_step`, `test_step` and `predict_step`, those you need; a step that you do
    not write does not exist for Lightning. Call `self(x)` for the network's output, `self.criterion(...)`, and
    `self.train_metrics(pred, y)` (or `.update(pred, y)`). A step returns the loss, or a dict with `loss` (a tensor,
    or a dict of named losses with `total`) and anything else that callbacks should see; in validation and test the
    loss may be left out; `predict_step` returns anything.

    What is logged, with no call of yours: `{mode}/loss/step` and `/epoch`, `{mode}/metrics/{name}/step` and `/epoch`,
    the learning rate and its like once an epoch. See docs/02-configuration.md for the names and how they count.

    Args:
        optimizer: in a config, its definition. Without `params` it takes all trainable parameters.
        scheduler: the learning rate scheduler, or Lightning's dict around it (`scheduler`, `monitor`, `interval`, ...).
        train_metrics: a metric of torchmetrics or another library, a `MetricCollection`, or a list or dict of these;
            `val_metrics` and `test_metrics` likewise.
        finetune_cfg: which parameters train: a name or names (of modules of the network), or
            `{finetune: false, params: [...]}` for those that do not.
        loss_weights: `{name: weight}` for a step that returns several losses; the total is their weighted sum.
        ckpt_path: checkpoints whose weights are loaded, in order, at the start of `fit`: initial weights, not a resume.
        ckpt_match: the share of the network's weights that each checkpoint must have; less is an error.
        predict_tasks: names of prediction tasks: of methods `predict_<task>` that run beside `predict_step`, share what
            they compute, and save their results; see docs/04-modules.md.

    Raises:
        ModuleTypeError: metrics of another type.
        ModuleValueError: a prediction task without its method.

    Example:
        ```python
        class Classifier(lighter.LighterModule):
            def training_step(self, batch, batch_idx):
                x, y = batch
                pred = self(x)
                self.train_metrics(pred, y)
                return {"loss": self.criterion(pred, y), "pred": pred}
        ```
    """

    # whether the test step computes a loss is the user's choice, so the criterion is there if that step asks for it
    built_on_use: ClassVar = ("criterion",)
    logging_hook: ClassVar = "_log_outputs"
    overridden_instead: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("_log_loss", "_log_metrics", "_log_optimizer_stats"), "override `_log_outputs(self, outputs, batch_idx)`"
        ),
        **dict.fromkeys(
            ("_prepare_batch", "_calculate_loss", "_calculate_metrics", "_normalize_output"),
            "do that in `training_step`, `validation_step` and `test_step`",
        ),
    }

    def __init__(
        self,
        network: nn.Module,
        criterion: Callable[..., Any] | None = None,
        optimizer: object = None,
        scheduler: object = None,
        train_metrics: object = None,
        val_metrics: object = None,
        test_metrics: object = None,
        finetune_cfg: object = None,
        loss_weights: Mapping[str, float] | None = None,
        ckpt_path: object = None,
        ckpt_match: float = 0.0,
        predict_tasks: Sequence[str] | str | None = None,
    ) -> None:
        super().__init__(
            criterion=criterion,
            optimizer=optimizer,
            scheduler=scheduler,
            train_metrics=train_metrics,
            val_metrics=val_metrics,
            test_metrics=test_metrics,
            finetune_cfg=finetune_cfg,
            loss_weights=loss_weights,
            ckpt_path=ckpt_path,
            ckpt_match=ckpt_match,
            predict_tasks=predict_tasks,
        )
        self.network = network

    def _log_outputs(self, outputs: dict[str, Any], batch_idx: int | None) -> None:
        """Log a step of train, val or test; override it to log more, or something else without `super()`.

        `outputs` is what the step returned, as a dict with `loss`; `batch_idx` is None if the step takes none.
        """
        self._measure.log_step()

    def call_logging_hook(self, outputs: dict[str, Any], batch_idx: int | None) -> None:
        self._log_outputs(outputs, batch_idx)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    training_step = missing_hook("training_step")
    validation_step = missing_hook("validation_step")
    test_step = missing_hook("test_step")
    predict_step = missing_hook("predict_step")
