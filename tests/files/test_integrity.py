from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path

import pytest
import torch

from lighter.errors import DamagedCheckpointError
from lighter.files import integrity as damage
from lighter.files.integrity import verify
from lighter.files.manifest import BEGIN, Manifest
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
    last = sound.rfind(b"\ncrc32:")
    bits += [place * 8 for place in (begin, last, last + 9, begin - 1, begin - 22)]
    assert [bit for bit in bits if message(flipped(sound, bit // 8, bit % 8)) == "sound"] == []


def as_earlier_versions_wrote(step: int) -> bytes:
    torch.save({"state_dict": {"w": torch.arange(1000.0)}, "global_step": step}, "earlier.ckpt")
    archive = Path("earlier.ckpt").read_bytes()
    text = BEGIN + json.dumps({"step": step, "complete": True}).encode()
    signed = archive[:-2] + struct.pack("<H", len(text) + 73) + text
    return signed + f"\nsha256:{hashlib.sha256(signed).hexdigest()}\n".encode()


def test_files_of_earlier_versions(own_place: Path) -> None:
    data = as_earlier_versions_wrote(7)
    Path("last.ckpt").write_bytes(data)
    assert verify("last.ckpt") == Manifest(step=7, complete=True)
    place = data.find(torch.arange(1000.0).numpy().tobytes()[400:])
    assert message(flipped(data, place)).endswith("its bytes are not those that were saved")
    assert message(data[:-1]).endswith(f"it ends after {len(data) - 1:,} of {len(data):,} bytes")


def test_files_that_lightning_wrote_or_that_have_no_checksums() -> None:
    values = torch.arange(1000.0)
    before = torch.serialization.get_crc32_options()
    for has_checksums in (True, False):
        torch.serialization.set_crc32_options(has_checksums)
        torch.save({"w": values}, "plain.ckpt")
        data = Path("plain.ckpt").read_bytes()
        assert message(data) == "sound"
        is_seen = message(flipped(data, data.find(values.numpy().tobytes()[400:]))) != "sound"
        assert is_seen == has_checksums
    write({"w": values}, Path("ours.ckpt"))
    torch.serialization.set_crc32_options(before)
    data = Path("ours.ckpt").read_bytes()
    assert message(flipped(data, data.find(values.numpy().tobytes()[400:]))) != "sound"


def test_an_entry_that_torch_would_not_read(own_place: Path) -> None:
    """Its directory says that it is a folder: one bit, of which `zipfile` says nothing."""
    values = torch.arange(1000.0)
    torch.save({"w": values}, "plain.ckpt")
    data = bytearray(Path("plain.ckpt").read_bytes())
    entry = data.find(b"PK\x01\x02", data.find(values.numpy().tobytes()[400:]))
    while data[entry + 46 : entry + 46 + len(b"plain/data/0")] != b"plain/data/0":
        entry = data.find(b"PK\x01\x02", entry + 1)
    assert message(flipped(data, entry + 38, 4)) != "sound"


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
