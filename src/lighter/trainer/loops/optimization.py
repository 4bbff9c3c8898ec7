"""Automatic optimization: from a batch to the loss, the gradients and the optimizer's step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.loops.optimization.automatic import Closure, ClosureResult
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from lighter._lightning.loops import AutomaticOptimization, steps_plainly
from lighter._lightning.modules import CURRENT_HOOK
from lighter._lightning.unprofiled import step_optimizer, zero_gradients
from lighter.trainer.loops.hooks import find_hook, module_overrides
from lighter.trainer.loops.step_view import StepView
from lighter.trainer.nonfinite.closure import checked

if TYPE_CHECKING:
    from lighter.trainer import Trainer

HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")


class LeanOptimization(AutomaticOptimization):
    """Lightning's automatic optimization, in which only the hooks are called that somebody overrides.

    Where the module overrides `optimizer_step`, or something scales the gradients, Lightning's own code runs.
    """

    trainer: Trainer
    _plan: Plan | None = None

    def plan(self, view: StepView | None, *, outputs_are_read: bool) -> None:
        """Look at what the module, the callbacks and the strategy need, until this is called again."""
        trainer = self.trainer
        is_automatic = trainer.lightning_module.automatic_optimization
        is_plain = is_automatic and not module_overrides(trainer, "optimizer_step") and steps_plainly(trainer)
        self._plan = Plan(trainer, view, outputs_are_read=outputs_are_read) if is_plain else None

    def forget(self) -> None:
        self._plan = None

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: OrderedDict) -> dict[str, Any]:
        """Train on a batch, and step the optimizer unless gradients accumulate.

        Returns:
            the loss and what else the training step returned; nothing if nobody reads it.
        """
        plan = self._plan
        if plan is None or self.skips_backward or plan.optimizer is not optimizer:
            return super().run(optimizer, batch_idx, kwargs)
        step = _Step(self, plan, batch_idx, kwargs)
        if self.trainer.fit_loop.epoch_loop.accumulates():
            with plan.without_sync():
                step.gradients()
        else:
            self._step_optimizer(plan, step)
        return step.outputs

    def make_closure(self, kwargs: OrderedDict, optimizer: Optimizer, batch_idx: int) -> Closure:
        """Return what Lightning's own code has the optimizer call, with the check for NaN and Inf in it."""
        closure = super().make_closure(kwargs, optimizer, batch_idx)
        check = self.trainer.finite_check.steps
        return closure if check is None else checked(closure, check, self.trainer, optimizer, kwargs)

    def _step_optimizer(self, plan: Plan, step: _Step) -> None:
        total, current = self.optim_progress.optimizer.step.total, self.optim_progress.optimizer.step.current
        attributes = plan.attributes
        outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], "optimizer_step"
        total.ready += 1
        current.ready += 1
        step_optimizer(plan.optimizer, step.gradients_and_hooks)
        if not step.was_run:
            # raises what Lightning has to say to an optimizer that has not called its closure
            Closure(lambda: ClosureResult(None)).consume_result()
        total.completed += 1
        current.completed += 1
        attributes[CURRENT_HOOK] = outer_hook


class Plan:
    """The hooks, clipping and checks around a training step, found once an epoch."""

    def __init__(self, trainer: Trainer, view: StepView | None, *, outputs_are_read: bool) -> None:
        self.trainer, self.module, strategy = trainer, trainer.lightning_module, trainer.strategy
        self.attributes, self.view = vars(self.module), view
        self.optimizer = strategy.optimizers[0]
        self.before_zero_grad, self.before_backward, self.after_backward, self.before_step = (
            find_hook(trainer, name) for name in HOOKS
        )
        # a hook that gets the loss gets one that is not the step's own tensor, as in Lightning
        self.copies_loss = self.before_backward is not None
        self.outputs_are_read = outputs_are_read
        self.zeroes_itself = module_overrides(trainer, "optimizer_zero_grad")
        self.clips_itself = module_overrides(trainer, "configure_gradient_clipping", "clip_gradients")
        self.is_direct = strategy.model is self.module and type(trainer.precision_plugin) is Precision
        self._ddp = strategy if isinstance(strategy, DDPStrategy) else None
        self.check = trainer.finite_check.steps

    def training_step(self, kwargs: Mapping[str, Any]) -> Any:
        """Call the user's step, through a strategy's wrapper and a precision's context where there are such."""
        step = self.module.training_step if self.is_direct else self.trainer.strategy.training_step
        return step(*kwargs.values()) if self.view is None else self.view.call(step, kwargs.values())

    def without_sync(self) -> AbstractContextManager:
        # the exchange of the last batch covers the gradients of all
        return self._ddp.block_backward_sync() if self._ddp is not None else nullcontext()

    @property
    def clips(self) -> bool:
        """True if gradients are clipped."""
        trainer = self.trainer
        # asked at each step: a user may set it in the middle of an epoch
        return self.clips_itself or trainer.gradient_clip_val is not None or trainer.gradient_clip_algorithm is not None

    def clip_gradients(self) -> None:
        if not self.clips:
            return
        value, algorithm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
        attributes = self.attributes
        outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], "configure_gradient_clipping"
        self.module.configure_gradient_clipping(
            self.optimizer, gradient_clip_val=value, gradient_clip_algorithm=algorithm
        )
        attributes[CURRENT_HOOK] = outer_hook


