"""A contract for each private name of Lightning, torchmetrics and torch that Lighter uses: why, and what must hold.

Most look at a class or call a function. What needs a running trainer is looked at in one tiny fit (`Facts`).
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
import torch.distributed.tensor.parallel
import torchmetrics
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import callbacks, loops
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loops import evaluation_loop, fetchers, prediction_loop
from pytorch_lightning.loops.optimization import automatic, manual
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer import call
from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from pytorch_lightning.trainer.connectors.logger_connector import result
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from pytorch_lightning.tuner.lr_finder import _LRCallback
from pytorch_lightning.utilities.argparse import _defaults_from_env_vars
from pytorch_lightning.utilities.combined_loader import CombinedLoader, _MaxSizeCycle
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataloader import _DatasetKind, _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

from tests._lightning.contract import Contract
from tests._lightning.sharded_contracts import SHARDED

BATCHES, VALIDATED = 4, 2


def dataloader(batches: int, **arguments: Any) -> DataLoader:
    return DataLoader(TensorDataset(torch.arange(float(batches)).reshape(-1, 1)), batch_size=1, **arguments)


def trainer(**arguments: Any) -> pl.Trainer:
    return pl.Trainer(
        **{"accelerator": "cpu", "max_epochs": 1, "enable_checkpointing": False, "logger": False, **arguments},
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class Module(pl.LightningModule):
    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(1, size)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.layer(batch[0]).sum()
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", self.layer(batch[0]).sum())

    def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Notes(callbacks.Callback):
    """What the private names say in the hooks of a fit."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.validation: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        self.batches.append(
            {
                "stepped": loop._batches_that_stepped,
                "accumulates": trainer.fit_loop._should_accumulate(),
                "is_last": loop._num_ready_batches_reached(),
                "is_done": loop._is_training_done,
                "is_restarting": loop._restarting,
                "hook": pl_module._current_fx_name,
                "keys": list(trainer._results),
                "is_first": trainer._logger_connector._first_loop_iter,
                "cached": loop._results._get_cache(loop._results["training_step.loss"], False),
            }
        )

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop.val_loop
        self.validation = {
            "seen": dict(loop._seen_batches_per_dataloader),
            "is_sequential": loop._is_sequential,
            "modes": dict(loop._module_mode.mode),
            "loaded_in": loop._last_val_dl_reload_epoch,
        }


class Facts:
    """A fit of one epoch that accumulates two batches a step, validated once, and a prediction."""

    @cached_property
    def fitted(self) -> pl.Trainer:
        self.notes, self.module = Notes(), Module()
        self.loader = dataloader(BATCHES)
        ran = trainer(callbacks=[self.notes], accumulate_grad_batches=2, num_sanity_val_steps=0)
        ran.fit(self.module, self.loader, dataloader(VALIDATED))
        return ran

    @property
    def batches(self) -> list[dict[str, Any]]:
        return self.fitted and self.notes.batches

    @property
    def validation(self) -> dict[str, Any]:
        return self.fitted and self.notes.validation

    @property
    def epoch_loop(self) -> Any:
        return self.fitted.fit_loop.epoch_loop

    @cached_property
    def predicted(self) -> pl.Trainer:
        ran = trainer()
        ran.predict(Module(), dataloader(BATCHES))
        return ran

    @cached_property
    def workers(self) -> Any:
        """The iterator of a dataloader with one worker that persists."""
        self.working = dataloader(2, num_workers=1, persistent_workers=True)
        return iter(self.working)

    @property
    def keeping(self) -> DataLoader:
        return self.workers and self.working


def takes(function: Any, names: str) -> bool:
    """Whether a function has these parameters, in this order, behind `self`."""
    return [name for name in inspect.signature(function).parameters if name != "self"] == names.split()


def calls(function: Any, *names: str) -> bool:
    """Whether the code of a function names others."""
    return all(name in inspect.getsource(function) for name in names)


def decorated(environment: Mapping[str, str]) -> Any:
    class Takes:
        @_defaults_from_env_vars
        def __init__(self, *, flag: Any = None) -> None:
            self.flag = flag

    with patch.dict(os.environ, environment):
        return Takes()


def fetcher_of(loader: DataLoader) -> Any:
    fetcher = fetchers._PrefetchDataFetcher()
    fetcher.setup(CombinedLoader(loader, "max_size_cycle"))
    return iter(fetcher)


def hooked(name: str, *, by: str) -> Callable[[Facts], object]:
    """A loop's method that a subclass may override, as the fetcher is given it."""
    kinds = (loops._TrainingEpochLoop, loops._EvaluationLoop, loops._PredictionLoop)
    return lambda facts: (
        all(takes(getattr(kind, name), "") for kind in kinds)
        and all(
            calls(getattr(kind, "on_run_start" if kind is loops._TrainingEpochLoop else "reset"), f"{by} = self.{name}")
            for kind in kinds
        )
    )


