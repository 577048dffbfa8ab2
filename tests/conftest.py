"""What all tests share."""

import os
import signal

import pytest
from hypothesis import settings

from workbench.accelerate import JIT_ENABLED

os.environ.setdefault("MPLBACKEND", "Agg")  # no window, whatever the machine has
os.environ.pop("WORKBENCH_COSTS", None)  # published figures are met with the built-in table

# Commands are told to end by these, which a shell has those in the background ignore, and all that they start.
for number, how in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, how)

# The same examples in every run, and no deadline: the first call of a compiled function takes seconds.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.load_profile("ci")


@pytest.fixture
def jit_enabled() -> bool:
    """Whether numba compiles in this run, or the same code runs as plain Python."""
    return JIT_ENABLED
