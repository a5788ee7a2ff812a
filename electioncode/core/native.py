"""Import the native modules. Nothing else does: whoever needs them asks here."""

from __future__ import annotations

from typing import Any

from electioncode.core import _core

try:
    from electioncode.core import _cuda

    cuda: Any = _cuda
    why_no_cuda = ""
except ImportError as error:  # built without it, or its libraries are missing
    cuda, why_no_cuda = None, str(error)

cpu: Any = _core  # untyped, since arguments are handed over by the tuple
checksum = _core.checksum
