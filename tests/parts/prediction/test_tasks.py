"""Prediction tasks, by themselves: what is asked for, what is called with what, what is kept, what is said."""

from __future__ import annotations

import copy
import pickle
import re
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.prediction.tasks import PredictTasks


class Base:
    """What a module is to its tasks."""

    def __init__(self, folder: Path | str = ".") -> None:
        self.calls: Counter[str] = Counter()
        self.saved: dict[str, Any] = {}
        self.trainer: Any = SimpleNamespace(
            default_root_dir=folder,
            is_global_zero=True,
            predicting=True,
            strategy=SimpleNamespace(broadcast=lambda value: value, barrier=lambda: None),
        )


class Digits(Base):
    def predict_softmax_dependency(self, batch, batch_idx, dataloader_idx=0):
        self.calls["softmax"] += 1
        return batch * 10 + batch_idx

    def predict_unneeded_dependency(self, batch):
        self.calls["unneeded"] += 1

    def predict_probs_start(self):
        return {"dependency": ["softmax"]}

    def predict_probs(self, batch, softmax):
        return softmax

    def predict_probs_end(self, result, output_path):
        self.saved["probs"] = result, output_path

    def predict_large_start(self):
        return {"dependency": "softmax", "result": deque(maxlen=2)}

    def predict_large(self, x, softmax, dataloader_idx):
        return (softmax, dataloader_idx) if softmax >= 10 else None

    def predict_large_end(self, result, output_path):
        self.saved["large"] = result, output_path

    def predict_plain(self, batch):
        self.calls["plain"] += 1

    def predict_counts_start(self):
        return {"result": Counter()}

    def predict_counts(self, batch, result, output_path):
        result[batch] += 1
        (output_path / f"{batch}.txt").touch()

    def predict_counts_end(self, result, output_path):
        self.saved["counts"] = result, output_path


def run(module: Any, names: Any, batches: Any = (0, 1, 2), step: Any = None) -> list[Any]:
    tasks = PredictTasks(names, type(module))
    tasks.start(module, step)
    returned = [tasks.run.step(step, batch, batch_idx, 0) for batch_idx, batch in enumerate(batches)]
    tasks.end()
    assert tasks.run is None, "its state does not outlive the run"
    return returned


def test_a_dependency_is_computed_once_a_batch_and_not_at_all_if_no_task_needs_it(tmp_path: Path) -> None:
    module = Digits(tmp_path)
    returned = run(module, ["probs", "large", "plain"])
    assert module.calls == {"softmax": 3, "plain": 3}
    assert module.saved["probs"] == ([0, 11, 22], tmp_path / "predictions/probs")
    assert module.saved["large"] == (deque([(11, 0), (22, 0)], maxlen=2), tmp_path / "predictions/large")
    assert returned[0] == {"probs": 0, "large": None, "plain": None}
    without = Digits(tmp_path)
    run(without, "plain")
    assert without.calls == {"plain": 3}


def test_a_state_of_any_type_can_be_changed_in_place(tmp_path: Path) -> None:
    module = Digits(tmp_path)
    run(module, "counts", [5, 5, 7])
    assert module.saved["counts"] == (Counter({5: 2, 7: 1}), tmp_path / "predictions/counts")
    assert sorted(path.name for path in (tmp_path / "predictions/counts").iterdir()) == ["5.txt", "7.txt"]


class Same(Base):
    """A task whose state is what the test wants."""

    state: Any = None

    def predict_same_start(self):
        return {"result": type(self).state}

    def predict_same(self, batch):
        return batch

    def predict_same_end(self, result, output_path):
        self.saved["same"] = result


class Rows:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def append(self, row: Any) -> None:
        self.rows.append(row)


def test_anything_with_append_is_appended_to() -> None:
    Same.state = Rows()
    module = Same()
    run(module, "same")
    assert module.saved["same"].rows == [0, 1, 2]


@pytest.mark.parametrize("state", [{}, set(), 0, None, "text", torch.zeros(3)], ids=lambda state: type(state).__name__)
def test_what_cannot_be_appended_to_is_an_error(state: Any) -> None:
    Same.state = state
    with pytest.raises(ModuleTypeError) as caught:
        run(Same(), "same")
    assert re.sub(r"its state is .*, which", "its state is ..., which", str(caught.value)) == (
        "`predict_same` returned a int (0), and its state is ..., which has no `append`. Take the state, change it in"
        " place, and return None:\n  def predict_same(self, batch, result): ..."
    )
    assert caught.value.__notes__ == ["at batch 0 of predict dataloader 0: a int (0)"]