STEP = "batch batch_idx dataloader_idx dataloader_iter"
LOOPS: dict[str, Contract] = {
    "_FitLoop": Contract(
        "the loop over epochs", lambda facts: takes(loops._FitLoop.__init__, "trainer min_epochs max_epochs")
    ),
    "_TrainingEpochLoop": Contract(
        "the loop over batches", lambda facts: takes(loops._TrainingEpochLoop.__init__, "trainer min_steps max_steps")
    ),
    "_EvaluationLoop": Contract(
        "validation and test",
        lambda facts: takes(loops._EvaluationLoop.__init__, "trainer trainer_fn stage verbose inference_mode"),
    ),
    "_PredictionLoop": Contract(
        "predictions", lambda facts: takes(loops._PredictionLoop.__init__, "trainer inference_mode")
    ),
    "_AutomaticOptimization": Contract(
        "the optimizer's step", lambda facts: takes(automatic._AutomaticOptimization.run, "optimizer batch_idx kwargs")
    ),
    "_ManualOptimization": Contract(
        "steps that the user makes", lambda facts: takes(manual._ManualOptimization.run, "kwargs")
    ),
    "_batches_that_stepped": Contract(
        "the step number of logged values", lambda facts: [one["stepped"] for one in facts.batches] == [0, 0, 1, 1]
    ),
    "_should_accumulate": Contract(
        "whether gradients only add up",
        lambda facts: [one["accumulates"] for one in facts.batches] == [True, False, True, False],
    ),
    "_num_ready_batches_reached": Contract(
        "the end of an epoch", lambda facts: [one["is_last"] for one in facts.batches] == [False] * 3 + [True]
    ),
    "_is_training_done": Contract(
        "stopping between batches", lambda facts: [one["is_done"] for one in facts.batches] == [False] * 3 + [True]
    ),
    "_restarting": Contract(
        "the first batch of a resumed fit, which Lightning's own code trains",
        lambda facts: (
            not any(one["is_restarting"] for one in facts.batches) and isinstance(loops._FitLoop.restarting, property)
        ),
    ),
    "_combined_loader": Contract(
        "the dataloaders of a loop",
        lambda facts: all(
            isinstance(one._combined_loader, CombinedLoader) and one._combined_loader.flattened[0].dataset is not None
            for one in (facts.fitted.fit_loop, facts.epoch_loop.val_loop, facts.predicted.predict_loop)
        ),
    ),
    "_data_fetcher": Contract(
        "taking batches; a fetcher that never began is dropped",
        lambda facts: (
            facts.fitted.fit_loop._data_fetcher is None
            and calls(loops._FitLoop.teardown, "self._data_fetcher is not None")
        ),
    ),
    "_last_train_dl_reload_epoch": Contract(
        "making dataloaders anew when they are due",
        lambda facts: facts.fitted.fit_loop._last_train_dl_reload_epoch == 0,
    ),
    "_last_val_dl_reload_epoch": Contract(
        "making dataloaders anew when they are due", lambda facts: facts.validation["loaded_in"] == 0
    ),
    "_load_combined_loader_states": Contract(
        "setting samplers between a dataloader's construction and its first iteration",
        lambda facts: (
            takes(loops._FitLoop._load_combined_loader_states, "")
            and calls(loops._FitLoop.setup_data, "self._load_combined_loader_states()", "iter(self._data_fetcher)")
        ),
    ),
    "_results": Contract(
        "the values that were logged",
        lambda facts: (
            isinstance(facts.epoch_loop._results, result._ResultCollection)
            and isinstance(facts.epoch_loop.val_loop._results, result._ResultCollection)
        ),
    ),
    "_data_source": Contract(
        "whether there is validation data", lambda facts: facts.epoch_loop.val_loop._data_source.is_defined() is True
    ),
    "_skip_next_val": Contract(
        "no second validation after a resume", lambda facts: facts.epoch_loop._skip_next_val is False
    ),
    "_should_check_val_fx": Contract(
        "whether validation is due", lambda facts: takes(loops._TrainingEpochLoop._should_check_val_fx, "data_fetcher")
    ),
    "_should_check_val_epoch": Contract(
        "looking for validation data once per epoch",
        lambda facts: (
            takes(loops._TrainingEpochLoop._should_check_val_epoch, "")
            and calls(loops._TrainingEpochLoop._should_check_val_fx, "self._should_check_val_epoch()")
        ),
    ),
    "_broadcast_sigterm_tensor": Contract(
        "agreeing on a stop before each batch of several processes",
        lambda facts: (
            takes(loops._TrainingEpochLoop._broadcast_sigterm_tensor, "")
            and calls(loops._TrainingEpochLoop.advance, "self._broadcast_sigterm_tensor()")
        ),
    ),
    "_save_loggers_on_train_batch_end": Contract(
        "flushing loggers when training stops",
        lambda facts: takes(loops._TrainingEpochLoop._save_loggers_on_train_batch_end, ""),
    ),
    "_warning_cache": Contract(
        "a warning that comes once",
        lambda facts: (
            callable(facts.epoch_loop._warning_cache.warn)
            and callable(facts.predicted.predict_loop._warning_cache.warn)
        ),
    ),
    "_on_before_fetch": Contract(
        "seeding before a batch is loaded", hooked("_on_before_fetch", by="data_fetcher._start_profiler")
    ),
    "_on_after_fetch": Contract(
        "seeding after a batch is loaded", hooked("_on_after_fetch", by="data_fetcher._stop_profiler")
    ),
    "_evaluation_step": Contract(
        "a lean batch of an evaluation",
        lambda facts: (
            takes(loops._EvaluationLoop._evaluation_step, STEP)
            and calls(evaluation_loop, "self._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)")
        ),
    ),
    "_on_evaluation_epoch_start": Contract(
        "when an evaluation's epoch begins",
        lambda facts: calls(loops._EvaluationLoop.on_run_start, "self._on_evaluation_epoch_start()"),
    ),
    "_on_evaluation_epoch_end": Contract(
        "when an evaluation's epoch ends",
        lambda facts: calls(loops._EvaluationLoop.on_run_end, "self._on_evaluation_epoch_end()"),
    ),
    "_on_evaluation_end": Contract(
        "saving after the module's last hook",
        lambda facts: (
            calls(loops._EvaluationLoop.on_run_end, "self._on_evaluation_end()")
            and calls(loops._EvaluationLoop._on_evaluation_end, "reset_results()", '"on_validation_end"')
        ),
    ),
    "_store_dataloader_outputs": Contract(
        "agreeing on a stop where all processes meet",
        lambda facts: calls(evaluation_loop, "self._store_dataloader_outputs()"),
    ),
    "_seen_batches_per_dataloader": Contract(
        "the step number of values of an evaluation", lambda facts: facts.validation["seen"] == {0: VALIDATED - 1}
    ),
    "_is_sequential": Contract(
        "whether hooks are told the dataloader", lambda facts: facts.validation["is_sequential"] is True
    ),
    "_has_run": Contract("a validation that has run", lambda facts: facts.epoch_loop.val_loop._has_run is True),
    "_module_mode": Contract(
        "the modes of modules while they are in evaluation mode",
        lambda facts: facts.validation["modes"] == {"": True, "layer": True},
    ),
    "_predict_step": Contract(
        "a lean batch of a prediction",
        lambda facts: (
            takes(loops._PredictionLoop._predict_step, STEP)
            and calls(prediction_loop, "self._predict_step(batch, batch_idx, dataloader_idx, dataloader_iter)")
        ),
    ),
    "_loaded_from_state_dict": Contract(
        "loops that a checkpoint has set", lambda facts: facts.epoch_loop._loaded_from_state_dict is False
    ),
    "_return_predictions": Contract(
        "predictions that `predict` returns", lambda facts: facts.predicted.predict_loop._return_predictions is True
    ),
    "_predictions": Contract(
        "predictions that `predict` returns",
        lambda facts: [len(one) for one in facts.predicted.predict_loop._predictions] == [BATCHES],
    ),
    "_store_data_for_prediction_writer": Contract(
        "the indices that writers are given",
        lambda facts: (
            takes(loops._PredictionLoop._store_data_for_prediction_writer, "batch_idx dataloader_idx")
            and facts.predicted.predict_loop._store_data_for_prediction_writer(0, 0) is False
        ),
    ),
    "_make_closure": Contract(
        "the check for NaN and Inf within Lightning's own optimization",
        lambda facts: (
            takes(automatic._AutomaticOptimization._make_closure, "kwargs optimizer batch_idx")
            and calls(automatic._AutomaticOptimization.run, "self._make_closure(kwargs, optimizer, batch_idx)")
        ),
    ),
    "_skip_backward": Contract(
        "steps that only run forwards", lambda facts: facts.epoch_loop.automatic_optimization._skip_backward is False
    ),
    "_step_fn": Contract("the check within a closure", lambda facts: automatic.Closure(len)._step_fn is len),
    "_backward_fn": Contract(
        "the check within a closure", lambda facts: automatic.Closure(len, max)._backward_fn is max
    ),
    "_zero_grad_fn": Contract(
        "the check within a closure", lambda facts: automatic.Closure(len, max, min)._zero_grad_fn is min
    ),
}


