# SPDX-License-Identifier: MIT
"""What is kept between runs: kernels and roots, outside of the clone, whole or not at all."""
import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile


def folder():
    path = pathlib.Path(os.environ.get("SKEP_TEST_CACHE") or "/var/cache/skep-test") / "kernels"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked():
    """Nobody else makes anything there meanwhile. What a run that was killed has left half done goes."""
    with open(folder() / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder().glob("making-*"):
            remove(left)
        yield


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def making(place, others):
    """A folder to make something in: whoever holds the lock calls this, and sets the folder's `result`
    in the end. Then `place` is that, and what matches `others` beside it is gone."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="making-", dir=folder()))
    work.chmod(0o755)
    try:
        yield work
        os.sync()
        os.rename(work / "result", place)
        for other in folder().glob(others):
            if other != place:
                remove(other)
    finally:
        remove(work)
