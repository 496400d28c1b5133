"""How is a file made that nobody else reads, wherever its folder is and whatever the umask says?"""

from __future__ import annotations

import os


def private(path: str, flags: int) -> int:
    """Open a file, as the `opener` of `open`: one that has to be made is its owner's alone (mode 600)."""
    return os.open(path, flags, 0o600)
