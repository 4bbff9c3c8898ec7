"""Make file names of names from the data: none leaves its folder, and different names have different files.

A name is kept but for what file systems refuse, which becomes `%` and two hexadecimal digits for each byte, as in web
addresses: `%`, control characters, `/ \\ : * ? " < > |`, a dot or space at either end, and the first letter of the
names that Windows reserves. `../../x` is `%2E.%2F..%2Fx`. The empty name is `%`. A name that would be too long is cut
and ends with `%~` and a digest of all of it.
"""

from __future__ import annotations

import hashlib
import re

MAX_BYTES = 200  # file systems take 255; the rest is for suffixes, and for the names of copies
_UNSAFE = re.compile(r"""[\x00-\x1f\x7f%/\\:*?"<>|\ud800-\udfff]|^[. ]|[. ]$""")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def file_name(name: str) -> str:
    """Return the file name for a sample's name, without a suffix."""
    safe = _UNSAFE.sub(lambda match: _escaped(match[0]), name)
    if _RESERVED.match(safe):
        safe = _escaped(safe[0]) + safe[1:]
    if len(safe.encode()) <= MAX_BYTES:
        return safe or "%"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    begin = safe.encode()[: MAX_BYTES - len(digest) - 2].decode(errors="ignore")
    return f"{begin}%~{digest}"


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
