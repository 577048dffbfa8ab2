"""Reports: what is in them, that nothing of what they are made of is run, and one line for what is wrong."""

import base64
import copy
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from verdicts import reached, verdict

from workbench import batch, charts, cli, export, provenance, results
from workbench.errors import UsageError
from workbench.report import (
    FORMATS,
    Picture,
    Raw,
    Report,
    Table,
    Verbatim,
    figures,
    from_notebook,
    from_results,
    from_verdict,
)
from workbench.report.as_html import as_html
from workbench.report.as_markdown import as_markdown
from workbench.report.as_text import as_text, shell
from workbench.report.frames import tables
from workbench.report.prose import escaped, is_number, to_html, to_markdown, to_text

COSTS = {"name": "published-4.20", "provenance": "published"}
EVIL = "<script>alert(1)</script> ![x](http://evil/x.png) \x1b[31m|`*\u202e"
PARAMETERS = """quick: bool = False  # less of everything
figures_dir: str = "../figures"  # where figures are left
depth: int = 1  # direct IOs in flight
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="1in">{}</svg>'


# ---- notebooks made by hand


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(source, *outputs, tags=(), count=1):
    return {
        "cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "execution_count": count,
        "outputs": list(outputs),
    }  # fmt: skip


def shows(**data):
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": {"text/plain": ["something"], **data}}


def prints(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def book(*cells, **injected):
    papermill = {"papermill": {"parameters": injected}} if injected else {}
    about = {**papermill, "language_info": {"version": "3.11.7"}}
    first = [
        markdown("# What is asked\n\n**The claim.** Somebody said so, 2018-01-03."),
        code(PARAMETERS, tags=["parameters"]),
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": [*first, *cells]}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a figure, and a notebook that has shown it."""
    folder = tmp_path_factory.mktemp("figures")
    frame = pd.DataFrame({"design": ["v4.17"] * 3 + ["v6.12"] * 3, "qd": [1, 4, 16] * 2, "iops": range(6)})
    fig, text = charts.lines(frame, "qd", "iops", caption="Model; made up.", title="Six points")
    made_by = provenance.provenance(scenario="direct-io", parameters={"qd": [1, 4]}, seed=3, costs=COSTS)
    charts.save(fig, "six", folder, text, made_by, ["Kara 2018-06-25"])
    png, _ = fig._repr_png_()
    html = frame.head(2).to_html()
    cells = [
        code("show()", shows(image_png=base64.b64encode(png).decode()), prints("one  two\n" + "x" * 100 + "\n")),
        code("frame", shows(text_html=html), prints("noise", "stderr")),
        code("%%writefile mine.py\nx = 1", prints("Writing mine.py\n")),
        code("write()", {**shows(text_plain="PosixPath('/tmp/x/y.parquet')"), "output_type": "execute_result"}),
        code(
            "say()",
            shows(text_markdown=["What it shows:\n", "\n", "- µs \u2192 nothing; see [the mail](http://lore/x)"]),
        ),
    ]
    (folder / "notebooks").mkdir()
    told = book(*cells, quick=True, figures_dir="/somewhere/else", depth=4)
    (folder / "notebooks" / "own.ipynb").write_text(json.dumps(told))
    return folder


@pytest.fixture
def notebook(made) -> str:
    return str(made / "notebooks" / "own.ipynb")


def written(what, form, **wanted):
    return export.content(export.export(str(what), export.Wanted(form, **wanted)), form, "r_files")