def test_runs_do_not_share_a_state_and_get_folders_of_their_own(tmp_path: Path) -> None:
    module = Digits(tmp_path)
    run(module, "probs", [1])
    (tmp_path / "predictions/probs/mine.txt").write_text("kept")
    run(module, "probs", [2])
    assert module.saved["probs"] == ([20], tmp_path / "predictions.2/probs")
    assert (tmp_path / "predictions/probs/mine.txt").read_text() == "kept"


class Beside(Base):
    def predict_seen_start(self):
        return {"dependency": ["length"]}

    def predict_seen(self, batch, length, step_output, **others):
        return batch, length, step_output, sorted(others)

    def predict_length_dependency(self, batch, step_output):
        return len(step_output)

    def predict_seen_end(self, result, output_path):
        self.saved["seen"] = result


@pytest.mark.parametrize("step", [lambda batch: "ab", lambda batch, batch_idx: "ab", lambda *args: "ab"[: len(args)]])
def test_the_step_runs_before_and_returns_what_it_returns(step: Any) -> None:
    module = Beside()
    assert run(module, "seen", [7], step) == ["ab"]
    assert module.saved["seen"] == [(7, 2, "ab", ["batch_idx", "dataloader_idx", "output_path", "result"])]


class Kept(Base):
    def predict_kept(self, batch):
        return batch


def test_results_that_nothing_saves_are_not_kept() -> None:
    tasks = PredictTasks("kept", Kept)
    tasks.start(Kept(), None)
    tasks.run.step(None, 1, 0, 0)  # the step returns them
    assert tasks.run.tasks[0].state == []
    message = (
        "`predict_kept` returns results, and nothing saves them. Write\n"
        "  def predict_kept_end(self, result, output_path): ..."
    )
    with pytest.warns(UserWarning, match=re.escape(message)):
        tasks.run.step(lambda batch: batch, 1, 0, 0)


class Ends(Base):
    """Methods that take what they are given in other orders, under other names, or in part."""

    def predict_a(self, batch):
        return batch

    predict_b = predict_c = predict_d = predict_e = predict_f = predict_a

    def predict_a_end(self, output_path, result):
        self.saved["a"] = result, output_path

    def predict_b_end(self, results, folder):
        self.saved["b"] = results, folder

    def predict_c_end(self, output_path, results):
        self.saved["c"] = results, output_path

    def predict_d_end(self, output_path, more=None):
        self.saved["d"] = [1], output_path

    def predict_e_end(self, *, result, **others):
        self.saved["e"] = result, others["output_path"]

    def predict_f_end(self, *both):
        self.saved["f"] = both


def test_the_end_of_a_task_gets_its_arguments_by_name() -> None:
    module = Ends()
    run(module, list("abcdef"), [1])
    assert {name: (result, path.name) for name, (result, path) in module.saved.items()} == {
        name: ([1], name) for name in "abcdef"
    }


class Failing(Base):
    def predict_a(self, batch):
        return 1 / batch

    def predict_a_end(self, result, output_path):
        raise ValueError("no space")

    def predict_b(self, batch):
        pass

    def predict_b_end(self, result, output_path):
        raise KeyError("b")

    def predict_c(self, batch):
        return batch

    def predict_c_end(self, result, output_path):
        self.saved["c"] = result


def test_an_error_keeps_its_kind_and_says_where_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(Failing(), ["a"], [1, 0])
    assert caught.value.__notes__ == ["in `predict_a`", "at batch 1 of predict dataloader 0: a int (0)"]


def test_a_task_that_cannot_save_does_not_keep_the_others_from_it() -> None:
    module = Failing()
    with pytest.raises(ValueError, match="no space") as caught:
        run(module, ["a", "b", "c"], [1])
    assert module.saved == {"c": [1]}
    assert caught.value.__notes__[0] == "in `predict_a_end`"
    assert caught.value.__notes__[1].startswith("KeyError: 'b'")


