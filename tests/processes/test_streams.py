"""A stdout that is kept for one writer: whatever else is printed, by whomever, goes to stderr."""

from __future__ import annotations

import ctypes
import io
import os
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from lighter.processes.streams import stdout_kept


def test_whatever_is_printed_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with stdout_kept() as stdout:
        print("python")
        os.write(1, b"descriptor\n")
        subprocess.run(["echo", "child"], check=True)
        if os.name == "posix":
            ctypes.CDLL(None).puts(b"c")
        stdout.write("mine\n")
    print("after")
    output, errors = capfd.readouterr()
    assert output == "mine\nafter\n"
    assert {"python", "descriptor", "child", "c"} <= {*errors.split()}


def test_a_stream_in_the_place_of_stdout_is_written_to() -> None:
    with redirect_stdout(io.StringIO()) as place, stdout_kept() as stdout:
        print("printed")
        stdout.write("mine")
    assert place.getvalue() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    code = "from lighter.processes.streams import stdout_kept as k\nwith k() as s: print('no'); s.write('yes')\n"
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"" if "1>" in closed else b"yes"), done.stderr
