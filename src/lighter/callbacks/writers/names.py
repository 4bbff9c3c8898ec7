"""Names from the data as names of files: none leaves its folder, and each can be told from its file's name.

A name is kept as it is but for what file systems take amiss, which becomes `%` and two hexadecimal digits for each
byte, as in web addresses: `%`, control characters, `/ \\ : * ? " < > |`, a dot or space at either end, and the first
letter of the names that Windows reserves. `../../x` is `%2E.%2F..%2Fx`. The empty name is `%`. A name that would be too
long is cut and ends with `%~` and a digest of all of it.
"""

from __future__ import annotations

import hashlib
import re

MOST_BYTES = 200  # file systems take 255; the rest is for suffixes, and for the names of copies
_AMISS = re.compile(r"""[\x00-\x1f\x7f%/\\:*?"<>|\ud800-\udfff]|^[. ]|[. ]$""")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def file_name(name: str) -> str:
    """The name of a file for a sample's name, without a suffix. Different names have different files."""
    safe = _AMISS.sub(lambda found: _escaped(found[0]), name)
    if _RESERVED.match(safe):
        safe = _escaped(safe[0]) + safe[1:]
    if len(safe.encode()) <= MOST_BYTES:
        return safe or "%"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    begin = safe.encode()[: MOST_BYTES - len(digest) - 2].decode(errors="ignore")
    return f"{begin}%~{digest}"


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