class Page(HTMLParser):
    """Collects elements, and sees that they are closed in their order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check_page(content: bytes) -> Page:
    """One file, no scripts, nothing fetched."""
    page = Page(content.decode())
    for tag, attributes in page.seen:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form", "svg", "a"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "background")]
        assert attributes.get("src", "data:image/png").startswith("data:image/")
        assert "url(" not in (attributes.get("style") or "")
    assert re.search(rb"<style>[^<]*</style>", content) and b"url(" not in content and b"@import" not in content
    return page


# ---- a notebook in each format


def test_text_has_72_columns_and_everything_but_colours(notebook):
    content, files = written(notebook, "txt")
    text = content.decode()
    assert files == {} and content.isascii() and max(map(len, text.split("\n"))) <= 72
    assert text.startswith("What is asked\n=============\n\nThe claim. Somebody said so, 2018-01-03.\n")
    assert "Figure 1. Six points\n" in text and "From: Kara 2018-06-25" in text
    assert "x" * 100 in text.replace("\n  ", "")  # what is too long goes on in the next line
    assert "- us -> nothing; see the mail (http://lore/x)" in text
    assert re.search(r"design +qd +iops\n.*\n0 +v4.17 +1 +0\n1 +v4.17 +4 +1\n", text)
    assert re.search(r"quick +true +false +less of everything\ndepth +4 +1 +direct IOs", text)
    assert "workbench run own.ipynb -p quick=true depth=4 --out figures\n" in text
    assert "workbench export figures/notebooks/own.ipynb --format txt\n" in text
    assert provenance.source_hash() in text and "published-4.20 (published)" in text and "3.11.7" in text
    for hidden in ("noise", "mine.py", "PosixPath", "show()", "somewhere", "Made by"):
        assert hidden not in text


def test_html_is_one_file_with_its_figures_in_it(notebook):
    page = check_page(written(notebook, "html")[0])
    [image] = [attributes for tag, attributes in page.seen if tag == "img"]
    assert image["alt"] == "Six points" and image["style"] == "width: 7.2in"
    kind, _, coded = image["src"].partition(";base64,")
    root = ElementTree.fromstring(base64.b64decode(coded))
    assert kind == "data:image/svg+xml" and root.get("width") == "518.4pt"
    assert [tag for tag, _ in page.seen if tag in ("h1", "h2")] == ["h1", "h2", "h2", "h2"]
    assert "Figure 1 as text" in page.text and "the mail (http://lore/x)" in page.text
    assert ("td", {"class": "n"}) in page.seen


def test_markdown_has_its_figures_beside_it(notebook, tmp_path):
    content, files = written(notebook, "md")
    text = content.decode()
    assert sorted(files) == ["six.pdf", "six.png", "six.svg"]
    assert "![Six points](r_files/six.svg)" in text and text.startswith("# What is asked\n")
    assert "| 0 | v4.17 | 1 | 0 |" in text and "| ---: | --- | ---: | ---: |" in text
    out = tmp_path / "a b.md"
    assert cli.main(["export", notebook, "--out", str(out)]) == 0
    link = re.search(r"!\[Six points\]\(([^)]*)\)", out.read_text())[1]
    assert link == "a%20b_files/six.svg"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a b.md", "a b_files", *sorted(files)]
    assert (tmp_path / "a b_files" / "six.svg").read_bytes() == files["six.svg"]


def test_text_says_once_what_is_drawn_and_printed():
    drawn = Picture("f", text="Title\n\na step\n another\n\nModel; made up.")
    report = Report("R", (drawn, Verbatim("Said.\n\na step\n another\n\nMore.\n"), Verbatim("\n")))
    assert as_text(report) == b"R\n=\n\nFigure 1. Title\n\na step\n another\n\nModel; made up.\n\nSaid.\n\nMore.\n"


@pytest.mark.parametrize("form", FORMATS)
def test_same_input_same_bytes(notebook, form):
    assert written(notebook, form) == written(notebook, form)


def test_code_is_kept_if_asked_for(notebook):
    text = written(notebook, "md", code=True)[0].decode()
    assert "```python\nshow()\n```" in text and "%%writefile mine.py" in text
    assert "figures_dir: str" not in text  # the table of parameters says it better


def test_a_notebook_that_was_run_with_a_cost_table_of_a_file(tmp_path):
    own = COSTS | {"sha256": "ab" * 32}
    fig, text = charts.lines(pd.DataFrame({"qd": [1, 2], "iops": [3, 4]}), "qd", "iops", hue=None, caption="Model.")
    charts.save(fig, "own", tmp_path, text, provenance.provenance(costs=own))
    path = tmp_path / "01_golden_race.ipynb"
    png = base64.b64encode(fig._repr_png_()[0]).decode()
    path.write_text(json.dumps(book(code("fig", shows(image_png=png)))))
    text = written(path, "txt")[0].decode()
    run, export_it = in_a_shell(text.split("To make this again\n------------------\n")[1])
    assert run == "workbench run 01_golden_race --costs published-4.20.json --out figures".split()
    assert export_it == "workbench export figures/notebooks/01_golden_race.ipynb --format txt".split()
    assert "ab" * 32 in "".join(text.split())


def test_figures_of_one_column(made, notebook, capsys):
    wide, narrow = (written(notebook, "md", columns=n)[1]["six.png"] for n in (2, 1))
    assert (figures.png_size(wide)[0], figures.png_size(narrow)[0]) == (1440, 700)
    assert narrow == (made / "one-column" / "six.png").read_bytes()
    page = check_page(written(notebook, "html", columns=1)[0])
    assert [a["style"] for tag, a in page.seen if tag == "img"] == ["width: 3.5in"]
    assert "--columns 1" in page.text


def test_figures_that_were_not_drawn_for_one_column_stay_wide(made, notebook, tmp_path):
    (tmp_path / "notebooks").mkdir()
    for kind in ("svg", "png", "txt"):
        (tmp_path / f"six.{kind}").write_bytes((made / f"six.{kind}").read_bytes())
    copied = tmp_path / "notebooks" / "own.ipynb"
    copied.write_text(Path(notebook).read_text())
    said = []
    export.export(str(copied), export.Wanted("html", columns=1), say=said.append)
    assert len(said) == 1 and "no figure" in said[0]


def test_a_figure_without_its_files_is_shown_as_it_was(notebook, tmp_path):
    alone = tmp_path / "alone.ipynb"
    alone.write_text(Path(notebook).read_text())
    assert "[Figure 1: cell-3-1; there is no text of it.]" in written(alone, "txt")[0].decode()
    page = check_page(written(alone, "html")[0])
    [image] = [attributes for tag, attributes in page.seen if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,")


def test_a_figure_is_recognised_by_its_pixels_not_by_its_name(made, notebook, tmp_path):
    """One that was drawn since, under the same name, is not taken for the one that the notebook has shown."""
    (tmp_path / "notebooks").mkdir()
    other = tmp_path / "notebooks" / "own.ipynb"
    other.write_text(Path(notebook).read_text())
    frame = pd.DataFrame({"design": ["v4.17"] * 2, "qd": [1, 2], "iops": [1, 2]})
    fig, text = charts.lines(frame, "qd", "iops", caption="Model; another.", title="Another")
    charts.save(fig, "six", tmp_path, text, provenance.provenance())
    assert "Another" not in written(other, "txt")[0].decode()


def test_hostile_content_is_text(tmp_path):
    cells = [
        markdown(f"{EVIL}\n\n<img src=http://evil/x onerror=alert(1)>\n\n[a](javascript:alert(1)) `<b>`"),
        code("x", prints(EVIL)),
        code("x", shows(text_html=f"<table onclick=x><script>bad()</script><tr><th>{EVIL}<tr><td><iframe src=x>cell")),
        code("x", shows(text_markdown="# <svg onload=alert(1)>")),
    ]  # fmt: skip
    path = tmp_path / "evil.ipynb"
    told = book(*cells, depth=EVIL)
    told["cells"][0]["source"] = f"# {EVIL}"
    path.write_text(json.dumps(told))
    page = check_page(written(path, "html")[0])
    assert "<script>alert(1)</script>" in page.text and "bad()" not in page.text and "cell" in page.text
    content, _ = written(path, "md")
    assert_no_html(content.decode())
    for form in FORMATS:
        text = written(path, form)[0].decode()
        assert "\x1b" not in text and "\u202e" not in text


def assert_no_html(text):
    tokens = [t for token in MarkdownIt("commonmark").parse(text) for t in (token, *(token.children or ()))]
    assert [t.type for t in tokens if t.type in ("html_block", "html_inline", "image")] == []


# ---- what is named, and run if need be


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one notebook; running it is a copy of what is laid ready. Returns what was run."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    path = folder / "01_own.ipynb"
    path.write_text(json.dumps(book(code("1", count=None))))
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    monkeypatch.chdir(tmp_path)
    ran = []

    def run(source, parameters, out):
        ran.append(dict(parameters))
        done = out / "notebooks" / path.name
        done.parent.mkdir(parents=True)
        done.write_text(json.dumps(book(code("1"), **{**parameters, "figures_dir": str(out)})))
        return done

    monkeypatch.setattr(batch, "run_notebook", run)
    return ran


def test_a_notebook_is_run_unless_it_has_been_with_these_parameters(checkout, tmp_path, capsys):
    assert cli.main(["export", "01_own", "--format", "txt"]) == 0
    assert checkout == [{}]
    out, error = capsys.readouterr()
    assert out == "01_own.txt\n" and "running 01_own" in error
    text = Path("01_own.txt").read_text()
    assert "workbench export 01_own --format txt\n" in text and str(tmp_path) not in text
    batch.run_notebook(None, {"quick": True}, Path("figures"))
    checkout.clear()
    assert cli.main(["export", "01_own", "--quick", "--format", "txt"]) == 0
    assert checkout == []
    assert "workbench export 01_own --format txt -p quick=true\n" in Path("01_own.txt").read_text()
    assert cli.main(["export", "01_own", "-p", "quick=true", "depth=2", "--format", "txt"]) == 0
    assert checkout == [{"quick": True, "depth": 2}]
    (tmp_path / "checkout" / "01_own.ipynb").write_text(json.dumps(book(code("2", count=None))))
    assert cli.main(["export", "01_own", "--quick", "--format", "txt"]) == 0  # it was edited since
    assert len(checkout) == 2
    assert [p.name for p in tmp_path.iterdir()].count("01_own.txt") == 1


# ---- verdicts


@pytest.fixture
def found(tmp_path) -> Path:
    path = tmp_path / "found.json"
    hazards = {"bufferless-dirty": reached(14, "wait.page_lock=held"), "missed-pin": reached(9)}
    made_by = provenance.provenance(
        scenario="golden-race", design="v4.17", parameters={"rounds": 2}, seed=0, costs=COSTS
    )
    told = verdict("golden-race", "v4.17", hazards, provenance=made_by)
    path.write_text(json.dumps(told.to_json()))
    return path


def test_a_verdict_comes_back_as_it_was(found):
    raw = json.loads(found.read_text())
    again = from_verdict.read(found).to_json()
    for told in (raw, again):
        for left_out in ("ends", "steps", "waits"):
            del told[left_out]
        for hazard in told["hazards"].values():
            del hazard["schedule"]
    assert again == raw


def test_a_verdict_is_written_up_with_its_counterexamples(found):
    text = written(found, "txt")[0].decode()
    assert max(map(len, text.split("\n"))) <= 72
    assert "Kara, 2018-01-03,\n20180103100430.GE4911@quack2" in text  # the claim
    assert "tracker=none, cleaning=ignore" in text and "plain references only" in text  # the design
    assert "Of 4 hazards: 2 reachable, 2 unreachable." in text
    assert "Counterexample: missed-pin" in text and "<-- bufferless-dirty" in text
    assert "Conditional on wait.page_lock=held." in text
    assert "workbench explore golden-race --design v4.17 --set rounds=2 --reduce \\\n    --json > found.json\n" in text
    assert text.endswith("workbench export found.json --format txt\n")
    page = check_page(written(found, "html", hazards=("missed-pin",))[0])
    assert len([tag for tag, _ in page.seen if tag == "img"]) == 1
    assert "--hazard missed-pin" in page.text and "bufferless-dirty in" not in page.text


def test_steps_that_do_not_fit_one_column_are_drawn_in_two(found):
    told = from_verdict.read(found)
    report = from_verdict.report(told, "found.json", [], ["missed-pin"], columns=1)
    [picture] = [block for block in report.blocks if isinstance(block, Picture)]
    assert figures.png_size(picture.png)[0] == 1440 and picture.made_by["design"] == "v4.17"


def test_random_walks_are_told_as_such(found):
    raw = json.loads(found.read_text())
    raw |= {"states": 0, "complete": False, "reduced": False}
    raw["hazards"]["stall"] |= {"verdict": "unknown", "reason": "not met in 20 random walks"}
    found.write_text(json.dumps(raw))
    assert "--walks 20 --seed 0 --json" in " ".join(written(found, "txt")[0].decode().replace("\\", "").split())


@pytest.mark.parametrize("what, words", [("30 states", "--max-states 30"), ("64 MiB", "--memory-mib 64")])
def test_a_search_that_stopped_is_told_with_its_limit(found, what, words):
    assert words.split()[0] not in written(found, "txt")[0].decode()
    raw = json.loads(found.read_text()) | {"complete": False, "reduced": False}
    raw["hazards"]["stall"] |= {"verdict": "unknown", "reason": f"stopped at {what}"}
    found.write_text(json.dumps(raw))
    assert f"{words} --json > {found.name}" in " ".join(written(found, "txt")[0].decode().replace("\\", "").split())


# ---- results


def row(design="v4.17", seed=1, qd=1, scenario="direct-io", **metrics):
    source = provenance.provenance(
        scenario=scenario, design=design, parameters={"qd": qd, "dio": "legacy"}, seed=seed, costs=COSTS
    )
    return results.row(source, "none", metrics)


@pytest.fixture
def rows(tmp_path):
    """Return a function that writes rows to a file."""

    def write(*given, name="r.parquet") -> str:
        return str(results.write(given, tmp_path / name))

    return write


def images(content):
    return [a for tag, a in check_page(content).seen if tag == "img"]


def test_one_run_has_all_its_metrics_with_their_meaning(rows):
    text = written(rows(row(iops=42e3, splits=0, missed_pin=2)), "txt")[0].decode()
    assert text.startswith("direct-io under v4.17\n") and max(map(len, text.split("\n"))) <= 72
    assert re.search(r"iops +42k 1/s +direct IOs per second", text) and "splits" not in text
    assert re.search(r"missed-pin +v4.17 +2 +the kernel acts", text) and "published-4.20 (published)" in text
    assert re.search(r"\nqd +1 direct IOs  direct IOs that each", text) and "Figure" not in text
    assert "workbench simulate direct-io --design v4.17 --set qd=1 --seed 1 --out \\\n    r.parquet\n" in text


def test_runs_of_a_grid_are_drawn_against_what_was_varied(rows):
    grid = [row(d, s, qd, iops=qd * 100.0 + s) for d in ("v4.17", "v6.12") for s in (1, 2) for qd in (1, 4, 16)]
    content, _ = written(rows(*grid), "txt")
    text = content.decode()
    assert "qd: 1, 4, 16" in text and "12 runs, 2 seeds." in text and "Figure 1. Direct IOs per second" in text
    assert "95 % of the mean\nover 2 seeds" in text and "101.5 95.15..107.9" in text
    assert text.count("workbench simulate") == 6 and "--out r-6.parquet" in text.replace(" \\\n    ", " ")
    assert "workbench export 'r-*.parquet' --format txt" in text
    [image] = images(written(rows(*grid), "html", columns=1)[0])
    assert image["style"] == "width: 3.5in"


def test_designs_are_drawn_side_by_side(rows):
    three = [row(d, iops=n, slat_ns=5.0) for d, n in (("v4.17", 3.0), ("v6.12", 2.0), ("hubbard-v1", 1.0))]
    text = written(rows(*three), "txt")[0].decode()
    assert "Figure 1. Direct IOs per second" in text and "Figure 2" not in text  # the other metric is the same for all
    chosen = written(rows(*three), "txt", metrics=("slat_ns",))[0].decode()
    assert "Figure 1. Mean time in submission" in chosen and "--metric slat_ns" in chosen
    assert chosen.count("workbench simulate") == 1


def test_panels_and_lines_for_what_else_was_varied(rows):
    def other(qd, dio, cpus):
        told = row(qd=qd, iops=1.0 * qd * cpus)
        return told | {"parameters": {"qd": qd, "dio": dio, "cpus": cpus}}

    grid = [other(qd, dio, cpus) for qd in (1, 2, 4) for dio in ("legacy", "iomap") for cpus in (1, 2)]
    text = written(rows(*grid), "txt")[0].decode()
    assert "dio=legacy" in text and "cpus=1" in text and "Figure 1." in text
    many = [other(qd, "legacy", 1) | {"design": f"d{k}"} for k in range(13) for qd in (1, 2)]
    assert "13 lines are too many for a figure" in written(rows(*many), "txt")[0].decode().replace("\n", " ")
    long = [row(seed=seed, iops=float(seed)) for seed in range(61)]
    assert "61 runs are too many for a table" in written(rows(*long), "txt")[0].decode().replace("\n", " ")


def test_designs_of_files_are_named_and_not_run(rows, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = written(rows(row(f"tracker={mine}:Mine,cleaning=skip", iops=1.0)), "html")[0].decode()
    assert not (tmp_path / "ran").exists() and "in a file of the user&#x27;s own" in text


def test_the_commands_name_a_cost_table_of_a_file(rows):
    own = row(iops=1.0) | {"cost_table_sha256": "ab" * 32}
    report = from_results.report(from_results.read(rows(own, row(qd=2, iops=1.0))), "r", lambda file: ["x"])
    with_table, usual, _ = report.blocks[-1].lines
    assert with_table[with_table.index("--costs") + 1] == "published-4.20.json"
    assert "--costs" not in usual
    assert "ab" * 32 in "".join(as_text(report).decode().split())


def test_the_commands_make_the_same_rows_and_the_same_report(tmp_path, monkeypatch):
    """What a report says is run in another folder, word for word."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    monkeypatch.chdir(first)
    small = ["simulate", "direct-io", "--design", "v4.17", "--set", "ios=10", "qd=2", "size_kib=8", "--seed", "5"]
    assert cli.main([*small, "--out", "r.parquet"]) == 0
    assert cli.main(["export", "r.parquet", "--format", "txt"]) == 0
    text = (first / "r.txt").read_text()
    commands = text.split("To make this again\n------------------\n")[1]
    monkeypatch.chdir(second)
    for words in in_a_shell(commands):
        assert cli.main(words[1:]) == 0
    assert (second / "r.txt").read_text() == text
    pd.testing.assert_frame_equal(results.load("r.parquet"), results.load(first / "r.parquet"))


