"""How far a batch is: one bar in a terminal or a notebook, a line now and then elsewhere."""

import sys
from time import monotonic
from typing import Any, TextIO

from tqdm import tqdm

LINE_S = 10.0


class Progress:
    """Points done and failed, their rate, and the time left."""

    def __init__(self, total: int, before: int, stream: TextIO):
        self.total, self.before, self.stream = total, before, stream
        self.good = self.bad = 0
        self.start = self.told = monotonic()
        self.bar: Any = None
        settings = {"total": total, "initial": before, "unit": "point", "dynamic_ncols": True}
        if _in_notebook():
            from tqdm.notebook import tqdm as widget

            self.bar = widget(**settings)
        elif stream.isatty():
            self.bar = tqdm(**settings, file=stream)

    def __enter__(self) -> "Progress":
        if self.bar is None and self.before < self.total:
            self._line(f"{self.total} points, {self.before} of them done before")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def done(self) -> None:
        """One more point is in the store."""
        self.good += 1
        if self.bar is not None:
            self.bar.update()

    def failed(self, what: str) -> None:
        """One more point has failed; `what` says which, and why."""
        self.bad += 1
        if self.bar is None:
            self._line(f"failed: {what}")
        else:
            self.bar.write(f"failed: {what}", file=self.stream)
            self.bar.set_postfix_str(f"{self.bad} failed", refresh=False)
            self.bar.update()

    def show(self) -> None:
        """Say how far it is, if that has not been done lately."""
        now = monotonic()
        if self.bar is not None:
            self.bar.refresh()
        elif now - self.told > LINE_S and (ended := self.good + self.bad):
            self.told = now
            rate = ended / (now - self.start)
            left = (self.total - self.before - ended) / rate
            self._line(
                f"{self.before + self.good} of {self.total} points done, {self.bad} failed, "
                f"{rate:.3g} points/s, {left:.0f} s left"
            )

    def _line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