def test_a_copy_does_not_take_part_in_the_run() -> None:
    tasks = PredictTasks("plain", Digits)
    tasks.start(Digits(), None)
    assert copy.deepcopy(tasks).run is None
    assert pickle.loads(pickle.dumps(tasks)).names == ("plain",)
    assert tasks.run is not None


def test_a_folder_that_cannot_be_made_is_an_error_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run(Digits(tmp_path / "file"), "plain")
    with pytest.raises(ModuleValueError, match="the trainer's `default_root_dir` is s3://bucket/x"):
        run(Digits("s3://bucket/x"), "plain")


def test_other_processes_learn_the_folder(tmp_path: Path) -> None:
    module = Digits(tmp_path / "mine")
    module.trainer.is_global_zero = False
    module.trainer.strategy.broadcast = lambda value: tmp_path / "of the first"
    run(module, "probs")
    assert module.saved["probs"][1] == tmp_path / "of the first/probs"
    assert not (tmp_path / "mine").exists()


# --- messages ---

TAKES = "batch_idx, dataloader_idx, step_output (where there is a `predict_step`), result, output_path"


def module_with(**methods: Any) -> type:
    return type("Mine", (Base,), methods)


def task(self, batch):
    pass


def end(self, result, output_path):
    pass


AT_CONSTRUCTION = {
    "a number": (
        3,
        {},
        "`predict_tasks` is a name, or a list of names; found a int (3). For example:\n"
        "  predict_tasks: [probabilities, overlays]",
    ),
    "a dict": (
        {"probs": "softmax"},
        {},
        "`predict_tasks` is a name, or a list of names; found a dict with the key 'probs'. For example:\n"
        "  predict_tasks: [probabilities, overlays]",
    ),
    "a typo": (
        "probz",
        {"predict_probs": task},
        "`predict_tasks` names `probz`, and Mine has no method `predict_probz`. Did you mean `predict_probs`?"
        " Or write it:\n"
        "  def predict_probz(self, batch): ...",
    ),
    "no method": (
        ["probs"],
        {"predict_probs": 3},
        "`predict_tasks` names `probs`, and Mine has no method `predict_probs`. Write it:\n"
        "  def predict_probs(self, batch): ...",
    ),
    "Lightning's": (
        ["step", "dataloader"],
        {},
        "`predict_tasks` names `step`, but `predict_step` is Lightning's; give the task another name\n"
        "`predict_tasks` names `dataloader`, but `predict_dataloader` is Lightning's; give the task another name",
    ),
    "no identifier, twice": (
        ["a-b", "a-b"],
        {},
        "`predict_tasks` names `a-b` 2 times\n"
        "`predict_tasks` names `a-b`, and a task's method, `predict_<task>`, cannot be called so",
    ),
    "a part of a task": (
        "probs_end",
        {"predict_probs": task, "predict_probs_end": end},
        "`predict_tasks` names `probs_end`, but a method that ends in `_end` is a part of another task",
    ),
    "an end of no task": (
        "probs",
        {"predict_probs": task, "predict_probz_end": end, "predict_weak_start": task},
        "`Mine.predict_probz_end` belongs to no task: there is no `predict_probz`. Did you mean `predict_probs_end`?\n"
        "`Mine.predict_weak_start` belongs to no task: there is no `predict_weak`. Rename it if it is no task's.",
    ),
    "a misspelt end": (
        "probs",
        {"predict_probs": task, "predict_probs_ends": end, "predict_probs_strat": task},
        "`Mine.predict_probs_ends` would never be called. Did you mean `predict_probs_end`?\n"
        "`Mine.predict_probs_strat` would never be called. Did you mean `predict_probs_start`?",
    ),
}


@pytest.mark.parametrize("mistake", AT_CONSTRUCTION)
def test_mistakes_at_construction(mistake: str) -> None:
    given, methods, message = AT_CONSTRUCTION[mistake]
    with pytest.raises((ModuleTypeError, ModuleValueError)) as caught:
        PredictTasks(given, module_with(**methods))
    assert str(caught.value) == message