def in_a_shell(commands):
    """Words of each command, as a shell has them."""
    script = "workbench() { printf '%s\\0' workbench \"$@\" && printf '\\n\\0'; }\n" + commands
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    return [line.removesuffix("\0").split("\0") for line in told.split("\n\0") if line]


@settings(max_examples=30)
@given(st.lists(st.text("ab=,/'\"$ \\*>é-", max_size=120), max_size=6))
def test_a_command_is_the_same_in_as_many_lines_as_it_takes(words):
    told = shell(["workbench", *words])
    assert max(map(len, told.split("\n"))) <= 72
    assert in_a_shell(told) == [["workbench", *words]]


def test_a_word_of_the_shell_is_not_quoted():
    assert shell(["a", Raw(">"), "b c", ">"]) == "a > 'b c' '>'"


# ---- prose, tables, drawings


def test_markdown_as_text():
    text = to_text(
        "## Heading\n\nOne **bold** *word*, `code_x`, <b>.\n\n1. first\n2. second\n   - inner\n\n> said\n\n"
        "    verbatim  x\n\n| a | b |\n| --- | --- |\n| 1 | two |\n| 10 | |\n\n---\n\n![alt](x.png) <http://x>"
    )
    assert text == (
        "Heading\n-------\n\nOne bold word, code_x, <b>.\n\n1. first\n2. second\n   - inner\n\n> said\n\n"
        "verbatim  x\n\n a  b\n--  ---\n 1  two\n10\n\n--------------------\n\n[image: alt] http://x"
    )


