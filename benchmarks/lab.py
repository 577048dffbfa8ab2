"""A JupyterLab and a browser of one's own, for tests and benchmarks of what is seen: both end with the context."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

START_S = 60.0
COMPILE_S = 900.0  # a few engines, on a busy machine
# As root chromium has no sandbox to give; the others keep it from looking for hosts that are not there.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
}


class Lab(NamedTuple):
    """A running server: where it listens, its token, and the folder that it shows."""

    url: str
    token: str
    folder: Path


def missing() -> str:
    """Say what is not there of what these need; empty: nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright"
    return "" if chromium() else "chromium is not installed: apt-get install chromium"


def chromium() -> str | None:
    """Find the system's browser."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def jupyterlab() -> Iterator[Lab]:
    """Start JupyterLab on a free port of the loopback, with a token, in an empty folder, knowing no settings.

    Raises
    ------
    RuntimeError
        If it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-lab-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / "notebooks"
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder)
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "jupyterlab", *_options(port, folder)]
            server = subprocess.Popen(
                command, cwd=folder, env=_environment(Path(scratch), lab.token), stdout=out, stderr=subprocess.STDOUT
            )
        try:
            _wait(lab, server, log)
            yield lab
        finally:
            _end(server)


def _options(port: int, folder: Path) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": os.geteuid() == 0,
        "ServerApp.kernel_websocket_connection_class": "workbench.lab.PromptConnection",  # as in `make lab`
        # Where this process is killed, nobody ends the server: it ends by itself then.
        "MappingKernelManager.cull_idle_timeout": 300,
        "ServerApp.shutdown_no_activity_timeout": 300,
        "LabApp.expose_app_in_browser": True,  # commands can then be given without looking for their menus
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _environment(scratch: Path, token: str) -> dict[str, str]:
    folders = {
        name: str(scratch / name.lower())
        for name in (
            *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"),
            *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"),
        )
    }
    for name, settings in SETTINGS.items():
        path = Path(folders["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", f"{name}.jupyterlab-settings")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    return os.environ | folders | {"JUPYTER_TOKEN": token, "JUPYTER_PREFER_ENV_PATH": "1"}


def _wait(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab does not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and all of its kernels, whatever they do."""
    import psutil

    try:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for process in alive:
        process.kill()
    server.wait()


@contextmanager
def browser_page() -> Iterator[Any]:
    """Open a page of a browser that knows nothing, and may use the clipboard."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            context = browser.new_context(viewport={"width": 1500, "height": 1000})
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            yield context.new_page()
        finally:
            browser.close()


def new_notebook(lab: Lab, name: str, cells: Sequence[str]) -> None:
    """Write a notebook of code cells into the lab's folder."""
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, lab.folder / name)


def open_notebook(page: Any, lab: Lab, name: str) -> None:
    """Open a notebook of the lab's folder, and wait until its kernel has nothing to do."""
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    wait_until_idle(page)


def run_all(page: Any) -> None:
    """Run all cells of the notebook, and wait until that is done."""
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait_until_idle(page, COMPILE_S)


def wait_until_idle(page: Any, timeout_s: float = 60.0) -> None:
    """Wait until the kernel has had nothing to do for a moment."""
    page.wait_for_function(
        """() => {
            const panel = window.jupyterapp?.shell.currentWidget;
            const kernel = panel?.sessionContext?.session?.kernel;
            const cells = document.querySelectorAll('.jp-InputPrompt');
            const busy = [...cells].some(cell => cell.textContent.includes('*'));
            if (kernel?.status !== 'idle' || busy) { window.idleSince = 0; return false; }
            window.idleSince ||= performance.now();
            return performance.now() - window.idleSince > 300;
        }""",
        timeout=timeout_s * 1000,
    )
