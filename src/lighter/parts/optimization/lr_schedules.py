"""Learning rate schedules that step with their optimizer, unknown to Lightning.

Lightning steps a scheduler by batches or epochs, and its LearningRateMonitor expects one for each optimizer. A manual
schedule hangs on the optimizer itself: it steps after each step of it, so batches whose gradients are accumulated count
once, batches that mixed precision skips do not count, and manual optimization needs no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from lighter.errors import CheckpointError
from lighter.parts.optimization.warmup import Warmup, learning_rates, set_learning_rates

CHECKPOINT_KEY = "lighter_manual_schedules"


class ManualSchedule:
    """A scheduler that steps after every `frequency`-th step of its optimizer; `key` is its name in a checkpoint."""

    def __init__(self, key: str, scheduler: Any, optimizer: Optimizer, frequency: int = 1) -> None:
        self.key, self.scheduler, self.optimizer, self.frequency = key, scheduler, optimizer, frequency
        self.done = 0  # the steps of the optimizer that it has seen
        # the optimizer calls it whoever steps, Lightning or the user
        self._hook = optimizer.register_step_post_hook(self._after_step)

    def __str__(self) -> str:
        name = str(self.scheduler) if isinstance(self.scheduler, Warmup) else self.kind
        if isinstance(self.scheduler, Warmup) and self.frequency == 1:
            return name
        often = "step" if self.frequency == 1 else f"{self.frequency} steps"
        return f"{name}, every {often} of the optimizer"

    @property
    def kind(self) -> str:
        return str(self.scheduler.__class__.__name__)

    def release(self) -> None:
        # the optimizer may be used again, with its full learning rates
        self._hook.remove()
        if isinstance(self.scheduler, Warmup):
            self.scheduler.end()

    def state_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "done": self.done, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done = state["done"]
        self.scheduler.load_state_dict(state["scheduler"])

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if isinstance(self.scheduler, Warmup) and self.scheduler.is_over:
            return
        # fused optimizers are called even for a step that mixed precision skips, and skip it themselves
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None and float(found_inf) > 0:
            return
        self.done += 1
        if self.done % self.frequency == 0:
            self.scheduler.step()


class ManualSchedules:
    """The manual schedules of a module, from `configure_optimizers` on, and their part in checkpoints."""

    def __init__(self) -> None:
        self._schedules: list[ManualSchedule] = []
        self._saved: Mapping[str, Any] | None = None

    def set(self, schedules: Sequence[ManualSchedule]) -> None:
        self._schedules = list(schedules)

    def release(self) -> None:
        for schedule in self._schedules:
            schedule.release()
        self._schedules = []

    def of(self, optimizer: Optimizer) -> list[ManualSchedule]:
        return [schedule for schedule in self._schedules if schedule.optimizer is optimizer]

    def learning_rates(self, optimizer: Optimizer) -> list[float]:
        """Return the learning rates of an optimizer's groups, without the factor of a warm-up."""
        warmups = [schedule.scheduler for schedule in self.of(optimizer) if isinstance(schedule.scheduler, Warmup)]
        return next((list(w.unwarmed) for w in warmups if not w.is_over), learning_rates(optimizer))

    def save(self, checkpoint: dict[str, Any]) -> None:
        if self._schedules:
            checkpoint[CHECKPOINT_KEY] = {schedule.key: schedule.state_dict() for schedule in self._schedules}

    def load(self, checkpoint: Mapping[str, Any] | None) -> None:
        # until `restore`: Lightning shows the checkpoint before there are optimizers
        self._saved = None if checkpoint is None else dict(checkpoint.get(CHECKPOINT_KEY, {}))

    def restore(self, optimizers: Sequence[Optimizer]) -> Iterator[str]:
        """Restore the states of the checkpoint, if there is one. The optimizers have their own states already.

        Yields:
            messages about schedules that the checkpoint lacks, or has in addition.

        Raises:
            CheckpointError: a scheduler that cannot continue without a state.
        """
        saved, self._saved = self._saved, None
        if saved is None:
            return
        fitting = {
            schedule.key for schedule in self._schedules if saved.get(schedule.key, {}).get("kind") == schedule.kind
        }
        # first those without a schedule, as they change learning rates that the others restore
        for key, state in saved.items():
            if key not in fitting:
                yield from _leave_behind(key, state, optimizers)
        for schedule in self._schedules:
            if schedule.key in fitting:
                schedule.load_state_dict(saved[schedule.key])
            else:
                yield _start_without_state(schedule)


def _leave_behind(key: str, state: Mapping[str, Any], optimizers: Sequence[Optimizer]) -> Iterator[str]:
    # the learning rates of the checkpoint have the factor of its warm-up
    number = int(key.split("/")[0])
    unwarmed = state["scheduler"].get("unwarmed")
    if unwarmed is not None and number < len(optimizers):
        if learning_rates(optimizers[number]) == unwarmed:
            return  # it was over
        set_learning_rates(optimizers[number], unwarmed)
        yield "the checkpoint was saved during a warm-up that the config does not have: it ends here"
    else:
        yield f"the checkpoint has the state of a manual {state['kind']} that the config does not have"


def _start_without_state(schedule: ManualSchedule) -> str:
    # a warm-up may begin at any learning rate; another scheduler would compute from a position that is not this one
    if not isinstance(schedule.scheduler, Warmup):
        raise CheckpointError(
            f"the checkpoint has no state of the manual scheduler {schedule.kind}, which the config has. Resume with"
            " the config that the checkpoint was made with, or start anew from its weights:"
            " `ckpt_path` in the module's section."
        )
    schedule.scheduler.begin()
    return f"the checkpoint has no state of the {schedule.scheduler}: it begins here"
