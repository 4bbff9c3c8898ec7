"""End commands that run no stage: a message and an exit code for what their user can mend."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lighter.cli.json_errors import of_file
from lighter.cli.json_output import note, note_all
from lighter.errors import LighterError


@contextmanager
def mistakes_shown() -> Iterator[None]:
    """Turn a mistake of the user's into its message and exit code."""
    try:
        yield
    except LighterError as error:
        note(error)
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of the output has gone
            raise
        note_all([of_file(error)])
        print(f"{error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None
