"""What benchmarks ran on."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding
import numba

from workbench.code_cache import source_hash


def machine() -> dict[str, str]:
    """Describe the machine and what compiled the programs; keys are words for a table.

    Returns
    -------
    dict of str to str
        ``load`` is that of now.
    """
    return {
        "CPU": cpu(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "numba": numba.__version__,
        "LLVM": ".".join(map(str, llvmlite.binding.llvm_version_info)),
        "numpy": version("numpy"),
        "gcc": tool("gcc", "-dumpfullversion"),
        "spin": tool("spin", "-V").removeprefix("Spin Version "),
        "sources": source_hash(),
        "load": load(),
    }


def cpu() -> str:
    """Name of the processor, or of its architecture where /proc/cpuinfo has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, told = line.partition(":")
        if name.strip() == "model name":
            return told.strip()
    return platform.machine()


def tool(name: str, *arguments: str) -> str:
    """First line of what a tool says of its version, or that it is not there."""
    path = shutil.which(name)
    if path is None:
        return "not installed"
    told = subprocess.run([path, *arguments], capture_output=True, text=True).stdout.splitlines()
    return told[0].strip() if told else "installed"


def load() -> str:
    """Processes that ran or wanted to, on average over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"
