"""Freed memory is overwritten, so that nothing in a process tells of people who were erased.

Python keeps small objects that were freed in pools of its own, and glibc keeps the content of what was freed, so a name
that was sent or answered once could be read from the process long after. Settings change that; all but the last are
read when a process begins, so a command replaces itself once by a copy of itself that has them:

- ``PYTHONMALLOC=malloc``: Python asks the C library for every object (Python docs, "Command line and environment").
- ``glibc.malloc.tcache_count=0``: a block that is kept for its thread would not be overwritten (glibc manual, "Memory
  Allocation Tunables"; `_int_free` in its malloc/malloc.c).
- ``glibc.malloc.arena_max=2``: with a heap for every thread, cameras that come and go leave heaps behind which are full
  of holes, and a worker with eight of them grew from 450 to 620 MB within half an hour.
- ``glibc.malloc.perturb``, in a running process `M_PERTURB` of mallopt(3): `free` overwrites all but the last eight
  bytes of a block. It costs inference some CPU, so a process that handles names in one place alone does it there.

Other C libraries know the first alone; with them freed memory keeps what it held.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np

SMALL, KEPT = 1024, 7
M_PERTURB = -6  # malloc.h
FILL = 0x55
NOTHING_KEPT = "glibc.malloc.tcache_count=0"
FEW_HEAPS = "glibc.malloc.arena_max=2"
ALWAYS = f"glibc.malloc.perturb={FILL}"


def overwrite_kept_arrays() -> None:
    """Overwrite what numpy keeps: of each size below 1024 bytes up to seven freed blocks (`alloc.c`), templates too."""
    for size in range(1, SMALL):
        for array in [np.empty(size, np.uint8) for _ in range(KEPT)]:
            array.fill(FILL)


def give_back() -> None:
    """Give free pages between used ones back to the system (malloc_trim(3)); nothing else ever does."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def begin_anew(*, always: bool) -> None:
    """Replace this process by one that can overwrite what it frees; without effect in one that can.

    Process id, files, arguments and the rest of the environment stay. For a program's entry, before anything is begun.

    Args:
        always: overwrite everything that is freed; else only in blocks of `Overwriting.freed`.
    """
    before = os.environ.get("GLIBC_TUNABLES", "")
    ours = (NOTHING_KEPT, FEW_HEAPS, ALWAYS) if always else (NOTHING_KEPT, FEW_HEAPS)
    tunables = [one for one in before.split(":") if one]
    tunables += [one for one in ours if one not in tunables]
    wanted = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": ":".join(tunables)}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


class Overwriting:
    """Switches the overwriting of freed memory, of this whole process. Threads share one object."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0  # that run now
        self._always = ALWAYS in os.environ.get("GLIBC_TUNABLES", "").split(":")
        self._mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone

    @contextmanager
    def freed(self) -> Iterator[None]:
        """Overwrite what is freed while the block runs, by any thread."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._blocks += step
            if self._mallopt is not None and not self._always:
                self._mallopt(M_PERTURB, FILL if self._blocks else 0)
