"""The naive twin of the VMAs against the running kernel: the crisp cases, and random sequences with forks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import naive_vma
import pytest

from workbench.kernel import libc, needs

LIVE = Path(__file__).with_name("live_vma.py")
OPERATIONS = 2000
OLDEST = (6, 17)

MUTANTS = {
    "merges with an inherited VMA": ("return len(a.chain) + len(b.chain) <= 1", "return True"),
    "merges two anon_vmas": ("            right = None\n", "            pass\n"),
    "asks for the same inode only": ("a.file is b.file and one_anon", "inode_of(a) is inode_of(b) and one_anon"),
    "never borrows an anon_vma": ("self.borrowed_anon_vma(v) or AnonVma()", "AnonVma()"),
    "keeps the offset of what moves": ("piece.pgoff = to ", "pass "),
    "merges late": ("if flags != v.flags:\n            [piece]", "if True:\n            [piece]"),
    "does not fill what is locked and becomes writable": ('if "wr" in wanted and "lo" in v.flags', "if False"),
    "fills nothing that grows while it is locked": (
        'if "lo" in v.flags:\n            self.populate(end',
        "if False:\n            self.populate(end",
    ),
    "a child inherits no chain": ("(*v.chain, AnonVma())", "(AnonVma(),)"),
}
INODE_OF = "\n\ndef inode_of(v):\n    return v.file and v.file.inode\n"


def check_kernel() -> None:
    """Raise `needs.Unavailable` where other rules hold than those that the twin has."""
    needs.linux()
    if needs.kernel_version() < OLDEST:
        raise needs.Unavailable("needs Linux 6.17 or newer: mremap moves several VMAs")
    if os.uname().machine != "x86_64":
        raise needs.Unavailable("needs x86-64: pages that may be written may be read")
    needs.sound_vma_merges()
    needs.vma_flags()


@pytest.fixture(scope="module", autouse=True)
def kernel():
    try:
        check_kernel()
    except needs.Unavailable as missing:
        pytest.skip(str(missing))


def live(operations: int, seed: int, script: Path = LIVE) -> dict:
    command = [sys.executable, str(script), str(operations), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", [1, 2])
def test_twin_agrees_with_the_kernel(seed):
    found = live(OPERATIONS, seed)
    assert found["wrong"] is None
    assert found["operations"] >= OPERATIONS
    assert 0.2 < found["failed"] / found["operations"] < 0.6, "calls that fail are compared too"


@pytest.mark.parametrize("name", MUTANTS)
def test_kernel_tells_a_twin_that_is_wrong(name, tmp_path):
    source = Path(naive_vma.__file__).read_text(encoding="utf-8")
    old, new = MUTANTS[name]
    assert source.count(old) == 1
    (tmp_path / "naive_vma.py").write_text(source.replace(old, new) + INODE_OF, encoding="utf-8")
    for file in ("live_vma.py", "vma_cases.py", "vma_random.py"):
        (tmp_path / file).write_text(LIVE.with_name(file).read_text(encoding="utf-8"), encoding="utf-8")
    assert live(0, 0, tmp_path / LIVE.name)["wrong"]


@pytest.mark.parametrize("name, more", [("mlock2", (0,)), ("mlock", ()), ("munlock", ()), ("mremap", (1 << 12, 0))])
def test_a_call_that_fails_is_told_from_one_that_returns_a_word(name, more):
    """Functions of the C library return an int or a long; -1 is -1."""
    with pytest.raises(OSError, match=name):
        libc.call(name, 1 << 46, 1 << 12, *more)
