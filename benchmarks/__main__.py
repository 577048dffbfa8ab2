"""``python -m benchmarks``: the same as ``workbench bench``."""

import sys

from workbench.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
