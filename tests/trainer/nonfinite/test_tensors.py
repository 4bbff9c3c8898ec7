"""Numbers that are not finite, in models whose tensors are of unusual kinds: all are trained as Lightning does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lighter.errors import NonFiniteError
from lighter.trainer.nonfinite.tensors import all_finite, find_nonfinite, mark
from tests.faults.spoiled import BATCH_SIZE, BATCHES, MODULES, Fault, Samples, fit, make_trainer
from tests.slow import mostly_slow

pytestmark = pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
WithLightning = MODULES["lightning"]


class Remembers(WithLightning):
    """Does something to its buffers at each step."""

    def __init__(self, fault: Fault, step: Callable[[Any, Tensor], None], **options: Any) -> None:
        super().__init__(fault, **options)
        self.step = step
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("first", None)
        self.register_buffer("history", torch.zeros(0))
        self.tracker = nn.LazyBatchNorm1d(affine=False) if step is begin else None

    def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        self.step(self, batch["x"])
        return super().losses(batch, batch_idx)


def assign_anew(module: Any, x: Tensor) -> None:
    module.mean = 0.9 * module.mean + 0.1 * x.mean()


def register(module: Any, x: Tensor) -> None:
    part = module.network[0]  # which has no buffers
    if not part._buffers:
        part.register_buffer("late", torch.zeros(()))
    part.late.mul_(0.9).add_(0.1 * x.mean())


def fill(module: Any, x: Tensor) -> None:
    if module.first is None:
        module.first = x.mean()


def grow(module: Any, x: Tensor) -> None:
    count = len(module.history)
    module.history.resize_(count + 1)
    module.history[count] = x.mean()


def begin(module: Any, x: Tensor) -> None:
    module.tracker(x)


def expand(module: Any, x: Tensor) -> None:
    if "wide" not in module._buffers:
        module.register_buffer("wide", torch.zeros(1).expand(3))


def infer(module: Any, x: Tensor) -> None:
    with torch.inference_mode():
        module.mean = module.mean + x.mean()


@pytest.mark.parametrize("step", [assign_anew, register, fill, grow, begin, expand, infer])
def test_a_buffer_is_put_back_whatever_a_step_does_to_it(step: Any, tmp_path: Path) -> None:
    place = (0, 0) if step is fill else (0, 5)
    module, other = Remembers(Fault("batch", *place), step), Remembers(Fault("none"), step, left_out=(place,))
    for number, each in enumerate((module, other)):
        assert fit(each, tmp_path / str(number), on_non_finite="skip", max_epochs=1).global_step >= BATCHES - 1
    assert module.state_dict().keys() == other.state_dict().keys()
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name


EIGHT_BITS = (
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,  # powers of 2, of which 1 is one
)
KINDS: dict[str, Callable[[float], Tensor]] = {
    "conjugated": lambda value: torch.tensor([1 + 2j, complex(1, value)]).conj(),
    "negated": lambda value: torch.tensor([1 + 2j, complex(1, value)]).conj().imag,
    "half complex": lambda value: torch.view_as_complex(torch.tensor([[1.0, value]], dtype=torch.float16)),
    "sparse": lambda value: torch.tensor([[0.0, 1.0], [value, 0.0]]).to_sparse(),
    "sparse rows": lambda value: torch.tensor([[0.0, 1.0], [value, 0.0]]).to_sparse_csr(),
    "MKL-DNN": lambda value: torch.tensor([1.0, value]).to_mkldnn(),
    **{str(kind): lambda value, kind=kind: torch.tensor([1.0, value]).to(kind) for kind in EIGHT_BITS},
}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental", "ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_any_kind_is_found(kind: str) -> None:
    flag, one = torch.zeros(()), torch.ones(())
    assert all_finite([KINDS[kind](1.0)])
    assert not all_finite([torch.ones(2), KINDS[kind](nan)])
    found = find_nonfinite("w", KINDS[kind](nan))
    assert found is not None
    assert found.count == 1
    assert find_nonfinite("w", KINDS[kind](1.0)) is None
    mark([torch.ones(2), KINDS[kind](1.0)], flag, one)
    assert not flag
    mark([torch.ones(2), KINDS[kind](nan)], flag, one)
    assert flag.item() == 1


def test_a_value_is_shown_as_it_is() -> None:
    found = find_nonfinite("w", torch.tensor([1 + 2j, complex(1, inf)]).conj())
    assert str(found) == "`w`: 1 of 4 values are not finite, the first is -inf at [1, 1]"


class Forbids(Tensor):
    """As quantised tensors do, which say that they are of a type of floats, and take part in few operations."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.sum:
            raise NotImplementedError
        return super().__torch_function__(func, types, args, kwargs)