def collection() -> Any:
    results = result._ResultCollection(training=True)
    results.batch = None
    results.log("step", "name", torch.tensor(3.0), on_step=False, on_epoch=True, batch_size=1)
    return results


LOGGING: dict[str, Contract] = {
    "_LoggerConnector": Contract(
        "handing values to loggers",
        lambda facts: (
            all(
                takes(getattr(_LoggerConnector, name), "")
                for name in (
                    "on_batch_end",
                    "on_epoch_end",
                    "epoch_end_reached",
                    "reset_results",
                    "update_train_step_metrics",
                    "update_train_epoch_metrics",
                )
            )
            and takes(_LoggerConnector.update_eval_step_metrics, "step")
        ),
    ),
    "_logger_connector": Contract(
        "handing values to loggers", lambda facts: isinstance(facts.fitted._logger_connector, _LoggerConnector)
    ),
    "_first_loop_iter": Contract(
        "whether a logged value begins an epoch",
        lambda facts: [one["is_first"] for one in facts.batches] == [True, False, False, False],
    ),
    "_ResultCollection": Contract(
        "logging a metric again without `self.log`",
        lambda facts: (
            takes(result._ResultCollection.update_metrics, "key value batch_size")
            and list(collection()) == ["step.name"]
            and facts.batches[0]["keys"] == ["training_step.loss"]
        ),
    ),
    "_ResultMetric": Contract(
        "values of an epoch in a checkpoint",
        lambda facts: (
            takes(result._ResultMetric.__init__, "metadata is_tensor") and collection()["step.name"].value == 3.0
        ),
    ),
    "_Metadata": Contract(
        "values of an epoch in a checkpoint",
        lambda facts: (
            {"fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "reduce_fx", "enable_graph"}
            | {"add_dataloader_idx", "dataloader_idx", "metric_attribute"}
            <= set(inspect.signature(result._Metadata).parameters)
        ),
    ),
    "_Sync": Contract(
        "values of an epoch in a checkpoint",
        lambda facts: {"fn", "_should", "rank_zero_only"} <= set(inspect.signature(result._Sync).parameters),
    ),
    "_callback_metrics": Contract(
        "values that callbacks see, in a checkpoint",
        lambda facts: {"loss", "val"} <= set(facts.fitted._logger_connector._callback_metrics),
    ),
    "_logged_metrics": Contract(
        "values that loggers see, in a checkpoint",
        lambda facts: {"loss", "val"} <= set(facts.fitted._logger_connector._logged_metrics),
    ),
    "_progress_bar_metrics": Contract(
        "values that the progress bar shows, in a checkpoint",
        lambda facts: facts.fitted._logger_connector._progress_bar_metrics == {},
    ),
    "_current_fx": Contract(
        "whether the values of a hook begin an epoch", lambda facts: _LoggerConnector(trainer())._current_fx is None
    ),
    "_extract_batch_size": Contract(
        "logging a value as `self.log` does",
        lambda facts: takes(result._ResultCollection._extract_batch_size, "value batch_size meta"),
    ),
    "_forked_name": Contract(
        "values that the progress bar shows",
        lambda facts: collection()._forked_name(collection()["step.name"], True) == ("name", "name"),
    ),
    "_get_cache": Contract(
        "plain tensors for loggers and callbacks",
        lambda facts: (
            takes(result._ResultCollection._get_cache, "result_metric on_step")
            and calls(result._ResultCollection.metrics, "self._get_cache(result_metric, on_step)")
        ),
    ),
    "_experiment": Contract(
        "the writer of metrics.csv",
        lambda facts: CSVLogger("unused")._experiment is None and calls(CSVLogger.finalize, "self._experiment is None"),
    ),
    "_current_fx_name": Contract(
        "where `self.log` is called from",
        lambda facts: facts.batches[0]["hook"] == "on_train_batch_end" and "_current_fx_name" in vars(facts.module),
    ),
}


LOADING: dict[str, Contract] = {
    "_DataFetcher": Contract(
        "taking batches",
        lambda facts: {"fetched", "done", "length", "iterator"} <= set(vars(fetcher_of(dataloader(1)))),
    ),
    "_PrefetchDataFetcher": Contract(
        "taking batches of one dataloader directly",
        lambda facts: (
            fetcher_of(dataloader(2)).length == 2
            and next(fetcher_of(dataloader(2)))[1:] == (0, 0)
            and issubclass(fetchers._PrefetchDataFetcher, fetchers._DataFetcher)
        ),
    ),
    "_DataLoaderIterDataFetcher": Contract(
        "steps that take the iterator",
        lambda facts: issubclass(fetchers._DataLoaderIterDataFetcher, fetchers._DataFetcher),
    ),
    "_MaxSizeCycle": Contract(
        "taking batches of one dataloader directly",
        lambda facts: (
            type(fetcher_of(dataloader(1)).combined_loader._iterator) is _MaxSizeCycle
            and len(fetcher_of(dataloader(1)).combined_loader._iterator.iterators) == 1
        ),
    ),
    "_consumed": Contract(
        "taking batches of one dataloader directly",
        lambda facts: fetcher_of(dataloader(1)).combined_loader._iterator._consumed == [False],
    ),
    "_idx": Contract(
        "counting batches that are taken directly, and predicting on from a later batch",
        lambda facts: counted(fetcher_of(dataloader(2))) == 1,
    ),
    "_iterator_idx": Contract("predicting on from a later dataloader", lambda facts: sequential()._iterator_idx == 0),
    "_load_current_iterator": Contract(
        "predicting on from a later dataloader", lambda facts: takes(type(sequential())._load_current_iterator, "")
    ),
    "_iterator": Contract(
        "the iterators of dataloaders, and those that persistent workers keep",
        lambda facts: facts.keeping._iterator is facts.workers and dataloader(1)._iterator is None,
    ),
    "_batch_sampler": Contract(
        "predicting on from a later batch", lambda facts: seen(facts)._batch_sampler.batch_size == 1
    ),
    "_MultiProcessingDataLoaderIter": Contract(
        "the workers of a dataloader", lambda facts: isinstance(facts.workers, _MultiProcessingDataLoaderIter)
    ),
    "_workers": Contract(
        "naming a worker that died", lambda facts: [one.is_alive() for one in facts.workers._workers] == [True]
    ),
    "_dataset": Contract("telling whose a worker is", lambda facts: facts.workers._dataset is facts.keeping.dataset),
    "_index_sampler": Contract(
        "telling whose a worker is",
        lambda facts: facts.workers._index_sampler is facts.keeping._index_sampler,
    ),
    "_SingleProcessDataLoaderIter": Contract(
        "batches without a profiler's range", lambda facts: type(iter(dataloader(1))) is _SingleProcessDataLoaderIter
    ),
    "_next_data": Contract(
        "batches without a profiler's range",
        lambda facts: (
            iter(dataloader(1))._next_data()[0].tolist() == [[0.0]]
            and calls(torch.utils.data.dataloader._BaseDataLoaderIter.__next__, "self._next_data()")
        ),
    ),
    "_sampler_iter": Contract(
        "batches without a profiler's range",
        lambda facts: (
            iter(dataloader(1))._sampler_iter is not None
            and calls(torch.utils.data.dataloader._BaseDataLoaderIter.__next__, "if self._sampler_iter is None")
        ),
    ),
    "_num_yielded": Contract("batches without a profiler's range", lambda facts: iter(dataloader(1))._num_yielded == 0),
    "_dataset_kind": Contract(
        "batches without a profiler's range", lambda facts: iter(dataloader(1))._dataset_kind == _DatasetKind.Map
    ),
    "_DatasetKind": Contract(
        "batches without a profiler's range", lambda facts: _DatasetKind.Map != _DatasetKind.Iterable
    ),
    "_persistent_workers": Contract("workers that stay", lambda facts: facts.workers._persistent_workers is True),
    "_shutdown_workers": Contract(
        "ending workers", lambda facts: takes(_MultiProcessingDataLoaderIter._shutdown_workers, "")
    ),
}


def counted(fetcher: Any) -> int:
    next(fetcher)
    return fetcher.combined_loader._iterator._idx


def sequential() -> Any:
    combined = CombinedLoader([dataloader(1), dataloader(1)], "sequential")
    return iter(combined)._iterator


def seen(facts: Facts) -> Any:
    sampler = facts.predicted.predict_loop._combined_loader.flattened[0].batch_sampler
    assert sampler.seen_batch_indices == [[number] for number in range(BATCHES)]
    return sampler


def requeueing() -> Any:
    environment = SLURMEnvironment(auto_requeue=True, requeue_signal=signal.SIGHUP)
    return trainer(plugins=[environment])._accelerator_connector._cluster_environment_flag


def checkpointing() -> callbacks.ModelCheckpoint:
    return callbacks.ModelCheckpoint("unused")


RUNNING: dict[str, Contract] = {
    "_run_stage": Contract(
        "stopping cleanly around the loops",
        lambda facts: takes(pl.Trainer._run_stage, "") and calls(pl.Trainer._run, "self._run_stage()"),
    ),
    "_run_sanity_check": Contract(
        "no trial validation in a resumed fit",
        lambda facts: (
            takes(pl.Trainer._run_sanity_check, "")
            and calls(pl.Trainer._run_stage, "self._run_sanity_check()", "self.fit_loop.run()")
        ),
    ),
    "_defaults_from_env_vars": Contract(
        "arguments from the environment",
        lambda facts: decorated({"PL_TAKES_FLAG": "True"}).flag is True and hasattr(pl.Trainer.__init__, "__wrapped__"),
    ),
    "_trainer": Contract("whether a module has a trainer", lambda facts: Module()._trainer is None),
    "_log_hyperparams": Contract("hiding secrets from loggers", lambda facts: Module()._log_hyperparams is True),
    "_hparams_initial": Contract("hiding secrets from loggers", lambda facts: Module()._hparams_initial == {"size": 1}),
    "_on_before_batch_transfer": Contract(
        "batches that hooks move",
        lambda facts: takes(pl.LightningModule._on_before_batch_transfer, "batch dataloader_idx"),
    ),
    "_call_strategy_hook": Contract(
        "batches that hooks move", lambda facts: takes(call._call_strategy_hook, "trainer hook_name args kwargs")
    ),
    "_accelerator_connector": Contract(
        "requeueing by SLURM", lambda facts: hasattr(facts.fitted, "_accelerator_connector")
    ),
    "_cluster_environment_flag": Contract(
        "requeueing by SLURM", lambda facts: requeueing().requeue_signal == signal.SIGHUP
    ),
    "_signal_connector": Contract(
        "stopping the loops",
        lambda facts: (
            facts.fitted._signal_connector.received_sigterm is False and facts.fitted.received_sigterm is False
        ),
    ),
    "_original_handlers": Contract(
        "keeping the user's signal handlers", lambda facts: facts.fitted._signal_connector._original_handlers == {}
    ),
    "_lightning_optimizers": Contract(
        "stepping optimizers without a wrapper",
        lambda facts: isinstance(SingleDeviceStrategy()._lightning_optimizers, list),
    ),
    "_optimizer": Contract(
        "stepping optimizers without a wrapper", lambda facts: wrapper()._optimizer.defaults["lr"] == 1
    ),
    "_on_before_step": Contract(
        "stepping optimizers without a wrapper", lambda facts: wrapper()._on_before_step is do_nothing_closure
    ),
    "_on_after_step": Contract(
        "stepping optimizers without a wrapper", lambda facts: wrapper()._on_after_step is do_nothing_closure
    ),
    "_model_averager": Contract("DDP that averages models", lambda facts: DDPStrategy()._model_averager is None),
    "_checkpoint_connector": Contract(
        "choosing and restoring checkpoints",
        lambda facts: isinstance(facts.fitted._checkpoint_connector, _CheckpointConnector),
    ),
    "_CheckpointConnector": Contract(
        "choosing and restoring checkpoints",
        lambda facts: (
            takes(_CheckpointConnector.resume_start, "checkpoint_path weights_only")
            and all(
                takes(getattr(_CheckpointConnector, name), "")
                for name in ("restore_callbacks", "restore_training_state", "restore_optimizers")
            )
        ),
    ),
    "_loaded_checkpoint": Contract(
        "what is restored", lambda facts: _CheckpointConnector(facts.fitted)._loaded_checkpoint == {}
    ),
    "_ckpt_path": Contract(
        "where it was loaded from", lambda facts: _CheckpointConnector(facts.fitted)._ckpt_path is None
    ),
    "_hpc_resume_path": Contract(
        "a requeued job's checkpoint", lambda facts: isinstance(_CheckpointConnector._hpc_resume_path, property)
    ),
    "_restore_modules_and_callbacks": Contract(
        "restoring before the first hook",
        lambda facts: takes(_CheckpointConnector._restore_modules_and_callbacks, "checkpoint_path weights_only"),
    ),
    "_parse_ckpt_path": Contract(
        "passing over damaged checkpoints",
        lambda facts: takes(_CheckpointConnector._parse_ckpt_path, "state_fn ckpt_path model_provided model_connected"),
    ),
    "_checkpoint_io": Contract("writing atomic files", lambda facts: SingleDeviceStrategy()._checkpoint_io is None),
    "_average_model": Contract(
        "averages that have not begun", lambda facts: callbacks.EMAWeightAveraging()._average_model is None
    ),
    "_swap_models": Contract(
        "saving the weights that train", lambda facts: takes(callbacks.WeightAveraging._swap_models, "pl_module")
    ),
    "_LRCallback": Contract("a search that is to diverge", lambda facts: issubclass(_LRCallback, callbacks.Callback)),
    "_legacy_state_key": Contract(
        "states that earlier Lightnings saved",
        lambda facts: checkpointing()._legacy_state_key is callbacks.ModelCheckpoint,
    ),
    "_save_topk_checkpoint": Contract(
        "saving `best` and `last`",
        lambda facts: takes(callbacks.ModelCheckpoint._save_topk_checkpoint, "trainer monitor_candidates"),
    ),
    "_save_last_checkpoint": Contract(
        "saving `last`",
        lambda facts: takes(callbacks.ModelCheckpoint._save_last_checkpoint, "trainer monitor_candidates"),
    ),
    "_monitor_candidates": Contract(
        "saving `best` and `last`",
        lambda facts: {"epoch", "step"} <= set(checkpointing()._monitor_candidates(facts.fitted)),
    ),
    "_should_skip_saving_checkpoint": Contract(
        "saving once per step",
        lambda facts: checkpointing()._should_skip_saving_checkpoint(facts.fitted) is False,
    ),
    "_last_global_step_saved": Contract(
        "saving once per step", lambda facts: checkpointing()._last_global_step_saved == 0
    ),
    "_last_checkpoint_saved": Contract(
        "resuming a callback's bookkeeping", lambda facts: checkpointing()._last_checkpoint_saved == ""
    ),
    "_defer_save_until_validation": Contract(
        "resuming a callback's bookkeeping", lambda facts: checkpointing()._defer_save_until_validation is False
    ),
}


def wrapper() -> LightningOptimizer:
    return LightningOptimizer(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1))


