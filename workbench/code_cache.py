"""Where numba keeps compiled code.

Numba's on-disk cache looks only at the file of the function itself: an edited callee, or a tracker in
another file, would go unnoticed. So the cache lives in a folder named by a hash of the whole package
and of numba's version; an edit anywhere opens a new folder.
"""

import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

import numba

PACKAGE = Path(__file__).parent
KEEP_FOLDERS = 4  # caches of the last few versions of the sources; older ones are removed
KEEP_OWN = 16  # and, of each, of the last few trackers from users' files


@cache
def source_hash() -> str:
    """Hash of every module of the package, with numba's version: it names what made a result.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gup-pin-workbench"


def point_cache_at_sources() -> None:
    """Have numba keep compiled code in the folder of these sources; older ones are removed."""
    root = _cache_root()
    folder = root / source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(root.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:  # a read-only home: numba then keeps its own counsel
        return
    numba.config.CACHE_DIR = str(folder)
    for stale in others[KEEP_FOLDERS:]:
        shutil.rmtree(stale, ignore_errors=True)


def own_folder(name: str) -> Path | None:
    """Make the folder for one tracker from a user's file.

    Parameters
    ----------
    name : str
        Names the text of the file: an edited one has another name.

    Returns
    -------
    Path or None
        None: nothing can be kept here.
    """
    if not numba.config.CACHE_DIR:
        return None
    folder = Path(numba.config.CACHE_DIR) / "own" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(folder.parent.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return None
    for stale in others[KEEP_OWN:]:
        shutil.rmtree(stale, ignore_errors=True)
    return folder
