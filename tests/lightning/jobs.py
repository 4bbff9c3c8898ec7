"""LightningModules and a data module as tutorials write them. Nothing here knows of Lighter, but for the last rungs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.data import DataLoader

import lighter
from tests.jobs import digits, mlp
from tests.trainer.recording import MODULE_HOOKS


class Digits(pl.LightningDataModule):
    """96 digits for training in 6 batches, 40 for validation in 3, 40 for test and prediction."""

    def __init__(self, batch_size: int = 16, val_loaders: int = 1) -> None:
        super().__init__()
        self.batch_size, self.val_loaders = batch_size, val_loaders

    def setup(self, stage):
        self.train, self.val, self.test = digits(0, 96), digits(96, 136), digits(136, 176)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        loaders = [DataLoader(self.val, batch_size=self.batch_size) for _ in range(self.val_loaders)]
        return loaders if self.val_loaders > 1 else loaders[0]

    def test_dataloader(self):
        return [DataLoader(self.test, batch_size=self.batch_size), DataLoader(self.val, batch_size=self.batch_size)]

    def predict_dataloader(self):
        return {"a": DataLoader(self.test, batch_size=self.batch_size), "b": DataLoader(self.val, batch_size=20)}


class Net(pl.LightningModule):
    """What the others have in common; on its own, the smallest module that there is."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.lr, self.events = lr, []
        self.net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 10))

    def loss(self, batch):
        return cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Validated(Net):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))


class Precise(Net):
    """Notes what its network computes in."""

    def loss(self, batch):
        logits = self.net(batch[0])
        self.events.append(logits.dtype)
        return cross_entropy(logits, batch[1])


class DictSteps(Net):
    """Steps that return dicts, and a hook that gets them."""

    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), "extra": batch_idx}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.events.append((float(outputs["loss"]), outputs["extra"]))


class SkippingSteps(Net):
    """A step that returns None leaves its batch out."""

    def training_step(self, batch, batch_idx):
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


class ManyLoaders(Net):
    """Steps that are told which dataloader a batch is of."""

    def validation_step(self, batch, batch_idx, dataloader_idx):
        self.events.append(("val", dataloader_idx, batch_idx))
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch, batch_idx, dataloader_idx):
        self.events.append(("test", dataloader_idx, batch_idx))
        self.log("test_loss", self.loss(batch))
        self.log(f"named_{dataloader_idx}", self.loss(batch), add_dataloader_idx=False)

    def predict_step(self, batch, batch_idx, dataloader_idx):
        return self.net(batch[0]).argmax(dim=1) + 100 * dataloader_idx


class OwnLoaders(Validated):
    """Brings its dataloaders: several for training, which Lightning combines."""

    def train_dataloader(self):
        return {"small": DataLoader(digits(0, 32), 8, shuffle=True), "large": DataLoader(digits(32, 96), 16)}

    def val_dataloader(self):
        return DataLoader(digits(96, 136), 16)

    def loss(self, batch):
        if isinstance(batch, dict):
            return sum(cross_entropy(self.net(x), y) for x, y in batch.values())
        return super().loss(batch)


