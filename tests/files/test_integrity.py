from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from lighter.errors import DamagedCheckpointError
from lighter.files import integrity as damage
from lighter.files.integrity import verify
from lighter.files.manifest import BEGIN, DIGEST, Manifest
from lighter.trainer.checkpointing.writing import write


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "last.ckpt"
    torch.manual_seed(3)
    write({"state_dict": {"w": torch.randn(300, 1000), "half": torch.randn(1000).half()}, "global_step": 7}, path)
    return path.read_bytes()


def message(data: bytes | bytearray) -> str:
    Path("last.ckpt").unlink(missing_ok=True)
    Path("last.ckpt").write_bytes(data)
    damage._verified.cache_clear()
    try:
        verify("last.ckpt")
    except DamagedCheckpointError as error:
        return str(error)
    return "sound"


def flipped(data: bytes, place: int, bit: int = 0) -> bytearray:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return changed


def test_what_happened_to_it(sound: bytes) -> None:
    size = len(sound)
    begin = sound.rfind(BEGIN)
    table = {
        "sound": sound,
        "last.ckpt is damaged: it is empty": b"",
        "last.ckpt is damaged: it ends at byte 1, too early": sound[:1],
        "last.ckpt is damaged: it ends at byte 300, too early": sound[:300],
        "last.ckpt is damaged: it ends after 0.6 of about 1.2 MB": sound[: size // 2],
        f"last.ckpt is damaged: it ends at byte {begin - 100:,}, too early": sound[: begin - 100],
        f"last.ckpt is damaged: it ends after {begin:,} of {size:,} bytes": sound[:begin],
        f"last.ckpt is damaged: it ends after {size - 1:,} of {size:,} bytes": sound[:-1],
        "last.ckpt is damaged: it has 12 bytes more than were saved": sound + b"twelve bytes",
        "last.ckpt is damaged: its bytes are not those that were saved": flipped(sound, size // 2),
    }
    assert {expected: message(data) for expected, data in table.items()} == {expected: expected for expected in table}


def test_a_manifest_that_is_gone_altogether(sound: bytes) -> None:
    begin = sound.rfind(BEGIN)
    assert message(sound[:begin] + bytes(len(sound) - begin)).endswith("its bytes are not those that were saved")
    assert message(sound[: begin - 22] + bytes(len(sound) - begin + 22)).endswith("too early")
    assert message(BEGIN) == "sound", "it is no archive"


def test_no_bit_flips_unseen(sound: bytes) -> None:
    """All of the manifest and of the record before it, and some of the rest."""
    begin = sound.rfind(BEGIN)
    moments = random.Random(5)
    bits = [*range((begin - 22) * 8, len(sound) * 8), *range(4 * 8)]
    bits = [*moments.sample(bits, 300), *(moments.randrange(len(sound) * 8) for _ in range(100))]
    bits += [place * 8 for place in (begin, sound.rfind(DIGEST), sound.rfind(DIGEST) + 9, begin - 1, begin - 22)]
    assert [bit for bit in bits if message(flipped(sound, bit // 8, bit % 8)) == "sound"] == []


def test_no_cut_goes_unseen(sound: bytes) -> None:
    moments = random.Random(6)
    cuts = [*range(len(sound) - 100, len(sound)), *(moments.randrange(len(sound)) for _ in range(50))]
    assert [cut for cut in cuts if message(sound[:cut]) == "sound"] == []


def test_files_that_say_nothing_of_themselves() -> None:
    content = {"state_dict": {"w": torch.randn(50, 50)}}
    torch.save(content, "lightning.ckpt")
    torch.save(content, "old.pt", _use_new_zipfile_serialization=False)
    Path("text.txt").write_text("no checkpoint")
    assert [verify(name) for name in ("lightning.ckpt", "old.pt", "text.txt")] == [None, None, None]
    assert (
        message(Path("lightning.ckpt").read_bytes()[:9000]) == "last.ckpt is damaged: it ends at byte 9,000, too early"
    )


def test_what_a_later_version_adds_is_left_out() -> None:
    assert Manifest.parse(b'{"step": 3, "unknown": 4}') == Manifest(step=3)
    assert Manifest.parse(b"no JSON") == Manifest()


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(DamagedCheckpointError, match=r"^nowhere.ckpt cannot be read: No such file or directory$"):
        verify("nowhere.ckpt")


def test_the_same_file_is_read_once(sound: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("last.ckpt").write_bytes(sound)
    assert verify("last.ckpt") == verify("last.ckpt")
    monkeypatch.setattr(damage, "_examine", lambda file, size: ("it is read again", None))
    verify("last.ckpt")
    Path("copy.ckpt").write_bytes(sound)
    with pytest.raises(DamagedCheckpointError, match="read again"):
        verify("copy.ckpt")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_a_torn_file_runs_no_code() -> None:
    torch.save({"bomb": Bomb(), "w": torch.randn(50, 50)}, "bomb.ckpt")
    data = Path("bomb.ckpt").read_bytes()
    assert message(data[:-3000]).startswith("last.ckpt is damaged")
    assert not Path("exploded").exists()
