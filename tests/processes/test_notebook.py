"""What a notebook changes, without a kernel: `tests/test_notebook.py` has one."""

from __future__ import annotations

import builtins
import signal
from types import SimpleNamespace

import pytest
from torch import nn
from torch.optim import SGD

from lighter.display.terminal import stdout_console
from lighter.parts.optimization.lr_schedules import ManualSchedules
from lighter.parts.optimization.table import optimizer_table
from lighter.processes.notebook import is_ipython, is_notebook
from lighter.processes.signals import Interrupted, stop_signals
from lighter.runs import provenance
from lighter.trainer import Trainer


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (SimpleNamespace,), {})(kernel=None)
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_ipython()
    monkeypatch.setattr(builtins, "get_ipython", SimpleNamespace, raising=False)
    assert is_ipython()
    assert not is_notebook()


@pytest.mark.usefixtures("notebook")
def test_a_second_interrupt_ends_no_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        with stop_signals() as caught, caught.deferred(lambda: True):
            signal.raise_signal(signal.SIGINT)
            caught.raise_again()

    with pytest.raises(Interrupted):
        stopped()
    assert "after this step; a second signal interrupts it at once." in capfd.readouterr().err


@pytest.mark.usefixtures("notebook")
def test_the_record_has_no_words_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance.command() == ["notebook"]
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/study.ipynb")
    assert provenance.command() == ["study.ipynb"]


@pytest.mark.usefixtures("notebook")
def test_texts_are_no_displays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    console = stdout_console()
    assert not console.is_terminal
    console.print("a text", style="red")
    assert capsys.readouterr().out == "a text\n"
    layer = nn.Linear(2, 1)
    optimizer = SGD(layer.parameters(), lr=0.1)
    table = optimizer_table([optimizer], [*layer.named_parameters()], (), [], ManualSchedules())
    assert "\n  SGD " in table
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("notebook")
def test_a_bar_in_a_notebook_needs_no_widgets() -> None:
    trainer = Trainer(enable_progress_bar=True, logger=False, accelerator="cpu")
    assert type(trainer.progress_bar_callback).__name__ == "TQDMProgressBar"