class Optimizers(Validated):
    """`configure_optimizers` in each form that Lightning documents for automatic optimization."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def configure_optimizers(self):
        sgd = super().configure_optimizers()
        step = torch.optim.lr_scheduler.StepLR(sgd, step_size=1, gamma=0.5)
        return {
            "one": lambda: sgd,
            "list": lambda: [sgd],
            "tuple": lambda: (sgd,),
            "two lists": lambda: ([sgd], [step]),
            "two lists with a dict": lambda: ([sgd], [{"scheduler": step, "interval": "step", "frequency": 2}]),
            "dict": lambda: {"optimizer": sgd, "lr_scheduler": step},
            "dict of dicts": lambda: {
                "optimizer": sgd,
                "lr_scheduler": {"scheduler": step, "interval": "epoch", "frequency": 1, "name": "rate"},
            },
            "list of dicts": lambda: [{"optimizer": sgd, "lr_scheduler": {"scheduler": step, "interval": "step"}}],
            "monitor": lambda: {"optimizer": sgd, "lr_scheduler": {"scheduler": plateau(sgd), "monitor": "val_loss"}},
            "not strict": lambda: {
                "optimizer": sgd,
                "lr_scheduler": {"scheduler": plateau(sgd), "monitor": "not_there", "strict": False},
            },
            "none": lambda: None,
        }[self.form]()


def plateau(optimizer):
    # with a threshold that nothing passes, each epoch but the first is a plateau
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.99)


class OneCycle(Net):
    """A schedule per step, as long as the trainer says the training is."""

    def configure_optimizers(self):
        sgd = super().configure_optimizers()
        total = self.trainer.estimated_stepping_batches
        self.events.append(total)
        schedule = torch.optim.lr_scheduler.OneCycleLR(sgd, max_lr=0.1, total_steps=total)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Gan(pl.LightningModule):
    """Two optimizers by hand, as in Lightning's documentation."""

    def __init__(self, latent: int = 8) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
        self.latent, self.events = latent, []

    def judge(self, images, real):
        target = torch.full((len(images), 1), float(real))
        return binary_cross_entropy_with_logits(self.discriminator(images), target)

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        noise = torch.randn(len(batch[0]), self.latent, device=self.device)

        self.toggle_optimizer(first)
        self.events.append([parameter.requires_grad for parameter in self.discriminator.parameters()])
        fooled = self.judge(self.generator(noise), real=True)
        first.zero_grad()
        self.manual_backward(fooled)
        first.step()
        self.untoggle_optimizer(first)

        self.toggle_optimizer(second)
        caught = self.judge(batch[0], real=True) + self.judge(self.generator(noise).detach(), real=False)
        second.zero_grad()
        self.manual_backward(caught)
        second.step()
        self.untoggle_optimizer(second)

        self.log_dict({"fooled": fooled, "caught": caught}, prog_bar=True)
        for schedule in self.lr_schedulers():
            schedule.step()

    def configure_optimizers(self):
        adams = [torch.optim.Adam(part.parameters(), lr=2e-3) for part in (self.generator, self.discriminator)]
        return adams, [torch.optim.lr_scheduler.ExponentialLR(adam, 0.99) for adam in adams]


class Logs(Net):
    """`self.log` and `log_dict` with their options."""

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("both", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("highest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("total", loss, on_step=False, on_epoch=True, reduce_fx=torch.sum)
        self.log("weighted", loss, on_step=False, on_epoch=True, batch_size=batch_idx + 1)
        self.log("quiet", loss, logger=False)
        self.log_dict({"a": loss * 2, "b": batch_idx * 1.0}, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), on_step=True, on_epoch=True, sync_dist=True)
        self.logger.log_metrics({"by_hand": 1.5}, step=batch_idx)

    def on_train_epoch_end(self):
        self.events.append(sorted(self.trainer.progress_bar_metrics))
        self.log("at_the_end", float(self.current_epoch))


class Saved(Validated):
    """Hyperparameters, and something of its own in the checkpoint."""

    def __init__(self, hidden: int = 16, lr: float = 0.05, config: Any = None) -> None:
        super().__init__(lr)
        self.save_hyperparameters()
        self.head, self.seen = nn.Linear(hidden, hidden), 0
        self.config = config

    def training_step(self, batch, batch_idx):
        self.seen += len(batch[0])
        return super().training_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint):
        self.seen = checkpoint["seen"]


class SavedWithKwargs(Validated):
    """Takes what it does not know, as subclasses of others do."""

    def __init__(self, lr: float = 0.05, **kwargs: Any) -> None:
        super().__init__(lr)
        self.save_hyperparameters()
        self.given = kwargs


