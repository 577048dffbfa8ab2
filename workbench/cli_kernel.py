"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

from workbench.usage import Add, commands


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel vma --ops 10000")
    under = commands(parser)
