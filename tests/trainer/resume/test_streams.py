"""The random numbers of steps are functions of the seed and the step, and those of a resumed fit are the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lighter.trainer.resume import random_keys as keys
from lighter.trainer.resume.random_keys import SAMPLE, VALIDATION, key_of, seed_all
from lighter.trainer.resume.random_streams import Streams
from tests.slow import mostly_slow

STEPS = 30
NEVER: set[int] = set()


class Fit:
    """The random numbers of a fit.

    Args:
        drawing: the steps that draw from Python's and NumPy's generators.
        validated: the steps with a validation after them.
        loads_here: whether samples are loaded in this process, and draw.
    """

    def __init__(self, drawing: set[int], validated: set[int] = NEVER, *, loads_here: bool = False) -> None:
        self.drawing, self.validated, self.loads_here = drawing, validated, loads_here
        self.saved: dict[int, Any] = {}
        self.streams = Streams(7, 0, torch.device("cpu"))

    def run(self, resumed: Any = None, first: int = 0) -> dict[int, Any]:
        """The numbers that were drawn, by step; what there is to save after each is kept."""
        self.streams.seed_for(keys.START)
        if resumed is not None:
            self.streams.resume(resumed)
        self.streams.seed_for(keys.EPOCH_START)
        drawn = {}
        if resumed is not None:
            self.streams.resume_at(resumed, first)
            self._validate(first - 1)
        for step in range(first, STEPS):
            if self.loads_here:
                self.streams.leave_step(step)
                seed_all(key_of(SAMPLE, step))
                random.random(), np.random.rand()
            self.streams.begin_step(step)
            drawn[step] = [float(torch.rand(()))]
            if step in self.drawing:
                drawn[step] += [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]
            self.saved[step] = self.streams.state()
            self._validate(step)
        return drawn

    def _validate(self, step: int) -> None:
        if step in self.validated:
            self.streams.seed_for(VALIDATION, step)
            random.random(), np.random.rand()


@pytest.mark.parametrize("drawing", [NEVER, {12}, {4, 12, 13}, set(range(9, STEPS)), set(range(STEPS))], ids=len)
@pytest.mark.parametrize("validated", [NEVER, {3, 12, 20}, {4, 11, 12}], ids=["", "validated", "after drawing"])
@pytest.mark.parametrize("loads_here", mostly_slow([False, True]), ids=["", "loads here"])
def test_a_resumed_fit_has_the_same(drawing: set[int], validated: set[int], loads_here: bool) -> None:
    whole = Fit(drawing, validated, loads_here=loads_here)
    expected = whole.run()
    assert expected == Fit(drawing, validated, loads_here=not loads_here).run()
    for step in range(STEPS - 1):
        for here in (False, True):
            again = Fit(drawing, validated, loads_here=here)
            drawn = again.run(whole.saved[step], step + 1)
            assert drawn == {n: numbers for n, numbers in expected.items() if n > step}
            assert again.saved == {n: state for n, state in whole.saved.items() if n > step}


def test_no_two_steps_that_draw_have_the_same() -> None:
    drawn = Fit(set(range(5, STEPS))).run()
    assert len({number for numbers in drawn.values() for number in numbers}) == STEPS + 4 * (STEPS - 5)


def test_once_a_step_has_drawn_each_is_seeded_for_itself() -> None:
    everywhere, late = Fit(set(range(STEPS))).run(), Fit({3, 20, 25}).run()
    assert {n: late[n] for n in (20, 25)} == {n: everywhere[n] for n in (20, 25)}


@pytest.mark.parametrize(
    "draw", [random.random, lambda: random.gauss(0, 1), np.random.rand, lambda: np.random.shuffle([1, 2, 3])]
)
def test_any_drawing_is_noticed(draw: Callable[[], Any]) -> None:
    streams = Streams(7, 0, torch.device("cpu"))
    streams.begin_step(0)
    assert not streams.state()["is_needed"]
    draw()
    assert streams.state()["is_needed"]
    streams.begin_step(1)
    assert streams.state() == {"is_needed": True, "since": 1}


def test_numpys_generator_is_put_aside_while_samples_are_loaded() -> None:
    before = np.random.get_bit_generator()
    streams = Streams(7, 0, torch.device("cpu"))
    streams.begin_step(0)
    streams.leave_step(1)
    assert np.random.get_bit_generator() is not before
    seed_all(key_of(SAMPLE, 1))
    streams.begin_step(1)
    assert np.random.get_bit_generator() is before
    assert not streams.state()["is_needed"]
    streams.leave_step(2)
    streams.seed_for(VALIDATION, 2)
    assert np.random.get_bit_generator() is before


def test_seeding_is_that_of_the_libraries_own_functions() -> None:
    key = key_of(3, 4)
    of_torch, of_numpy = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    random.gauss(0, 1), np.random.randn()  # leaves a second number behind
    seed_all(key)
    found = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(of_torch ^ of_numpy), np.random.seed(of_numpy & 0xFFFFFFFF), torch.manual_seed(of_torch)
    assert found[0] == random.getstate()
    assert torch.equal(found[2], torch.get_rng_state())
    assert all(map(np.array_equal, found[1], np.random.get_state()))


def test_another_bit_generator_in_numpy_is_seeded_too() -> None:
    before = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(1))
        seed_all(key_of(1))
        first = np.random.rand(3).tolist()
        seed_all(key_of(1))
        assert first == np.random.rand(3).tolist()
        streams = Streams(7, 0, torch.device("cpu"))
        streams.begin_step(0)
        assert streams.state()["is_needed"]  # it has no twin
    finally:
        np.random.set_bit_generator(before)
