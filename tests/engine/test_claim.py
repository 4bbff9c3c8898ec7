"""One folder for all processes that torchrun starts. Whole runs on two processes: `tests/lightning/test_ddp.py`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from lighter.config import read
from lighter.engine import claim as claims
from lighter.files.run_folder import RunFolder
from lighter.runs import rank_zero


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch):
    """The store that torchrun keeps, and a function that claims a run's folders as one of its processes would."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    job = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}

    def claim(rank: int, runs: int = 1, **more: str) -> list[RunFolder]:
        for name, value in {**job, "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(rank_zero, "_numbers", itertools.count())
        return [claims.claim(Path("outputs"), "digits") for _ in range(runs)]

    yield claim
    del store


def test_all_ranks_have_the_folders_of_the_first(torchrun, own_place: Path) -> None:
    first, second = torchrun(0, runs=2), torchrun(1, runs=2)
    assert [folder.path.absolute() for folder in first] == [folder.path for folder in second]
    assert len(set(second)) == 2
    assert {folder.path for folder in second} == set(own_place.glob("outputs/*/*"))


def test_a_job_that_is_started_again_has_a_new_folder(torchrun) -> None:
    [before] = torchrun(0)
    [after] = torchrun(0, TORCHELASTIC_RESTART_COUNT="1")
    [seen] = torchrun(1, TORCHELASTIC_RESTART_COUNT="1")
    assert before != after
    assert seen.path == after.path.absolute()


def test_only_the_first_rank_gives_a_folder_up(torchrun) -> None:
    [folder] = torchrun(0)
    [same] = torchrun(1)
    same.abandon()
    assert folder.path.is_dir()


def test_one_process_needs_no_store(torchrun) -> None:
    [folder] = torchrun(0, WORLD_SIZE="1", MASTER_PORT="1")
    assert folder.path.is_dir()


def test_the_member_whose_config_is_run(own_place: Path) -> None:
    for name in ("member", "run"):
        Path(name).mkdir()
        Path(name, "config.yaml").write_text("model: {_target_: torch.nn.Identity}\n")
    Path("member/member.json").touch()
    inputs = ["member/config.yaml", "trainer::max_epochs=1"]
    assert claims.RunOptions.of(read(["member/config.yaml"]), inputs).saved_by == RunFolder(Path("member"))
    assert claims.RunOptions.of(read(["run/config.yaml"]), ["run/config.yaml"]).saved_by is None
