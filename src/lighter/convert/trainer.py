"""Arguments of earlier trainers of Lightning, which the trainer of Lightning 2 refuses, and the seed."""

from __future__ import annotations

from lighter.config.problems import shortened
from lighter.config.tree import Node
from lighter.convert.gaps import Gaps
from lighter.convert.nodes import added, below, dict_of

LIGHTNING = tuple(
    f"{package}.{name}"
    for package in ("pytorch_lightning", "lightning", "lightning.pytorch")
    for name in ("Trainer", "trainer.Trainer", "trainer.trainer.Trainer")
)
_RENAMED = {
    "checkpoint_callback": "enable_checkpointing",
    "replace_sampler_ddp": "use_distributed_sampler",
    "distributed_backend": "strategy",
}
_REMOVED = {
    "auto_lr_find": "`lighter tune lr` suggests a learning rate.",
    "auto_scale_batch_size": "`lighter tune batch-size` finds the batch size.",
    "auto_select_gpus": "Write `devices: 1`, or the numbers of the devices.",
    "amp_backend": "Write `precision: 16-mixed`.",
    "amp_level": "Write `precision: 16-mixed`.",
    "flush_logs_every_n_steps": "Pass it to the logger: `flush_logs_every_n_steps` of a CSVLogger.",
    "ipus": "Lightning 2 has no IPUs; write `accelerator` and `devices`.",
    "log_gpu_memory": "Add the callback `pytorch_lightning.callbacks.DeviceStatsMonitor`.",
    "move_metrics_to_cpu": "Call `.cpu()` on the metric in your module.",
    "multiple_trainloader_mode": "Return a `CombinedLoader` with this mode from your data module.",
    "prepare_data_per_node": "Set it as an attribute of your data module.",
    "process_position": "Pass it to the progress bar: `pytorch_lightning.callbacks.TQDMProgressBar`.",
    "progress_bar_refresh_rate": "Add `{_target_: pytorch_lightning.callbacks.TQDMProgressBar, refresh_rate: ...}`.",
    "reload_dataloaders_every_epoch": "Write `reload_dataloaders_every_n_epochs: 1`.",
    "stochastic_weight_avg": "Add `{_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: ...}`.",
    "terminate_on_nan": "`lighter.Trainer` stops at NaN: see `on_non_finite`. Or write `detect_anomaly: true`.",
    "track_grad_norm": "Log it in your module's `on_before_optimizer_step`.",
    "truncated_bptt_steps": "Write manual optimization in your module.",
    "weights_save_path": "Pass it to the ModelCheckpoint: `dirpath`.",
    "weights_summary": "Add `{_target_: pytorch_lightning.callbacks.ModelSummary, max_depth: 1}`.",
}
_DEVICES = {"gpus": "gpu", "tpu_cores": "tpu", "num_processes": "cpu"}


def convert_trainer(trainer: Node, args: Node, gaps: Gaps, path: str = "trainer") -> None:
    """Change the trainer's section to what Lightning 2 takes; what belongs to a stage goes into the section `args`."""
    for key in [key for key in trainer.value if key in {*_RENAMED, *_REMOVED, *_DEVICES, "resume_from_checkpoint"}]:
        node = trainer.value.pop(key)
        if node.value is None:
            continue
        if key in _DEVICES:
            _devices(trainer, key, node, gaps, f"{path}.{key}")
        elif key == "resume_from_checkpoint":
            put_argument(args, "fit", "ckpt_path", node)
        elif _RENAMED.get(key):
            trainer.value[_RENAMED[key]] = node
            gaps.note(node, f"{path}.{key}", f"it is now `{_RENAMED[key]}`", "Nothing to write.")
        else:
            gaps.open(node, f"{path}.{key}", "Lightning 2 has no such argument of the trainer", _REMOVED[key])
    if isinstance(_value(trainer, "accumulate_grad_batches"), dict):
        _accumulation(trainer, gaps, path)


def _devices(trainer: Node, key: str, node: Node, gaps: Gaps, path: str) -> None:
    if node.value == 0:
        if key == "gpus" and not any(_value(trainer, other) for other in (*_DEVICES, "accelerator")):
            trainer.value["accelerator"] = added("cpu")
            gaps.note(node, path, "it is now `accelerator: cpu`", "Nothing to write.")
        return
    others = _value(trainer, "devices")
    if others is not None and others != node.value:
        found = f"`devices` is {others} already, and of the two one is used"
        gaps.open(node, path, found, "Write `accelerator` and `devices`, as many as the trainer is to use.")
        return
    accelerator = _value(trainer, "accelerator")
    if isinstance(accelerator, str) and accelerator.startswith(("ddp", "dp")):
        trainer.value["strategy"] = trainer.value.pop("accelerator")
    trainer.value.setdefault("devices", node)
    trainer.value.setdefault("accelerator", added(_DEVICES[key]))
    gaps.note(node, path, f"it is now `accelerator: {_DEVICES[key]}` and `devices`", "Nothing to write.")


def _accumulation(trainer: Node, gaps: Gaps, path: str) -> None:
    node = trainer.value.pop("accumulate_grad_batches")
    write = "Add `{_target_: pytorch_lightning.callbacks.GradientAccumulationScheduler, scheduling: {...}}`."
    gaps.open(node, f"{path}.accumulate_grad_batches", "a schedule is a callback in Lightning 2", write)


def seed_of(node: Node, path: str, gaps: Gaps) -> Node | None:
    """Return a seed; None, and a gap where there is something else."""
    if type(node.value) is int:
        return node
    if node.value is not None:
        found = f"a seed is an integer; found {shortened(str(node.plain()), 60)}"
        gaps.open(node, path, found, "Write `seed: 1`.")
    return None


def put_argument(args: Node, stage: str, key: str, node: Node) -> None:
    """Add an argument of a stage's trainer method."""
    args.value = dict_of(args, "args")
    stage_node = args.value.setdefault(stage, added({}))
    stage_node.value = {**dict_of(stage_node, f"args.{stage}"), key: below(node, node.value)}


def _value(node: Node, key: str) -> object:
    child = node.value.get(key)
    return child.value if child is not None else None
