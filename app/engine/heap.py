"""The heap of the C library, which holds everything large: pictures and activations."""

import ctypes
import os
from functools import cache


@cache
def keep_memory() -> bool:
    """Let this process reuse freed memory instead of returning it to the system; return success.

    By default glibc returns every large block to the system and gets it back zeroed, which slows
    down large images. Keeping the blocks, in one heap for all threads and without mapping any of
    them separately, takes less memory than ONNX Runtime's arenas. glibc decides once how many heaps
    to have, when a second thread first allocates: call this before.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # from malloc.h
    wanted = ((arena_max, 1), (mmap_max, 0), (top_pad, 2**28), (trim_threshold, 2**30))
    return all(mallopt(name, value) == 1 for name, value in wanted)
