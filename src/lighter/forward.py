"""`ForwardModule`: the rung of the ladder on which the user writes `forward` and nothing else.

batch -> forward -> loss_dict, metric_dict
      -> loss_step: weights, total -> back-propagated, logged          train, val and test
      -> metric_step: the evaluators of the split, computed and logged when the epoch is over
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric, MetricCollection

from lighter._lightning.modules import trainer_of
from lighter._lightning.steps import fits_without_validation
from lighter.base import FIT_ONLY, FOLLOWED_BY, BaseModule
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError, add_note
from lighter.parts.describe import describe
from lighter.parts.hooks import ExistsIf
from lighter.parts.metrics.arrays import keep_arrays
from lighter.parts.metrics.evaluators import SPLITS, Evaluators, accepted_by, check_methods, epoch_values
from lighter.parts.metrics.forward_output import sort_forward, with_total
from lighter.parts.metrics.log_names import metric_name
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.metrics.measured_steps import measured
from lighter.parts.metrics.meter import warn_of_no_value
from lighter.parts.metrics.value_log import loader_count, loader_suffix

_EXAMPLE = """Write it, or give the network as `model`:
  def forward(self, batch):
      x, y = batch
      pred = self.model(x)
      return {"loss_dict": {"ce_loss": F.cross_entropy(pred, y)}, "metric_dict": {"preds": pred, "target": y}}"""


def _validation_step(self: ForwardModule, batch: object, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
    return self.forward_step(batch, "val", batch_idx, dataloader_idx)


def _validates(module: ForwardModule) -> bool:
    # Lightning warns of a validation step without data
    trainer = trainer_of(module)
    return trainer is None or not fits_without_validation(trainer)


class ForwardModule(BaseModule):
    """A module of which you write `forward`; steps, losses, metrics, optimizers and logging are there.

    `forward(batch)` returns a dict with `loss_dict`, scalars by name, and `metric_dict`, the keyword arguments of the
    evaluators' `update`; or a tensor, which is the loss. It may take `batch_idx` and `dataloader_idx` as well, and
    `self.mode` says what runs. A dict's other entries (`pred`, say) are for callbacks. An existing network that
    returns such a dict can be given as `model` instead. In `predict`, what `forward` returns is the prediction.

    What is logged: `{mode}/loss/total` and `{mode}/loss/{name}` of every entry, each time its weight, at `/step` and
    `/epoch`; `{mode}/metrics/{name}/epoch` of the evaluators; the learning rate and its like once an epoch.

    Safe to override, beside `forward` and Lightning's hooks: `forward_step`, `loss_step`, `metric_step`,
    `update_evaluator`, `compute_evaluator`, `on_forward_epoch_end`, `on_metric_epoch_end`.
    Arguments that are not listed are `LighterModule`'s.

    Args:
        model: the network, called as `model(batch)` where `forward` is not overridden.
        evaluator_cfg: what turns `metric_dict` into metrics: an evaluator (anything with torchmetrics' `update`,
            `compute` and `reset`, or MONAI's `__call__`, `aggregate` and `reset`), or a dict of them by name, for all
            splits; or by split (`train`, `val`, `test`), where a split without its own has that of the one before it,
            and one without a `_target_` changes some keys of that. A list has one for each dataloader of the split.
        evaluator_as_submodule: whether evaluators are submodules, which move to the device with the module.
        loss_weights: `{name: weight}` of entries of `loss_dict`.

    Raises:
        ModuleTypeError: an evaluator that is none, a model that is none.
        ModuleValueError: neither `model` nor a `forward` of one's own.
    """

    needed_for: ClassVar[Mapping[str, Collection[str]]] = {
        **FIT_ONLY,
        "criterion": set(SPLITS),
        **{f"evaluator_cfg::{split}": {split} for split in SPLITS},
    }
    built_on_use: ClassVar = ("criterion",)
    inherits: ClassVar = {"evaluator_cfg": SPLITS}
    measuring: ClassVar = ("evaluators",)
    followed_by: ClassVar = {
        **FOLLOWED_BY,
        **{f"on_{hook}_epoch_start": "_begin_forward_epoch" for hook in ("train", "validation", "test")},
    }

    def __init__(
        self,
        model: nn.Module | None = None,
        criterion: Callable[..., Any] | None = None,
        optimizer: object = None,
        scheduler: object = None,
        evaluator_cfg: object = None,
        evaluator_as_submodule: bool = True,
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
            finetune_cfg=finetune_cfg,
            ckpt_path=ckpt_path,
            ckpt_match=ckpt_match,
            predict_tasks=predict_tasks,
        )
        if model is not None and not isinstance(model, nn.Module):
            raise ModuleTypeError(f"`model` is a torch.nn.Module; found {describe(model)}", "model")
        if model is None and type(self).forward is ForwardModule.forward:
            raise ModuleValueError(f"{type(self).__name__} has no `forward` and no `model`. {_EXAMPLE}")
        self.model = model
        self.loss_weights = LossWeights(loss_weights) if loss_weights is not None else None
        updates = type(self).update_evaluator is ForwardModule.update_evaluator
        computes = type(self).compute_evaluator is ForwardModule.compute_evaluator
        check = check_methods if updates else lambda evaluator: None  # an override may use other methods
        evaluators = Evaluators(evaluator_cfg, check, adopt=updates and computes)
        if evaluator_as_submodule:
            self.evaluators = evaluators
        else:
            self.__dict__["evaluators"] = evaluators  # past nn.Module, which would register it
        takes = inspect.signature(self.forward).parameters
        self._forward_takes = tuple(name for name in ("batch_idx", "dataloader_idx") if name in takes)

    def forward(self, batch: Any) -> Any:
        """Return `loss_dict` and `metric_dict` of a batch in a dict, or the loss alone."""
        assert self.model is not None  # checked when the module was made
        try:
            return self.model(batch)
        except Exception as error:
            add_note(error, f"without a `forward` of yours, the model is called with the batch: {describe(batch)}")
            raise

    def training_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        return self.forward_step(batch, "train", batch_idx, dataloader_idx)

    validation_step = ExistsIf(measured(_validation_step, "val", "validation_step"), _validates)

    def test_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        return self.forward_step(batch, "test", batch_idx, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """Return what `forward` does; prediction tasks replace it if the user wrote no `predict_step`."""
        return self._call_forward(batch, batch_idx, dataloader_idx)

    predict_step.gives_way = predict_step  # type: ignore[attr-defined]

    def forward_step(self, batch: Any, mode: str, batch_idx: int = 0, dataloader_idx: int = 0) -> Any:
        """Run the one step of train, val and test: `forward`, then `loss_step`, then `metric_step`.

        Returns:
            What `forward` returned, with the losses as `loss`, for Lightning and callbacks; None if that was None.
        """
        output = self._call_forward(batch, batch_idx, dataloader_idx)
        if output is None:
            return None
        losses, metric_inputs, rest = sort_forward(output)
        if losses is None and mode == "train":
            raise ModuleValueError(f"`forward` returned no `loss_dict` in training; found {sorted(rest)}")
        step: dict[str, Any] = dict(rest)
        if losses is not None:
            step["loss"] = self.loss_step(losses, mode)
        if metric_inputs is not None:
            # LBFGS runs the step several times on a batch, which counts once
            if not self._measure.is_repeated:
                self.metric_step(metric_inputs, mode, dataloader_idx)
        elif self.evaluators.has(mode):
            raise MisfitError(
                f"there are evaluators for {mode}, and `forward` returned no `metric_dict`. Return one,"
                f" or set `evaluator_cfg::{mode}: null`.",
                f"evaluator_cfg::{mode}",
            )
        return step

    def loss_step(self, loss_dict: Mapping[str, Any], mode: str) -> dict[str, Tensor]:
        """Return the losses to log, each times its weight, and `total`, which is back-propagated.

        `loss_dict` has scalars by name. The total is the entry `loss` if there is one, otherwise the sum of the entries
        with `loss` in their names.
        """
        return with_total(loss_dict, self.loss_weights, strict=mode == "train")

    def metric_step(self, metric_dict: Mapping[str, Any], mode: str, dataloader_idx: int = 0) -> None:
        """Update the evaluators of the split and dataloader.

        `metric_dict` has their keyword arguments; tensors go without their gradients.
        """
        inputs = tree_map_only(Tensor, Tensor.detach, dict(metric_dict))
        group = self.evaluators.of(mode, dataloader_idx)
        for name, evaluator in group.items():
            try:  # each of several takes what it knows, as in a MetricCollection
                self.update_evaluator(evaluator, accepted_by(evaluator, inputs) if len(group) > 1 else inputs)
            except Exception as error:
                key = "::".join(part for part in (f"evaluator_cfg::{mode}", name) if part)
                add_note(error, f"`{key}` was updated with the keys {[*inputs]} of `metric_dict`")
                raise

    def update_evaluator(self, evaluator: Any, metric_dict: Mapping[str, Any]) -> None:
        """Update an evaluator with the inputs of a batch.

        Override it, and `compute_evaluator`, for evaluators that have not torchmetrics' methods.
        """
        self._measure.update_evaluator(evaluator, metric_dict)

    def compute_evaluator(self, evaluator: Any) -> Any:
        """Compute an evaluator's value of the epoch, numbers and arrays; it is reset afterwards."""
        return evaluator.compute() if hasattr(evaluator, "compute") else evaluator.aggregate()

    def on_forward_epoch_end(self, mode: str) -> None:
        self.on_metric_epoch_end(mode)

    def on_metric_epoch_end(self, mode: str) -> None:
        """Compute the evaluators of a split, log their values and reset them."""
        arrays: dict[str, Tensor] = {}
        for loader, group in self.evaluators.fed(mode):
            suffix = loader_suffix(self.trainer, mode, loader)
            for name, evaluator in group.items():
                values = epoch_values(name, evaluator, self._computed(evaluator))
                has_added_up = isinstance(evaluator, (Metric, MetricCollection))
                numbers = {metric_name(key): value for key, value in values.numbers.items()}
                self._measure.values.log_late(mode, suffix, numbers, sync_dist=not has_added_up)
                arrays |= {key + suffix: array for key, array in values.arrays.items()}
                if values.arrays and not has_added_up and self.trainer.world_size > 1:
                    rank_zero_warn(f"arrays of {type(evaluator).__name__} are those of the first process alone")
            self.evaluators.end(mode, loader)
        keep_arrays(self.trainer, mode, arrays)

    def _computed(self, evaluator: object) -> Any:
        try:
            return self.compute_evaluator(evaluator)
        except Exception as error:
            # the few samples of the sanity check may have no value: one class alone has no AUROC
            if not self.trainer.sanity_checking:
                raise
            warn_of_no_value(evaluator, error)
            return None

    def _call_forward(self, batch: object, batch_idx: int, dataloader_idx: int) -> Any:
        numbers = {"batch_idx": batch_idx, "dataloader_idx": dataloader_idx}
        return self(batch, **{name: numbers[name] for name in self._forward_takes})

    def measuring_state(self) -> dict[str, Any]:
        return {"meters": super().measuring_state(), "evaluators": self.evaluators.measuring_state("train")}

    def load_measuring_state(self, state: Mapping[str, Any]) -> None:
        super().load_measuring_state(state["meters"])
        self.evaluators.load_measuring_state("train", state["evaluators"])

    def _start_optimizers(self) -> None:
        # also those of validation, whose states a fit that resumes within an epoch restores
        super()._start_optimizers()
        loaders = loader_count(self.trainer, "val")
        if loaders:
            self.evaluators.begin("val", loaders)

    def _begin_forward_epoch(self) -> None:
        self.evaluators.begin(self.mode, loader_count(self.trainer, self.mode))

    def _end_epoch(self) -> None:
        super()._end_epoch()
        # Lightning warns of every value that is logged in a barebones run
        if not self.trainer.barebones:
            self.on_forward_epoch_end(self.mode)