def metric() -> torchmetrics.Metric:
    return torchmetrics.MeanMetric()


def metrics() -> torchmetrics.MetricCollection:
    return torchmetrics.MetricCollection({"a": torchmetrics.MeanMetric()}, prefix="p/")


METRICS: dict[str, Contract] = {
    "_reductions": Contract(
        "the states of a metric", lambda facts: list(metric()._reductions) == ["mean_value", "weight"]
    ),
    "_defaults": Contract("the states of a metric", lambda facts: list(metric()._defaults) == ["mean_value", "weight"]),
    "_is_synced": Contract("exchanging sums of all metrics at once", lambda facts: metric()._is_synced is False),
    "_to_sync": Contract("exchanging sums of all metrics at once", lambda facts: metric()._to_sync is True),
    "_should_unsync": Contract("the value of one batch", lambda facts: metric()._should_unsync is True),
    "_enable_grad": Contract("the value of one batch", lambda facts: metric()._enable_grad is False),
    "_computed": Contract("the value of one batch", lambda facts: metric()._computed is None),
    "_update_count": Contract("whether a metric has values", lambda facts: metric()._update_count == 0),
    "_forward_cache": Contract("values of an epoch in a checkpoint", lambda facts: metric()._forward_cache is None),
    "_compute_and_reduce": Contract(
        "names of values of wrappers",
        lambda facts: takes(torchmetrics.MetricCollection._compute_and_reduce, "method_name args kwargs"),
    ),
    "_filter_kwargs": Contract(
        "names of values of wrappers", lambda facts: metric()._filter_kwargs(value=1, no=2) == {"value": 1}
    ),
    "_set_name": Contract("names of values of wrappers", lambda facts: metrics()._set_name("a") == "p/a"),
    "_enable_compute_groups": Contract(
        "metrics that share updates", lambda facts: metrics()._enable_compute_groups is True
    ),
    "_groups_checked": Contract("metrics that share updates", lambda facts: metrics()._groups_checked is False),
    "_init_compute_groups": Contract(
        "metrics that share updates", lambda facts: takes(torchmetrics.MetricCollection._init_compute_groups, "")
    ),
}


