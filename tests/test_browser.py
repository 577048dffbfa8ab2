"""The explorer notebook in a real JupyterLab, in a real browser: what a hand on mouse or keyboard brings about.

JupyterLab logs no error of its own on a blank notebook, so none is let pass.
"""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import lab

if not lab.missing():
    from playwright.sync_api import expect

pytestmark = [
    pytest.mark.jit_only,
    pytest.mark.skipif(bool(lab.missing()), reason=lab.missing() or "all is there"),
]
NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "11_explorer.ipynb"
MS = 20_000  # the machine may be busy
# Whose text is too faint for its background, by WCAG's contrast (4.5 is its level AA), with a few words of it.
FAINT = """root => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * x + .7152 * y + .0722 * z;
    };
    const below = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = rgb(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] > .9) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const e of root.querySelectorAll('td, th, label, p, code, span, text, button, textarea, [role=status]')) {
        const words = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('') || e.value || '';
        if (!words || !e.getClientRects().length || e.closest('tr')?.style.opacity) continue;
        const style = getComputedStyle(e);
        const [a, b] = [light(rgb(e.tagName === 'text' ? style.fill : style.color)), light(below(e))];
        const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (contrast < 4.5) found.push(`${words.slice(0, 40)}: ${contrast.toFixed(1)}`);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def opened():
    """The notebook, run; where its files are; and what went wrong in the browser."""
    errors = []
    with lab.jupyterlab() as server, lab.browser_page() as page:
        page.set_default_timeout(MS)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        (server.folder / "notebooks").mkdir()
        shutil.copy(NOTEBOOK, server.folder / "notebooks")
        lab.open_notebook(page, server, f"notebooks/{NOTEBOOK.name}")
        lab.run_all(page)
        yield page, server.folder, errors


@pytest.fixture
def page(opened):
    yield opened[0]
    assert opened[2] == [], "errors in the browser's console"


@pytest.fixture
def direct(page):
    """The explorer of direct IO, in sight."""
    shown = page.locator(".workbench-explorer").first
    shown.locator(".workbench-figure").scroll_into_view_if_needed()
    lab.wait_until_idle(page)
    return shown


@pytest.fixture
def played(page):
    """The player, in sight."""
    shown = page.locator(".workbench-player")
    shown.scroll_into_view_if_needed()
    return shown


def row_of(shown, name):
    """A parameter's control: the box that its label stands in."""
    return shown.locator(".widget-inline-hbox", has=shown.page.get_by_text(name, exact=True))


def says(shown):
    return shown.locator("[role=status]").first


def wait_until_it_says(shown, text):
    expect(says(shown)).to_have_text(re.compile(text), timeout=MS)


def at_step(played, number):
    played.get_by_text(f"step {number} of 40", exact=False).wait_for()
    assert played.locator("[aria-current=step] td").first.text_content() == str(number)


def test_no_cell_failed_and_each_explorer_has_drawn(page):
    expect(page.locator(".workbench-figure > svg")).to_have_count(3, timeout=MS)
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0
    for figure in page.locator(".workbench-figure > svg").all():
        assert figure.locator("path, rect").count() > 10


def test_a_key_on_a_slider_gives_another_figure_and_other_counts(direct):
    figure, table = direct.locator(".workbench-figure"), direct.locator("table")
    before = figure.inner_html(), table.inner_html()
    row_of(direct, "qd").locator(".noUi-handle").press("ArrowRight")
    wait_until_it_says(direct, r"\bqd=96\b")
    assert "96 direct IOs" in row_of(direct, "qd").inner_text()
    assert figure.inner_html() != before[0] and table.inner_html() != before[1]
    row_of(direct, "qd").locator(".noUi-handle").press("ArrowLeft")
    wait_until_it_says(direct, r"\. ios=400$")
    assert (figure.inner_html(), table.inner_html()) == before


def test_of_a_drag_the_last_place_is_shown(page, direct):
    """Moves come faster than runs: those between are dropped, the last is not."""
    handle = row_of(direct, "latency_us").locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(0, 200, 4):  # past the end of the slider
        page.mouse.move(x + k, y)
    page.mouse.up()
    wait_until_it_says(direct, r"\blatency_us=1000000\.0\b")
    assert row_of(direct, "latency_us").locator(".widget-readout").inner_text() == "1000000 us"
    handle.press("Home")
    wait_until_it_says(direct, r"\blatency_us=0\.1\b")