ODD = {
    "of 8 bits": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    "of 4 bits": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "conjugated": lambda: torch.ones(2, dtype=torch.cfloat).conj(),
    "not finite from the start": lambda: torch.tensor([[1.0, inf]]).to_sparse_csr(),
    "quantised": lambda: torch.ones(2).as_subclass(Forbids),
}
UNSAVED = torch.zeros(2, dtype=torch.uint8).view(torch.uint4)  # torch can neither save nor copy it


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta", "ignore:.*holds more than weights and plain")
@pytest.mark.parametrize("policy", mostly_slow(["stop", "skip", "continue"]))
@pytest.mark.parametrize("kind", ODD)
def test_a_model_may_have_any_kind_of_tensor(kind: str, policy: str, tmp_path: Path) -> None:
    assert fit(odd_module(kind), tmp_path, on_non_finite=policy, max_epochs=1).global_step == BATCHES


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta", "ignore:.*holds more than weights and plain")
@pytest.mark.parametrize("async_save", mostly_slow([False, True]))
@pytest.mark.parametrize("kind", ODD)
def test_and_in_deterministic_mode_too(kind: str, async_save: bool, tmp_path: Path, deterministic_mode: None) -> None:
    options = {"on_non_finite": "skip", "async_save": async_save}
    fit(odd_module(kind), tmp_path, **options, max_epochs=1)
    trainer = make_trainer(tmp_path, **options, max_epochs=2)
    data = DataLoader(Samples(BATCHES), BATCH_SIZE)
    trainer.fit(odd_module(kind), data, ckpt_path=str(tmp_path / "newest.ckpt"), weights_only=False)
    assert trainer.global_step == 2 * BATCHES


def odd_module(kind: str) -> Any:
    module = WithLightning(Fault("none"))
    module.network[0].register_buffer("odd", ODD[kind]())
    module.network[0].register_buffer("unsaved", UNSAVED, persistent=False)
    module.network[0].frozen = nn.Parameter(ODD[kind](), requires_grad=False)
    return module


@pytest.fixture
def deterministic_mode() -> Iterator[None]:
    """As the trainer's `deterministic: true`, which Lightning does not take back."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Turns(WithLightning):
    """Its gradients are conjugated."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.phase = nn.Parameter(torch.ones(5, dtype=torch.cfloat))

    def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        losses = super().losses(batch, batch_idx)
        return {**losses, "total": losses["total"] + (batch["x"].cfloat() @ self.phase.conj()).abs().mean()}


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_gradients_may_be_conjugated(policy: str, tmp_path: Path) -> None:
    assert fit(Turns(Fault("none")), tmp_path, on_non_finite=policy, max_epochs=1).global_step == BATCHES


class Hides(WithLightning):
    """Makes its mask when it first needs it."""

    def __init__(self, fault: Fault, persistent: bool) -> None:
        super().__init__(fault)
        self.register_buffer("hidden", None, persistent=persistent)

    def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        if self.hidden is None:
            self.hidden = torch.full((2, 2), -inf).triu(1)
        return super().losses(batch, batch_idx)


def test_a_mask_made_by_a_step_is_reported_as_a_buffer_and_can_be_left_out_of_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError) as caught:
        fit(Hides(Fault("none"), persistent=True), tmp_path / "1", max_epochs=1)
    assert "The buffer `hidden` is not finite in epoch 0, batch 1" in str(caught.value)
    assert "  buffer  1 of 4 values are not finite, the first is -inf at [0, 1]\n\n" in str(caught.value)
    assert "is registered with `persistent=False`" in str(caught.value)
    assert fit(Hides(Fault("none"), persistent=False), tmp_path / "2", max_epochs=1).global_step == BATCHES


def test_a_loss_of_64_bits_may_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(WithLightning):
        def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
            losses = super().losses(batch, batch_idx)
            return {**losses, "total": losses["total"] + self.large}

    monkeypatch.setattr("lighter.trainer.nonfinite.check.reads_cost_nothing", lambda trainer: False)
    module = Large(Fault("none"))
    module.large = 1e300
    assert fit(module, tmp_path / "1", precision="64-true", max_epochs=1).global_step == BATCHES
    module.large = inf
    with pytest.raises(NonFiniteError, match="The loss is inf in epoch 0, batch 0"):
        fit(module, tmp_path / "2", precision="64-true", max_epochs=1)