class Named(torch.Tensor):
    """A subclass, as MONAI's `MetaTensor`."""


def plain() -> type:
    with torch._C.DisableTorchFunctionSubclass():
        return type(torch.zeros(1).as_subclass(Named).detach().as_subclass(torch.Tensor))


def is_nonfinite(value: float) -> bool:
    flag = torch.zeros(1)
    torch._amp_foreach_non_finite_check_and_unscale_([torch.tensor([value])], flag, torch.ones(1))
    return bool(flag)


SGD = torch.optim.SGD


def profiled() -> list[bool]:
    """Whether a profiler runs: before, during and after."""
    before = torch._C._autograd._profiler_enabled()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        during = torch._C._autograd._profiler_enabled()
    return [before, during, torch._C._autograd._profiler_enabled()]


def optimizers_with(register: Any) -> list[tuple[int, ...]]:
    """The numbers of hooks, global and an optimizer's own, before and after its step: with one of a kind, without."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1)
    own = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    of_all = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)
    handle = register(optimizer, print) if register in vars(torch.optim.Optimizer).values() else register(print)
    having = tuple(map(len, (*of_all, *own)))
    handle.remove()
    return [having, tuple(map(len, (*of_all, *own)))]


def operators() -> list[str]:
    """The operators that a mode sees in an addition and its backward pass."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Sees(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    seen: list[str] = []
    with Sees():
        (torch.ones(2, requires_grad=True) + 1).sum().backward()
    return seen