class Properties(Validated):
    """What a module is told of its run."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        self.events.append(
            {
                "current_epoch": self.current_epoch,
                "global_step": self.global_step,
                "device": str(self.device),
                "global_rank": self.global_rank,
                "local_rank": self.local_rank,
                "lr": self.hparams.lr,
                "max_epochs": self.trainer.max_epochs,
                "logger": type(self.logger).__name__,
                "last": self.trainer.is_last_batch,
            }
        )
        return super().training_step(batch, batch_idx)


DOING = ("on_validation_model_zero_grad", "on_test_model_eval", "on_test_model_train", "on_predict_model_eval",
         "transfer_batch_to_device")  # left to Lightning, which does its own in them  # fmt: skip
HOOKS = [*(hook for hook in MODULE_HOOKS if hook not in DOING), "configure_callbacks", "prepare_data"]
REPLACING = {  # hooks that do something in Lightning: a user who overrides one does that too
    "optimizer_step": lambda module, epoch, batch_idx, optimizer, closure: optimizer.step(closure),
    "optimizer_zero_grad": lambda module, epoch, batch_idx, optimizer: optimizer.zero_grad(),
    "lr_scheduler_step": lambda module, scheduler, metric: scheduler.step(),
    "backward": lambda module, loss: loss.backward(),
    "configure_callbacks": lambda module: [],
    "on_before_batch_transfer": lambda module, batch, dataloader_idx: batch,
    "on_after_batch_transfer": lambda module, batch, dataloader_idx: batch,
    "on_validation_model_eval": lambda module: module.eval(),
    "on_validation_model_train": lambda module: module.train(),
}


def noting_hooks(kind: type) -> type:
    """A class that overrides every hook of Lightning's, without `super()`, and notes that it was called."""

    def noting(name):
        def hook(self, *args, **kwargs):
            self.events.append((name, *kwargs.values()) if name in ("setup", "teardown") else (name,))
            if name == "configure_optimizers":
                return super(noted, self).configure_optimizers()
            return REPLACING[name](self, *args, **kwargs) if name in REPLACING else None

        hook.__name__ = name
        return hook

    noted = type(kind.__name__, (kind,), {name: noting(name) for name in HOOKS})
    return noted


class AllSteps(Validated):
    """A module for all four stages, with one line for each."""

    def __init__(self) -> None:
        pl.LightningModule.__init__(self)
        self.lr, self.events, self.net = 0.05, [], mlp()

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self.net(batch[0])


class Steps(lighter.LighterModule):
    """The same as a `LighterModule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.events: list[Any] = []

    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return None

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self(batch[0])


class Forward(lighter.ForwardModule):
    """The same as a `ForwardModule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.events: list[Any] = []

    def forward(self, batch):
        logits = self.model(batch[0])
        return {"loss_dict": {"loss": cross_entropy(logits, batch[1])}} if self.mode != "predict" else logits


class NoCode(lighter.System):
    """The same as a `System`; `data` has the dataloaders, as for the others."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.events: list[Any] = []


NotedAllSteps, NotedSteps, NotedForward, NotedNoCode = map(noting_hooks, (AllSteps, Steps, Forward, NoCode))


class Scheduled(Saved):
    def configure_optimizers(self):
        sgd = super().configure_optimizers()
        return [sgd], [torch.optim.lr_scheduler.StepLR(sgd, step_size=1, gamma=0.5)]


class NotesEpochs(pl.Callback):
    """A callback of the user's."""

    def setup(self, trainer, pl_module, stage):
        pl_module.events.append(stage)

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.events.append(trainer.current_epoch)


class Exploding(Net):
    """A loss that is never a number."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * float("nan")


class Report(pl.Callback):
    """Each rank's values and folder, and rank 0's weights, in files."""

    def on_fit_end(self, trainer, pl_module):
        self.write(trainer, pl_module)

    def on_validation_end(self, trainer, pl_module):
        self.write(trainer, pl_module)

    def write(self, trainer, pl_module):
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        report = {"values": values, "folder": str(Path(trainer.default_root_dir).absolute())}
        Path(f"report-{trainer.global_rank}.json").write_text(json.dumps(report))
        if trainer.is_global_zero:
            torch.save(pl_module.state_dict(), "weights.pt")


class MadeLate(Steps):
    """Has its network from `configure_model`."""

    def configure_model(self):
        if self.network is None:
            self.network = mlp()
