"""Notebook 10 and what it alone uses: outcomes by kind, facts by name; it runs where nothing can be compared, too."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench.kernel import needs
from workbench.kernel.pins import bench, run
from workbench.kernel.vma import oracle
from workbench.kernel.vma.outcomes import outcomes

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "10_against_the_kernel.ipynb"


def test_outcomes_are_those_of_the_comparison():
    number, length = 3200, 1600  # with forks, after which a child that was not followed would go another way
    try:
        report = oracle.compare(number, 5, length=length)
    except needs.Unavailable as missing:
        pytest.skip(str(missing))
    found = outcomes(number, 5, needs.kernel_version(), length=length)
    assert report.mismatches == 0 and report.forks > 3 and found["operations"].sum() == number
    splits, *merges = report.counts
    assert (found["splits"] * found["operations"]).sum() == splits > 0
    assert (found["merges"] * found["operations"]).sum() == sum(merges) > 0


def test_outcomes_by_kind():
    found = outcomes(800, 5, (6, 18), length=400)
    assert set(found[found["error"] == "EEXIST"]["kind"]) == {"mmap"}  # MAP_FIXED_NOREPLACE
    assert set(found[found["kind"] == "touch"]["error"]) == {"", "EFAULT"}
    assert found[found["kind"] == "touch"][["splits", "merges"]].to_numpy().max() == 0
    assert found.groupby("kind")["operations"].sum()["mprotect"] > 100
    assert not found.duplicated(["kind", "error", "splits", "merges"]).any()


def test_facts_that_stand_for_themselves_have_names():
    try:
        told = run.run(["bias"], steps=0).as_dict()
    except needs.Unavailable as missing:
        pytest.skip(str(missing))
    (case,) = told["cases"]
    *first, again = [(int(re.sub(r"\D", "", fact["what"])), fact["kernel"]) for fact in case["named"]]
    assert dict(first) == {n: n < 1022 for n in (0, 1, 500, 1020, 1021, 1022, 1023, 1040)}
    assert again == (1040, True) and "again" in case["named"][-1]["what"]
    assert all(fact["model"] == fact["kernel"] for fact in case["named"])
    assert len(case["named"]) == case["compared"]


@pytest.mark.parametrize(("seen", "agrees"), [((155, 156), True), ((1, 1), False), ((0, 2), False)])
def test_pins_of_others_in_passing_are_left_out(monkeypatch, seen, agrees):
    monkeypatch.setattr(bench, "SETTLES", 0.0)
    counters = iter([(10, 10)])
    live = SimpleNamespace(proc=SimpleNamespace(pins=lambda: next(counters, (10 + seen[0], 10 + seen[1]))))
    told = bench.Bench()
    told.observe_pins(live, "completion", lambda: None, (0, 1), "the sources")
    assert (told.mismatches == [], len(told.left_out)) == (agrees, int(agrees))


def cells(*chapters):
    """Code of the notebook: what comes before its chapters, and that of some of them."""
    chapter, found = "", []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            chapter = text.splitlines()[0][3:] if text.startswith("## ") else chapter
        elif not chapter or chapter.startswith(chapters):
            found.append(text)
    assert len(found) > len(chapters)
    return found


def test_the_notebook_says_what_is_missing_and_goes_on(monkeypatch, tmp_path):
    def missing():
        raise needs.Unavailable("needs Linux; this is Minix")

    monkeypatch.setattr(needs, "linux", missing)
    monkeypatch.chdir(NOTEBOOK.parent)
    names: dict = {}
    for text in cells("1.", "2.", "What it found"):
        exec(compile(ast.parse(text), str(NOTEBOOK), "exec"), names)
        if "figures_dir" in names:
            names |= {"figures_dir": str(tmp_path), "quick": True}
    assert names["skipped"] == {
        "Section 1, VMAs,": "needs Linux; this is Minix",
        "Section 2, pins,": "needs Linux; this is Minix",
    }
    assert names["lines"][-1].startswith("- Skipped here: Section 2, pins, needs Linux")
    assert list(tmp_path.iterdir()) == []