def shapes_only() -> bool:
    """Fake tensors have the device that they are made for, no memory, and an error where a value is read."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

    is_told = False
    with FakeTensorMode(allow_non_fake_inputs=True):
        product = torch.empty(10**7, 4) @ torch.empty(4, 10**7)
        try:
            product[0, 0].item()
        except DataDependentOutputException:
            is_told = True
    return is_told and (product.device.type, product.untyped_storage().nbytes()) == ("cpu", 4 * 10**14)


TORCH: dict[str, Contract] = {
    "_C": Contract("plain tensors of a subclass", lambda facts: plain() is torch.Tensor),
    "_make_subclass": Contract(
        "values that compute themselves when they are read",
        lambda facts: type(torch.Tensor._make_subclass(Named, torch.zeros(1))) is Named,
    ),
    "_parameters": Contract(
        "a module's own parameters", lambda facts: list(nn.Linear(1, 1)._parameters) == ["weight", "bias"]
    ),
    "_buffers": Contract("a module's own buffers", lambda facts: "running_mean" in nn.BatchNorm1d(1)._buffers),
    "_version": Contract("whether a tensor was written", lambda facts: torch.zeros(1).add_(1)._version == 1),
    "_NormBase": Contract("no weight decay for norms", lambda facts: issubclass(nn.BatchNorm2d, _NormBase)),
    "_non_persistent_buffers_set": Contract(
        "buffers that checkpoints leave out", lambda facts: nn.Linear(1, 1)._non_persistent_buffers_set == set()
    ),
    "_amp_foreach_non_finite_check_and_unscale_": Contract(
        "looking for NaN and Inf on the device", lambda facts: is_nonfinite(float("inf")) and not is_nonfinite(1.0)
    ),
    "_foreach_norm": Contract(
        "finding the tensor with NaN or Inf",
        lambda facts: [float(one) for one in torch._foreach_norm([torch.ones(2), torch.ones(3)], ord=1)] == [2, 3],
    ),
    "_autograd": Contract(
        "whether a profiler runs",
        lambda facts: torch._C._autograd._profiler_enabled is torch.autograd._profiler_enabled,
    ),
    "_profiler_enabled": Contract("whether a profiler runs", lambda facts: profiled() == [False, True, False]),
    "_global_optimizer_pre_hooks": Contract(
        "hooks around every optimizer's step",
        lambda facts: optimizers_with(register_optimizer_step_pre_hook) == [(1, 0, 0, 0), (0, 0, 0, 0)],
    ),
    "_global_optimizer_post_hooks": Contract(
        "hooks around every optimizer's step",
        lambda facts: optimizers_with(register_optimizer_step_post_hook) == [(0, 1, 0, 0), (0, 0, 0, 0)],
    ),
    "_optimizer_step_pre_hooks": Contract(
        "hooks around an optimizer's step",
        lambda facts: optimizers_with(SGD.register_step_pre_hook) == [(0, 0, 1, 0), (0, 0, 0, 0)],
    ),
    "_optimizer_step_post_hooks": Contract(
        "hooks around an optimizer's step",
        lambda facts: optimizers_with(SGD.register_step_post_hook) == [(0, 0, 0, 1), (0, 0, 0, 0)],
    ),
    "_get_default_store": Contract(
        "word of a failure for the other processes",
        lambda facts: takes(torch.distributed.distributed_c10d._get_default_store, ""),
    ),
    "_scaled_dot_product_flash_attention_for_cpu": Contract(
        "operations of attention on a CPU",
        lambda facts: hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"),
    ),
    "_subclasses": Contract("memory that a step takes, without taking it", lambda facts: shapes_only()),
    "_python_dispatch": Contract("count of the bytes that are alive", lambda facts: "aten.add.Tensor" in operators()),
    "_pytree": Contract(
        "tensors in what an operator returns", lambda facts: torch.utils._pytree.tree_leaves([1, {"a": 2}]) == [1, 2]
    ),
    "_cdata": Contract(
        "one number for all views of a storage",
        lambda facts: (
            (value := torch.ones(3)).untyped_storage()._cdata == value[1:].untyped_storage()._cdata
            and value.untyped_storage()._cdata != torch.ones(3).untyped_storage()._cdata
        ),
    ),
}

RESUME: dict[str, Contract] = {
    "_callback_metrics": Contract(
        "the values that callbacks see in a resumed fit",
        lambda facts: {"loss", "val"} <= facts.fitted._logger_connector._callback_metrics.keys(),
    ),
    "_logged_metrics": Contract(
        "the values that loggers see in a resumed fit",
        lambda facts: {"loss", "val"} <= facts.fitted._logger_connector._logged_metrics.keys(),
    ),
    "_progress_bar_metrics": Contract(
        "the values that the progress bar sees in a resumed fit",
        lambda facts: facts.fitted._logger_connector._progress_bar_metrics == {},
    ),
    "_loaded_from_state_dict": Contract(
        "loops that do not count as restarting once their counters are set",
        lambda facts: facts.epoch_loop._loaded_from_state_dict is False,
    ),
    "_parameters": Contract(
        "tensors that a module has registered, None too",
        lambda facts: list(nn.Linear(1, 1, bias=False)._parameters) == ["weight", "bias"],
    ),
    "_buffers": Contract(
        "tensors that a module has registered, None too",
        lambda facts: nn.BatchNorm1d(1, track_running_stats=False)._buffers["running_mean"] is None,
    ),
    "_version": Contract(
        "changes of tensors that are too large to save",
        lambda facts: torch.zeros(1).add_(1)._version == torch.zeros(1)._version + 1,
    ),
}

PARALLEL: dict[str, Contract] = {
    "_standard_gamma": Contract(
        "a draw whose count of numbers depends on its values", lambda facts: hasattr(torch.ops.aten, "_standard_gamma")
    ),
    "_sample_dirichlet": Contract(
        "a draw whose count of numbers depends on its values",
        lambda facts: hasattr(torch.ops.aten, "_sample_dirichlet"),
    ),
    "_local_tensor": Contract(
        "what a process has of a sharded tensor",
        lambda facts: "_local_tensor" in torch.distributed.tensor.DTensor.__slots__,
    ),
    "_data_parallel_size": Contract(
        "a mesh whose sizes are worked out with the number of processes",
        lambda facts: calls(pl.strategies.ModelParallelStrategy.setup_environment, "self._data_parallel_size"),
    ),
    "_tensor_parallel_size": Contract(
        "a mesh whose sizes are worked out with the number of processes",
        lambda facts: calls(pl.strategies.ModelParallelStrategy.setup_environment, "self._tensor_parallel_size"),
    ),
    "_apply": Contract(
        "layers that are whole on each tensor rank",
        lambda facts: takes(torch.distributed.tensor.parallel.ParallelStyle._apply, "module device_mesh"),
    ),
    "_schema": Contract(
        "what an operation writes into",
        lambda facts: (
            [bool(one.alias_info and one.alias_info.is_write) for one in torch.ops.aten.zero_.default._schema.arguments]
            == [True]
        ),
    ),
    "_local_scalar_dense": Contract(
        "reading a tensor's value", lambda facts: torch.ops.aten._local_scalar_dense.default(torch.ones(1)) == 1
    ),
}

CONTRACTS = {**LOOPS, **LOGGING, **LOADING, **RUNNING, **METRICS, **TORCH, **RESUME, **SHARDED, **PARALLEL}