@pytest.mark.parametrize("given", [None, [], "probs", ("probs", "other")])
def test_what_is_no_mistake(given: Any) -> None:
    others = {
        "predict_other": task,
        "predict_other_end": end,
        "predict_probs_blend": task,
        "predict_x_dependency": task,
    }
    kind = module_with(predict_probs=task, predict_probs_end=end, **others)
    PredictTasks(given, kind)


def returns(value: Any) -> Any:
    return lambda self: value


FORM = (
    " It returns what the task needs and the state that it begins with; each may be left out:\n"
    '  return {"dependency": ["softmax"], "result": []}'
)
BEFORE_THE_LOOP = {
    "nothing returned": (
        {"predict_a": task, "predict_a_start": returns(None)},
        f"`predict_a_start` returned None.{FORM}",
    ),
    "an unknown key": (
        {"predict_a": task, "predict_a_start": returns({"dependencies": []})},
        f"`predict_a_start` returned the key `dependencies`. Did you mean `dependency`?{FORM}",
    ),
    "no names": (
        {"predict_a": task, "predict_a_start": returns({"dependency": 3})},
        f"`predict_a_start` returned as `dependency` a int (3).{FORM}",
    ),
    "a dependency without its method": (
        {"predict_a": task, "predict_a_start": returns({"dependency": ["sofmax"]}), "predict_softmax_dependency": task},
        "`predict_a_start` asks for the dependency `sofmax`, and Mine has no method `predict_sofmax_dependency`."
        " Did you mean `predict_softmax_dependency`? Or write it:\n  def predict_sofmax_dependency(self, batch): ...",
    ),
    "a dependency that is there anyway": (
        {"predict_a": task, "predict_a_start": returns({"dependency": ["batch_idx"]})},
        "`predict_a_start` asks for the dependency `batch_idx`, which is no dependency: `predict_a` may take a"
        " parameter of that name without asking for it",
    ),
    "a dependency that the task does not take": (
        {"predict_a": task, "predict_a_start": returns({"dependency": ["x"]}), "predict_x_dependency": task},
        "`predict_a(batch)` cannot be called: got an unexpected keyword argument 'x'. Write it as\n"
        f"  def predict_a(self, batch, x): ...\n  It may also take, by name, {TAKES}, and the dependencies that"
        " `predict_a_start` asks for.",
    ),
    "a dependency that the task does not ask for": (
        {"predict_a": lambda self, batch, x: x, "predict_x_dependency": task},
        "`predict_a(batch, x)` cannot be called: missing a required argument: 'x'. Write it as\n"
        f"  def predict_a(self, batch): ...\n  It may also take, by name, {TAKES}, and the dependencies that"
        " `predict_a_start` asks for.",
    ),
    "a dependency of a dependency": (
        {
            "predict_a": lambda self, batch, x: x,
            "predict_a_start": returns({"dependency": ["x"]}),
            "predict_x_dependency": lambda self, batch, y: y,
        },
        "`predict_x_dependency(batch, y)` cannot be called: missing a required argument: 'y'. Write it as\n"
        "  def predict_x_dependency(self, batch): ...\n"
        "  It may also take, by name, batch_idx, dataloader_idx and step_output (where there is a `predict_step`).",
    ),
    "an end without a path, a start that wants something": (
        {"predict_a": task, "predict_a_end": task, "predict_b": task, "predict_b_start": task},
        "`predict_a_end(batch)` cannot be called: too many positional arguments. Write it as\n"
        "  def predict_a_end(self, result, output_path): ...\n"
        "`predict_b_start(batch)` cannot be called: missing a required argument: 'batch'. Write it as\n"
        "  def predict_b_start(self): ...",
    ),
}


@pytest.mark.parametrize("mistake", BEFORE_THE_LOOP)
def test_mistakes_before_the_loop(mistake: str, tmp_path: Path) -> None:
    methods, message = BEFORE_THE_LOOP[mistake]
    kind = module_with(**methods)
    tasks = PredictTasks([name for name in ("a", "b") if f"predict_{name}" in methods], kind)
    with pytest.raises(ModuleValueError) as caught:
        tasks.start(kind(tmp_path), None)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == [], "no folder is made for a run that does not start"


def test_batches_are_needed() -> None:
    with pytest.raises(ModuleTypeError, match="`predict_step` takes a `dataloader_iter`"):
        run(Digits(), "plain", step=lambda dataloader_iter: None)