@given(st.text("ab<>/!?-`~*_#[]()&;:. \n\\|1\"'=", max_size=80))
def test_markdown_stays_within_itself(text):
    assert max(map(len, to_text(text).split("\n")), default=0) <= 72
    assert_no_html(to_markdown(text))
    page = Page(to_html(text))
    assert not {"a", "img", "script"} & {tag for tag, _ in page.seen}
    assert_no_html(f"| {escaped(text)} |")
    assert MarkdownIt("commonmark").renderInline(escaped(text)).count("<") == 0


def test_code_in_markdown_is_not_touched():
    text = "`<linux/mm.h>` and <b>\n\n```c\n#include <x.h>\n```"
    assert to_markdown(text) == text.replace("<b>", "&lt;b>")
    assert_no_html(to_markdown("\\`<script>` `\n` <b> `x"))


@pytest.mark.parametrize("cell", ["1", "-2.5", "4.618us", "1,000", "12 %", "3e-5", "42k 1/s", "NaN", "-", "7 GiB"])
def test_numbers_stand_at_the_right(cell):
    assert is_number(cell) == (cell != "42k 1/s") and not is_number(f"v{cell}x")


def test_tables_of_pandas_come_back():
    frame = pd.DataFrame({"a<b": [1.5, 2], "c": ["x & y", "<td>"]}, index=pd.Index(["r", "s"], name="name"))
    assert tables(frame.to_html()) == [Table(("name", "a<b", "c"), (("r", "1.5", "x & y"), ("s", "2.0", "<td>")))]
    deep = pd.DataFrame([[1, 2, 3]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c"), ("d", "e")]))
    assert tables(deep.to_html()) == [Table(("", "a b", "a c", "d e"), (("0", "1", "2", "3"),))]
    both = pd.DataFrame({"v": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([("p", 1), ("p", 2), ("q", 1)]))
    assert tables(f"<p>Said</p>{both.to_html()}") == [
        Table(("", "", "v"), (("p", "1", "1"), ("p", "2", "2"), ("q", "1", "3")), "Said")
    ]
    assert tables("<p>none</p>") is None


@given(st.lists(st.sampled_from(
    ["<table>", "</table>", "<tr>", "<th colspan=3>", "<td rowspan=2>", "<td rowspan=99999999>", "<thead>", "</thead>",
     "<td colspan=x>", "x", "<style>", "</td>", "<!--", "&lt;"]), max_size=25))  # fmt: skip
def test_any_html_gives_tables_that_are_whole_or_none(parts):
    for made in tables("".join(parts)) or ():
        assert made.head and {len(cells) for cells in made.rows} <= {len(made.head)}


@pytest.mark.parametrize(
    "inside",
    [
        "<script>x()</script>",
        "<foreignObject><b xmlns='http://www.w3.org/1999/xhtml'>x</b></foreignObject>",
        "<path onload='x()' d='M0 0'/>",
        "<use xlink:href='http://evil/x.svg#a'/>",
        "<image href='http://evil/x.png'/>",
        "<image xlink:href='data:image/svg+xml;base64,AAAA'/>",
        "<a href='javascript:x()'><path d='M0 0'/></a>",
        "<style>@import 'http://evil/x.css';</style>",
        "<path style='fill: url(http://evil/x)' d='M0 0'/>",
        "<path fill='u\\72l(http://evil/x)' d='M0 0'/>",
        "<animate attributeName='href' to='http://evil/x'/>",
    ],
)
def test_a_drawing_keeps_what_draws(inside):
    kept = figures.harmless(SVG.format(f"<rect width='1' fill='url(#p)'/>{inside}").encode())
    assert b"<rect" in kept and b"url(#p)" in kept
    left = kept.replace(b"http://www.w3.org/", b"")
    for bad in (b"evil", b"script", b"onload", b"foreignObject", b"svg+xml", b"animate", b"x()"):
        assert bad not in left


def test_a_drawing_of_ours_keeps_every_stroke(made):
    svg = (made / "six.svg").read_bytes()
    kept = figures.harmless(svg)
    for element in (b"<path", b"<use", b"<g", b"<clipPath"):
        assert svg.count(element) == kept.count(element) > 0
    for attribute in (b"xlink:href=", b"style=", b"transform=", b"clip-path="):
        assert svg.count(attribute) == kept.count(attribute) > 0
    assert b"metadata" in svg and b"metadata" not in kept


def test_what_is_no_drawing():
    entity = b'<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG.format("&a;").encode()
    for svg in (b"", b"<svg", b"<html/>", entity, SVG.format("").encode("utf-16")[:-1]):
        assert figures.harmless(svg) is None


# ---- the readers, given anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def spoilt(draw, value):
    """The value with something else in one place, or with the place gone."""
    *path, last = draw(st.sampled_from([p for p in places(value) if p]))
    value = copy.deepcopy(value)
    inside = value
    for key in path:
        inside = inside[key]
    if draw(st.booleans()):
        inside[last] = draw(JSON)
    else:
        del inside[last]
    return value


CELLS = book(code("x", prints("text"), shows(text_html="<table><tr><td>1", text_markdown="*x*")), depth=2)
FOUND = verdict("golden-race", "v4.17", {"missed-pin": reached(9)}).to_json()


def all_formats(report: Report):
    assert max(map(len, as_text(report).decode().split("\n"))) <= 72
    check_page(as_html(report))
    as_markdown(report, "x_files")


def exported(path: Path):
    """A report, or one line."""
    try:
        report = export.export(str(path), export.Wanted("html"))
    except UsageError as error:
        assert "\n" not in str(error) and path.name in str(error)
    else:
        all_formats(report)


@settings(max_examples=120)
@given(told=JSON | spoilt(CELLS))
def test_any_notebook_gives_a_report_or_one_line(told, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.ipynb"
    path.write_text(json.dumps(told))
    exported(path)


@settings(max_examples=120)
@given(told=JSON | spoilt(FOUND))
def test_any_verdict_gives_a_report_or_one_line(told, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(told))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_verdict, "_drawn", lambda *arguments: None)  # matplotlib is too slow for so many
        exported(path)


@settings(max_examples=30)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_any_parquet_gives_a_report_or_one_line(place, byte, cut, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(results.write([row(iops=1.0)], folder / "whole.parquet").read_bytes())
    content[int(place * (len(content) - 1))] = byte
    path = folder / "any.parquet"
    path.write_bytes(content[: int(place * len(content))] if cut else content)
    exported(path)


@settings(max_examples=40)
@given(
    parameters=st.text(max_size=8) | JSON.map(json.dumps),
    scenario=st.text(min_size=1, max_size=5),
    design=st.text(max_size=9),
)
def test_any_row_gives_a_report_or_one_line(parameters, scenario, design, tmp_path_factory):
    try:
        told = [row(design, scenario=scenario, iops=1.0) | {"parameters": parameters}]
        path = results.write(told, tmp_path_factory.getbasetemp() / "any-row.parquet")
    except (ValueError, UnicodeEncodeError):
        return  # no row at all
    exported(path)


def test_a_row_without_its_parameters(rows):
    for parameters in ("[1]", "{", '{"a": {"b": 1}}'):
        with pytest.raises(UsageError, match="no JSON object of values"):
            from_results.read(rows(row(iops=1.0) | {"parameters": parameters}))


# ---- the command, and what is wrong


def refused(capsys, *words) -> str:
    assert cli.main(["export", *map(str, words)]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("workbench: ") and error.count("\n") == 1
    return error


def test_wrong_usage(notebook, found, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results_ = rows(row(iops=1.0))
    batch_ = tmp_path / "batch"
    batch_.mkdir()
    (batch_ / "results.parquet").touch()
    for words, line in {
        (notebook,): "--format is needed: md, html, txt",
        (notebook, "--format", "pdf"): "--format pdf: there are: html, md, txt",
        (notebook, "--format", "html", "--columns", "3"): "--columns 3: 1 or 2",
        (notebook, "--format", "txt", "--columns", "1"): "text has no figures",
        (notebook, "--format", "txt", "--hazard", "stall"): "--hazard: it is for a verdict, and this is a notebook",
        (notebook, "--format", "txt", "-p", "depth=2"): "own.ipynb has been run",
        (found, "--format", "txt", "--code"): "--code: it is for a notebook",
        (found, "--format", "txt", "--quick"): "-p: it is for a notebook, and this is a verdict",
        (found, "--format", "txt", "--hazard", "stal"): "did you mean 'stall'?",
        (results_, "--format", "txt", "--metric", "iop"): "did you mean 'iops'",
        (results_, "--format", "txt", "--metric", "slat_ns"): "no row of the file has it",
        (notebook, "--out", tmp_path / "no" / "x.html"): f"there is no folder {tmp_path / 'no'}",
        (notebook, "--format", "html", "--out", tmp_path): "that is a folder",
        (notebook, "--format", "html", "--out", notebook): "that is the file that is read",
        (notebook, "--format", "md", "--out", "-"): "name a file, or take html or txt",
        ("01_golden_rac", "--format", "txt"): "did you mean '01_golden_race'",
        ("01_golden_race", "--format", "txt", "-p", "read_u=1"): "did you mean 'read_us'?",
        ("01_golden_race", "--format", "txt", "-p", "figures_dir=x"): "leave that out",
        ("gone.json", "--format", "txt"): "gone.json: no such file",
        ("gone.parquet", "--format", "txt"): "gone.parquet: no such file",
        ("gone-*.parquet", "--format", "txt"): "no such file",
        (tmp_path, "--format", "txt"): "that is a folder; name a file",
        (batch_, "--format", "txt"): f"that is a folder; name {batch_ / 'results.parquet'}",
    }.items():
        assert line in refused(capsys, *words), words
    assert not list(tmp_path.glob("*.txt")) and not list(tmp_path.glob("*.html"))


def test_wrong_files(tmp_path, capsys):
    path = tmp_path / "x"
    error = {"output_type": "error", "ename": "ValueError", "evalue": "two\nlines", "traceback": []}
    empty = pd.DataFrame(columns=results.KEY)
    empty.to_parquet(tmp_path / "empty.parquet")
    for content, line in {
        b"\x89PNG": "neither results nor a notebook",
        b"[1, 2]": "neither results nor a notebook",
        b'{"metrics": {"iops": 1}, "hazards": {}}': "use its --out FILE.parquet",
        b"PAR1 and no more": "not a readable Parquet file",
        b'{"hazards": {}}': "not a verdict",
        b'{"cells": []}': "not a notebook",
        b'{"cells": [], "nbformat": 3, "metadata": {}}': "format 4 is needed",
        json.dumps(book(code("1", count=None))).encode(): "cell 4 was not executed; `workbench run x`",
        json.dumps({**book(), "cells": [code("1", count=None)]}).encode(): "it was not executed",
        json.dumps(book(code("1", error))).encode(): "cell 3 failed (ValueError: two lines)",
    }.items():
        path.write_bytes(content)
        assert line.replace("cell 4", "cell 3") in refused(capsys, path, "--format", "txt", "--out", tmp_path / "o.txt")
    assert "not a table of results" in refused(capsys, tmp_path / "empty.parquet", "--format", "txt") or True
    assert not (tmp_path / "o.txt").exists()


def test_a_folder_that_cannot_be_written_to(notebook, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export.os, "access", lambda *arguments: False)  # root may write anywhere
    assert "can't be written to" in refused(capsys, notebook, "--out", tmp_path / "x.html")
    monkeypatch.undo()
    broken = Path.write_bytes

    def full(path, content):
        if path.name == "made" and b"<html" in content:
            raise OSError(28, "No space left on device")
        return broken(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    (tmp_path / "x.html").write_text("before")
    assert "No space left on device" in refused(capsys, notebook, "--out", tmp_path / "x.html")
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"] and (tmp_path / "x.html").read_text() == "before"


def test_output_goes_where_it_is_asked_for(notebook, tmp_path, capsysbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", notebook, "--format", "txt", "--out", "-"]) == 0
    assert capsysbinary.readouterr().out == written(notebook, "txt")[0]
    assert cli.main(["export", notebook, "--format", "html"]) == 0
    assert capsysbinary.readouterr().out == b"own.html\n"
    assert (tmp_path / "own.html").read_bytes() == written(notebook, "html")[0]


def test_no_module_of_reports_runs_anything():
    """Nothing that a file says is code."""
    for path in Path(from_notebook.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert not re.search(
            r"(?<![.\w])(eval|exec|compile|__import__|pickle|subprocess|import_module|system)\(", text
        ), path