def test_copies_reach_the_clipboard(page, direct):
    for what, start in (("command line", "workbench simulate direct-io --design v4.17 "), ("sweep spec", "scenario =")):
        direct.get_by_role("button", name=f"Copy as {what}").press("Enter")
        direct.get_by_role("button", name="Copied").wait_for()
        box = direct.get_by_role("textbox", name=what)
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == box.input_value() and copied.startswith(start)
        direct.get_by_role("button", name=f"Copy as {what}").wait_for()


def test_save_writes_the_figure(opened, direct):
    direct.get_by_role("button", name="Save this figure").press("Space")
    wait_until_it_says(direct, "saved .*direct-io_latency_")
    folder = opened[1] / "figures" / "explorer"
    assert sorted(path.suffix for path in folder.glob("direct-io_latency_*")) == [".pdf", ".png", ".svg", ".txt"]


def test_every_control_is_reached_and_moved_by_keys(page, direct):
    """Tab goes through all; the space bar ticks, arrows choose and open."""
    count = direct.evaluate(
        """shown => {
            const native = 'input:not([type=hidden]), select, button, textarea, .noUi-handle';
            window.unseen = new Set([...shown.querySelectorAll(native)].filter(e => e.getClientRects().length));
            return window.unseen.size;
        }"""
    )
    direct.get_by_role("checkbox").first.focus()
    for _ in range(3 * count):
        left = page.evaluate("() => { window.unseen.delete(document.activeElement); return window.unseen.size; }")
        if not left:
            break
        page.keyboard.press("Tab")
    assert left == 0, page.evaluate("() => [...window.unseen].map(e => e.outerHTML.slice(0, 120))")

    legend = direct.locator(".workbench-figure > div")
    box = direct.get_by_role("checkbox", name="v4.17")
    box.press("Space")
    legend.get_by_text("v4.17").wait_for(state="detached")
    box.press("Space")
    legend.get_by_text("v4.17").wait_for()
    cells = page.locator(".jp-Cell").count()
    direct.get_by_role("combobox").filter(has_text="Pinned pages over time").press("ArrowDown")
    direct.get_by_role("img", name="Time in submission (slat)").wait_for()
    direct.get_by_role("combobox").filter(has_text="iomap").press("i")  # and no key is a command of the notebook's
    wait_until_it_says(direct, "dio=iomap")
    direct.get_by_role("combobox").filter(has_text="iomap").press("b")
    row_of(direct, "qd").locator(".noUi-handle").press("ArrowUp")
    wait_until_it_says(direct, r"\bqd=96\b")
    assert page.locator(".jp-Cell").count() == cells
    typed = direct.get_by_placeholder("preset or parts, then Enter")
    typed.fill("v4.18")
    typed.press("Enter")
    wait_until_it_says(direct, "design 'v4.18': did you mean")
    typed.fill("v5.7")
    typed.press("Enter")
    legend.get_by_text("v5.7").wait_for()


def test_what_can_not_be_is_one_line(direct):
    direct.get_by_role("button", name="All other parameters").press("Enter")
    handle = row_of(direct, "threads [threads]").locator(".noUi-handle")
    handle.wait_for()
    handle.press("ArrowRight")
    handle.press("ArrowRight")
    wait_until_it_says(direct, "^parameter threads: 2 are more than there are CPUs")
    assert "Traceback" not in direct.inner_text()
    handle.press("Home")
    wait_until_it_says(direct, "^Model;")


def test_player_is_stepped_by_mouse_and_keys(page, played):
    at_step(played, 1)
    forward = played.get_by_role("button", name="Forward")
    forward.click()
    at_step(played, 2)
    forward.press("Enter")
    at_step(played, 3)
    forward.press("Space")
    at_step(played, 4)
    played.get_by_role("button", name="Back").click()
    at_step(played, 3)
    played.locator(".noUi-handle").press("ArrowRight")
    at_step(played, 4)
    played.get_by_role("button", name="Last").press("Enter")
    at_step(played, 40)
    assert "bufferless-dirty" in played.locator("[aria-current=step]").text_content()
    played.get_by_role("button", name="First").press("Enter")
    at_step(played, 1)


def test_player_plays_by_itself(played):
    play = played.locator(".widget-play button")
    play.first.press("Enter")
    at_step(played, 3)
    play.last.press("Enter")
    played.get_by_role("button", name="First").click()
    at_step(played, 1)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_all_text_can_be_read_in_both_themes(page, direct, played, theme, tmp_path):
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    page.wait_for_selector(f'body[data-jp-theme-name="{theme}"]', state="attached")
    page.wait_for_timeout(500)
    assert page.evaluate(f"({FAINT})(document.body.querySelector('.workbench-explorer'))") == []
    assert played.evaluate(FAINT) == []
    assert len(page.screenshot(path=tmp_path / "shown.png")) > 20_000