class _Step:
    """One batch on its way through the step. Optimizers may ask for its gradients more than once."""

    __slots__ = ("batch_idx", "check", "is_first", "kwargs", "loop", "outputs", "plan", "was_run")

    def __init__(self, loop: LeanOptimization, plan: Plan, batch_idx: int, kwargs: Mapping[str, Any]) -> None:
        self.loop, self.plan, self.batch_idx, self.kwargs = loop, plan, batch_idx, kwargs
        # of the batches whose gradients add up
        self.is_first = batch_idx % plan.trainer.accumulate_grad_batches == 0
        self.outputs: dict[str, Any] = {}
        self.was_run = False
        self.check = plan.check

    def gradients_and_hooks(self) -> Tensor | None:
        """Make new gradients, ready for the optimizer's step; optimizers call this."""
        loss = self.gradients()
        plan, check, batch = self.plan, self.check, self.kwargs["batch"]
        if check is not None and (plan.before_step is not None or plan.clips):
            check.note_gradients(plan.optimizer, batch)
        if plan.before_step is not None:
            plan.before_step(plan.optimizer)
        plan.clip_gradients()
        if check is not None:
            check.gradients(plan.optimizer, batch)
            # an optimizer that asks again is searching, and may go too far
            self.check = None
        return loss

    def gradients(self) -> Tensor | None:
        """Run the training step and back-propagate. Returns the detached loss."""
        if torch.is_grad_enabled():
            return self._gradients()
        with torch.enable_grad():  # an optimizer may have switched it off
            return self._gradients()

    def _gradients(self) -> Tensor | None:
        self.was_run = True
        plan = self.plan
        attributes = plan.attributes
        if self.check is not None and self.is_first:
            self.check.begin()
        outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], "training_step"
        output = plan.training_step(self.kwargs)
        attributes[CURRENT_HOOK] = outer_hook
        loss, detached = self._sort(output, plan.trainer.accumulate_grad_batches)
        if self.is_first:
            self._zero_grad()
        if loss is not None:
            if self.check is not None:
                loss = self.check.loss(loss, output, self.kwargs["batch"])
            attributes[CURRENT_HOOK] = "backward"
            if plan.before_backward is not None:
                plan.before_backward(loss)
            plan.module.backward(loss)
            if plan.after_backward is not None:
                plan.after_backward()
            attributes[CURRENT_HOOK] = outer_hook
        return detached

    def _sort(self, output: Any, batches: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the loss to back-propagate, and a detached one for all others."""
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor):
            return self._sort_as_lightning(output)
        # Lightning always divides: by one, that changes no bit, and makes another tensor
        if batches != 1 or self.plan.copies_loss:
            loss = loss / batches
        detached = loss.detach()
        if self.plan.outputs_are_read:
            detached = detached.clone()
            others = output if isinstance(output, Mapping) else {}
            self.outputs = {"loss": detached, **{key: value for key, value in others.items() if key != "loss"}}
        return loss, detached

    def _sort_as_lightning(self, output: Any) -> tuple[Tensor | None, Tensor | None]:
        if output is None and self.plan.trainer.world_size > 1:
            raise RuntimeError("`training_step` returned None in a distributed run: the other processes would wait")
        result = ClosureResult.from_training_step_output(output, self.plan.trainer.accumulate_grad_batches)
        if result.closure_loss is None:
            Closure(lambda: result)()  # warns as Lightning does
            self.outputs = {}
        else:
            self.outputs = result.asdict()
        return result.closure_loss, result.loss

    def _zero_grad(self) -> None:
        plan, progress = self.plan, self.loop.optim_progress.optimizer.zero_grad
        total: Any = progress.total
        current: Any = progress.current
        total.ready += 1
        current.ready += 1
        if plan.before_zero_grad is not None:
            plan.before_zero_grad(plan.optimizer)
        total.started += 1
        current.started += 1
        if plan.zeroes_itself:
            attributes = plan.attributes
            outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], "optimizer_zero_grad"
            plan.module.optimizer_zero_grad(plan.trainer.current_epoch, self.batch_idx, plan.optimizer)
            attributes[CURRENT_HOOK] = outer_hook
        else:
            zero_gradients(plan.optimizer)
        total.completed += 1
        current.completed += 1
