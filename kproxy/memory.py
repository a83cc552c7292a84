"""What the process does with its memory once everything there is has been planned and written."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Give back what only the start needed, and let the garbage collector pass over what lives on.

    The collector is off until then: nearly every object of the start lives on, and looking for garbage among them
    would double its time. glibc keeps freed memory below what is still in use; it is told to let go of it.
    """
    gc.freeze()
    gc.enable()
    give_back()


def give_back() -> None:
    """Let glibc give the kernel what was freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
