"""Lighter in a kernel of Jupyter's: the cells of docs/14 run, an interrupt ends a cell and not the kernel."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_docs import QUICKSTART, ROOT, blocks, write_files

PAGE = ROOT / "docs/14-editor-and-notebook.md"
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]  # of Jupyter's own
HANDLERS = "import signal\n[signal.getsignal(name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1')]".replace(
    "getsignal(name)", "getsignal(getattr(signal, name))"
)


class Kernel:
    """A kernel that runs cells one after the other, and keeps their outputs."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, source: str, *, interrupt_at: str = "") -> Any:
        """Run a cell, interrupt it once its output has some text, and return it with its outputs."""
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        if interrupt_at:
            threading.Thread(target=self._interrupt, args=(cell, interrupt_at), daemon=True).start()
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return cell

    def _interrupt(self, cell: Any, text: str) -> None:
        while text not in stream(cell):
            time.sleep(0.05)
        # as Jupyter does: to the kernel and all that it has started
        os.killpg(os.getpgid(self._client.km.provisioner.pid), signal.SIGINT)


def stream(cell: Any, *names: str) -> str:
    outputs = [output for output in list(cell.outputs) if output.output_type == "stream"]
    return "".join(output.text for output in outputs if not names or output.name in names)


def error(cell: Any) -> tuple[str, str]:
    [output] = [output for output in cell.outputs if output.output_type == "error"]
    return output.ename, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))


def results(cell: Any, kind: str = "text/plain") -> list[str]:
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    write_files(QUICKSTART, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / "jupyter"))
        patch.setenv("JPY_SESSION_NAME", str(folder / "study.ipynb"))
        notebook = nbformat.v4.new_notebook()
        resources = {"metadata": {"path": str(folder)}}
        client = nbclient.NotebookClient(notebook, timeout=300, allow_errors=True, resources=resources)
        with client.setup_kernel():
            yield Kernel(client)


@pytest.fixture(scope="module")
def shown(kernel: Kernel) -> list[Any]:
    """The cells of the page, run in their order."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Notebook\n")[2]
    sources = [block.text for block in blocks(PAGE) if block.language == "python" and block.text in section]
    return [kernel.run(source) for source in sources]


def test_the_cells_of_the_page(shown: list[Any]) -> None:
    assert len(shown) == 6
    assert [output for cell in shown for output in cell.outputs if output.output_type == "error"] == []
    fit, compared, resumed, own, built, trained = shown
    assert re.findall(r"^epoch (\d) of 2; val/loss/epoch", stream(fit, "stdout"), re.MULTILINE) == ["1", "2"]
    assert "\n  Adam       network " in stream(fit, "stdout"), "the table of optimizers is in the text"
    assert results(fit, "text/html")[0].startswith('<div class="lighter"><table')
    assert len(results(fit)) == 1, "nothing is displayed that the cell has not asked for"
    assert "cannot carry an interval" in results(compared, "text/html")[0]
    losses = [float(value) for value in re.findall(r"[\d.]+", results(resumed)[0])]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
    assert "model: Weighted" in stream(own)
    assert results(built) == ["torch.Size([32, 10])"]
    assert results(trained)[0].startswith("tensor(")


def test_the_record_names_the_notebook(kernel: Kernel, shown: list[Any]) -> None:
    assert results(kernel.run("first.record['command']")) == ["['study.ipynb']"]


def test_an_interrupt_ends_the_cell_and_not_the_kernel(kernel: Kernel, shown: list[Any]) -> None:
    before = results(kernel.run(HANDLERS))
    cell = kernel.run("runner.run('fit', ['digits.yaml', 'trainer::max_epochs=2000'])", interrupt_at="epoch 2 of")
    assert error(cell) == ("Interrupted", "KeyboardInterrupt: stopped by Ctrl-C")
    [saved] = re.findall(r"stopped by Ctrl-C in epoch \d+, after \d+ steps; saved (\S+)", stream(cell))
    assert results(kernel.run(HANDLERS)) == before
    asked = kernel.run(f"from pathlib import Path\nPath({saved!r}).is_file(), lighter.Run('last').status")
    assert results(asked) == ["(True, 'interrupted')"]
    assert stream(kernel.run("runner.run('fit', config)")).count("epoch 2 of 2;") == 1


def test_an_interrupt_of_a_script_of_lightnings_saves_too(kernel: Kernel, shown: list[Any]) -> None:
    source = """from pytorch_lightning.callbacks import LambdaCallback
said = LambdaCallback(on_train_epoch_end=lambda trainer, module: print("epoch", trainer.current_epoch, "is over"))
parts = lighter.build(["digits.yaml", {"trainer": {"max_epochs": 2000, "callbacks": [said]}}])
parts.trainer.fit(parts.module, datamodule=parts.data)"""
    cell = kernel.run(source, interrupt_at="epoch 1 is over")
    assert error(cell)[0] == "Interrupted"
    assert re.search(r"stopped by Ctrl-C in epoch \d+, after \d+ steps; saved \S+last\.ckpt", stream(cell))


def test_a_mistake_is_its_message(kernel: Kernel, shown: list[Any]) -> None:
    name, text = error(kernel.run("runner.run('fit', ['digits.yaml', 'model::optimizr=3'])"))
    assert name == "ConfigError"
    assert text.startswith("ConfigError: command line: model::optimizr: digits.Classifier: there is no argument")
    assert text.endswith("Did you mean `optimizer`?")
    name, text = error(kernel.run("lighter.Run('nothing')"))
    assert (name, text.count("\n")) == ("RunError", 0)


def test_several_devices_are_refused(kernel: Kernel, shown: list[Any]) -> None:
    runs = "len(list(Path('outputs').glob('*/*')))"
    before = results(kernel.run(f"from pathlib import Path\n{runs}"))
    several = "['digits.yaml', 'trainer::accelerator=cpu', 'trainer::devices=2']"
    name, text = error(kernel.run(f"runner.run('fit', {several})"))
    assert name == "ConfigError"
    assert text.startswith("ConfigError: command line: trainer::devices: the 2 processes of several devices cannot")
    assert "`!lighter fit CONFIG.yaml`" in text
    assert results(kernel.run(runs)) == before


def test_a_failure_of_the_users_code_has_its_frames_alone(kernel: Kernel, shown: list[Any]) -> None:
    source = """class Failing(digits.Classifier):
    def training_step(self, batch, batch_idx):
        return {}

runner.run("fit", [*config, "model::_target_=__main__.Failing"])"""
    name, text = error(kernel.run(source.replace("{}", "1 / 0")))
    assert name == "ZeroDivisionError"
    assert "return 1 / 0" in text
    assert "while `model` (digits.yaml:" in text
    assert text.count("\n") < 50
    assert "trainer/loops" not in text
    name, text = error(kernel.run(source.replace("{}", "'loss'")))
    assert name == "ModuleTypeError"
    assert "`training_step` returned a str ('loss')" in text
    assert "trainer/loops" not in text


def test_logging_that_the_user_has_set_up_is_not_doubled(kernel: Kernel, shown: list[Any]) -> None:
    cell = kernel.run("import logging\nlogging.basicConfig(level=logging.INFO)\nrunner.run('fit', config)")
    assert stream(cell).count("epoch 1 of 2;") == 1
