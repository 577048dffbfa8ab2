"""Counts of places in C sources, held against a small tree whose counts were made by hand."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import cli, designs, touched
from workbench.errors import UsageError
from workbench.kernel.churn import count as churn
from workbench.kernel.churn import cprepare, csource, names
from workbench.kernel.churn import report as churn_report

MAKEFILE = "VERSION = 9\nPATCHLEVEL = 8\nSUBLEVEL = 7\n"
MM_TYPES = """
#ifndef MM_TYPES_H
#define MM_TYPES_H
struct list { struct list *next; };
struct page {
	unsigned long flags;
	union {
		struct {
			struct list lru;
			unsigned long index;
		};
		int _mapcount;
	};
};
struct vm_area_struct {
	unsigned long vm_start, vm_end;	/* vm_start is the first byte */
	struct {
		int rb;
		unsigned long rb_subtree_last;
	} shared;
	unsigned long vm_pgoff;
	unsigned long vm_flags;
#ifdef CONFIG_NUMA
	struct policy *vm_policy;
#endif
};
struct vm_region { unsigned long vm_start; };
struct vm_fault { struct vm_area_struct *vma; struct page *page; };
extern struct vm_area_struct *find_vma(unsigned long addr);
extern void put_page(struct page *page);
#endif
"""
# Each line of this file is one case; what is expected of it is written behind it.
USES = r"""
#include <mm_types.h>
static int one(struct vm_area_struct *vma, struct vm_region *region, struct vm_fault *vmf, struct page **pages)
{
	struct page *page;
	struct vm_area_struct other = { .vm_start = 1, .vm_end = 2 };	//= vm_start:write vm_end:write
	unsigned long x = vma->vm_start;	//= vm_start:read
	vma->vm_start = x;	//= vm_start:write
	vma->vm_pgoff += 2;	//= vm_pgoff:update
	(vma->vm_end)--;	//= vm_end:update
	x = vma->vm_end - vma->vm_start;	//= vm_end:read vm_start:read
	take(&vma->vm_pgoff);	//= vm_pgoff:address
	x = other.vm_pgoff;	//= vm_pgoff:read
	x = vma->shared.rb_subtree_last;	//= shared:read
	insert(&(vma)->shared.rb);	//= shared:address
	vma->shared.rb_subtree_last = 5;	//= shared:write
	region->vm_start = 1;	//= vm_start:write:other
	x = vmf->vma->vm_start;	//= vm_start:read
	x = find_vma(x)->vm_end;	//= vm_end:read
	x = ((struct vm_area_struct *)region)->vm_start;	//= vm_start:read
	x = unknown->vm_start;	//= vm_start:read:ambiguous
	x = unknown->vm_end;	//= vm_end:read:deduced
	x = unknown->vmf.vma->vm_start;	//= vm_start:read:deduced
	x = container_of(p, struct vm_area_struct, shared.rb)->vm_start;	//= shared:address vm_start:read
	list_for_each_entry(page, head, lru)	//= lru:address
		page->lru.next = 0;	//= lru:write
	for_each_thing(vma) vma->vm_end = 0;	//= vm_end:write
	vma_interval_tree_foreach(vma, root, 0, 1)	//= vma_interval_tree_foreach:call
		x = vma->vm_start;	//= vm_start:read
	page->lru.next->next = 0;	//= lru:read
	add_entry(x, lru);	//= lru:other
	list_safe_reset_next(page, x, lru);	//= lru:address
	x = list_next_entry(page, lru)->lru.next;	//= lru:address lru:read
	x = pages[1]->lru.next == (*pages)->lru.next;	//= lru:read lru:read
	WRITE_ONCE(vma->vm_start, vma->vm_end);	//= vm_start:write vm_end:read
	x = READ_ONCE(vma)->vm_start;	//= vm_start:read
	swap(x, vma->vm_pgoff);	//= vm_pgoff:update
	x = offsetof(struct page, lru) + offsetof(struct zone, lru);	//= lru:address lru:address:other
	x = (vma ? vma : &other)->vm_end;	//= vm_end:read
	x = ++vma->vm_start + (vma++)->vm_start;	//= vm_start:update vm_start:read
	array[vma->vm_pgoff] = 1;	//= vm_pgoff:read
	{
		struct vm_region *vma;
		x = vma->vm_start;	//= vm_start:read:other
	}
	print("vma->vm_start /* not a comment */");	//= vm_start:string
	x = '"'; x = vma->vm_start; /* vma->vm_end */	//= vm_start:read vm_end:comment
	int vm_start = 1, lru = vm_start;	//= vm_start:other lru:other vm_start:other
	pages[0]->flags = vma->vm_flags;	//= flags:write vm_flags:read
	x->page->flags = flags;	//= flags:write:deduced flags:other
	ops->put_page(x); put_page(pages[0]);	//= put_page:other put_page:call:other
	use(put_page);	//= put_page:ref:other
	lock_page(page); if (gup & FOLL_LONGTERM) lock_page (page);	//= lock_page:call FOLL_LONGTERM:ref lock_page:call
#ifdef CONFIG_NUMA
	x = vma->vm_start;	//= vm_start:read
#else
	x = vma->vm_end;	//= vm_end:read
#endif
	return 0;
}
#define START(vma) ((vma)->vm_start)	//= vm_start:read:ambiguous
#define OF(p) (list_entry(p, struct page, lru)->lru.next)	//= lru:address lru:read
#define SET(v) do { (v)->vm_pgoff = 1; } while (0)	//= vm_pgoff:write:deduced
int old(vma, n) struct vm_area_struct *vma; int n; { return vma->vm_start; }	//= vm_start:read
int two(struct vm_region *vma) { return vma->vm_start; }	//= vm_start:read:other
#define HALF(v) (((v)->vm_end	//= vm_end:read:deduced
#ifndef CONFIG_NUMA
int three(struct vm_area_struct *vma) { return vma->vm_end; }	//= vm_end:read
#endif
EXPORT_SYMBOL(put_page);	//= put_page:declaration
static void lock_page(struct page *page);	//= lock_page:declaration
int put_page(struct page *page) { return page->_mapcount; }	//= put_page:definition _mapcount:read
"""
PINS = """
#include <mm_types.h>
int pin(struct page *page) { return get_user_pages_fast(0, 1, 1, &page); }
void unpin(struct page *page) { set_page_dirty_lock(page); put_page(page); }
"""
BROKEN = "int f(struct vm_area_struct *vma { ) return vma->vm_start; }}} else { vma->vm_end = \n"
MM_H = "include/linux/mm_types.h"
PLAIN = "\n".join(line.partition("\t//=")[0] for line in USES.split("\n"))
EXPECTED = [(k, line.partition("//=")[2].split()) for k, line in enumerate(USES.split("\n"), 1) if "//=" in line]
PIECES = [
    *(b"struct vm_area_struct *vma;", b"vma->vm_start", b"= vma->vm_end;", b"#define X(v)", b"\\\n", b"{", b"}", b"("),
    *(b")", b"page->flags", b"struct page, lru", b"list_for_each_entry(", b"/*", b"*/", b'"', b"'", b"#if", b"#endif"),
    *(
        b"\n",
        b"->lru",
        b"{ .vm_pgoff = 1 }",
        b"put_page(page);",
        b"shared.rb",
        b"if (x) else",
        b"&",
        b"\0",
        b"struct {",
    ),
    b"int f(a) int a; {",
]
TREE = {
    "Makefile": MAKEFILE,
    MM_H: MM_TYPES,
    "mm/uses.c": PLAIN,
    "drivers/net/pins.c": PINS,
    "drivers/broken.c": BROKEN,
    "fs/none.c": "int nothing;\n",
    "tools/copy.c": USES,
    "Documentation/example.c": USES,
    "fs/text.txt": "vma->vm_start",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("linux")
    for name, text in TREE.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / "mm/link.c").symlink_to(top / "mm/uses.c")
    return top


@pytest.fixture(scope="module")
def found(tree) -> churn.Churn:
    return churn.count(tree, jobs=1)


def told(row) -> str:
    """Name, access, and what is not plainly so."""
    plain = row.sure in ("declared", "named") or row.access not in churn.USES
    return f"{row.word}:{row.access}" + ("" if plain else f":{row.sure}")


@pytest.mark.parametrize(("line", "expected"), EXPECTED, ids=[f"line {k}" for k, _ in EXPECTED])
def test_each_line_as_by_hand(found, line, expected):
    rows = found.places.rename(columns={"name": "word"})
    rows = rows[(rows["file"] == "mm/uses.c") & (rows["line"] == line)]
    assert [told(row) for row in rows.itertuples()] == expected


def test_nothing_else_is_found(found):
    lines = {line for line, _ in EXPECTED}
    rows = found.places[found.places["file"] == "mm/uses.c"]
    assert set(rows["line"]) == lines
    assert set(found.places["file"]) == {"mm/uses.c", "drivers/net/pins.c", "drivers/broken.c", MM_H}
    assert list(found.places[["file", "line"]].itertuples(index=False)) == sorted(
        found.places[["file", "line"]].itertuples(index=False)
    )


def test_structs_and_conditions(found):
    header = found.places[found.places["file"] == MM_H]
    assert Counter(header["access"]) == {"declaration": 9, "comment": 1}
    assert not header["conditional"].any()  # the guard of a header is no condition
    uses = found.places[(found.places["file"] == "mm/uses.c")]
    text = PLAIN.split("\n")
    assert {text[k - 1].strip() for k in uses.loc[uses["conditional"], "line"]} == {
        "x = vma->vm_start;",
        "x = vma->vm_end;",
        "int three(struct vm_area_struct *vma) { return vma->vm_end; }",
    }
    assert [text[k - 1] for k in uses.loc[uses["damaged"], "line"]] == ["#define HALF(v) (((v)->vm_end"]
    assert set(uses.loc[uses["macro"], "line"]) == {k for k, line in enumerate(text, 1) if line.startswith("#define")}


def test_members_of_structs_in_structs():
    source = csource.read(MM_TYPES.encode(), header=True)
    assert {m for m in source.members if m[0].startswith(("page", "vm_area_struct"))} == {
        ("page", "flags", ""),
        ("page", "lru", "list"),
        ("page", "_mapcount", ""),
        *(("vm_area_struct", name, "") for name in ("vm_start", "vm_end", "vm_pgoff", "vm_flags")),
        ("vm_area_struct", "shared", "vm_area_struct.shared"),
        ("vm_area_struct", "vm_policy", "policy"),
    }
    assert source.functions == [("find_vma", "vm_area_struct")]


def test_a_plain_release_counts_beside_gup(found):
    pins = found.places[found.places["file"] == "drivers/net/pins.c"]
    assert list(zip(pins["name"], pins["sure"], strict=True)) == [
        ("get_user_pages_fast", "named"),
        ("set_page_dirty_lock", "named"),
        ("put_page", "same file"),
    ]
    assert set(pins["subsystem"]) == {"drivers/net"}


def test_a_file_that_does_not_parse_is_read_all_the_same(found):
    broken = found.places[found.places["file"] == "drivers/broken.c"]
    assert list(broken["name"]) == ["vm_start", "vm_end"] and broken["damaged"].any()
    assert found.parsing["damaged_files"] >= 1 and found.parsing["damaged_bytes"] > 0
    assert (found.parsing["files"], found.parsing["parsed"]) == (5, 4)
    assert set(broken["subsystem"]) == {"drivers"}


def test_the_same_with_any_number_of_workers(tree, found):
    again = churn.count(tree, jobs=2)
    pd.testing.assert_frame_equal(again.places, found.places)
    assert (again.kernel, again.parsing) == (found.kernel, found.parsing) and found.kernel == "9.8.7"


WORKS = """
import os
from workbench.kernel.churn.count import workers
if __name__ == "__main__":
    with workers(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        input()
"""


def test_workers_of_a_killed_run_end(tmp_path):
    (tmp_path / "works.py").write_text(WORKS)
    words = [sys.executable, str(tmp_path / "works.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        worker = Path("/proc") / process.stdout.readline().strip()
        assert b"spawn" in (worker / "cmdline").read_bytes()
        process.kill()
    until = time.monotonic() + 10
    while worker.exists() and (worker / "cmdline").read_bytes() and time.monotonic() < until:
        time.sleep(0.02)
    assert not worker.exists() or not (worker / "cmdline").read_bytes()  # gone, or not waited for yet


def test_what_grep_finds_is_accounted_for(found):
    table = churn_report.by_name(found).set_index("name")
    apart = table[["text", "declared", "ambiguous", "other"]].sum(axis=1)
    assert (table["places"] == table["words"] - apart + table["unseen"]).all()
    texts = [PLAIN, PINS, BROKEN, MM_TYPES]
    for name, pattern in {
        "vm_start": r"(->|\.)vm_start\b",
        "lru": r"(->|\.)lru\b",
        "put_page": r"\bput_page\(",
        "FOLL_LONGTERM": r"\bFOLL_LONGTERM\b",
    }.items():
        lines = [sum(bool(re.search(pattern, line)) for line in text.split("\n")) for text in texts]
        assert table.loc[name, ["grep_lines", "grep_files"]].tolist() == [sum(lines), sum(n > 0 for n in lines)], name
    wanted = [w.split(":") for _, line in EXPECTED for w in line if w.startswith("vm_start:")]
    row = table.loc["vm_start"]
    assert row["ambiguous"] == sum(w[2:] == ["ambiguous"] for w in wanted)
    assert row["writes"] == sum(w[1] in ("write", "update") and w[2:] != ["other"] for w in wanted)
    assert row["places"] == sum(w[1] in churn.USES and w[2:] not in (["other"], ["ambiguous"]) for w in wanted)
    assert row["unseen"] == 0 and table.loc["lru", "unseen"] == 5  # as arguments of macros
    assert table.loc["lock_page", "unseen"] == 1  # a blank before the bracket


def test_groups_and_trackers(found):
    groups = churn_report.by_group(found).set_index("group")
    wanted = [w.split(":") for _, line in EXPECTED for w in line]
    own = [w for w in wanted if names.NAMES[w[0]] == "vma range" and w[2:] not in (["other"], ["ambiguous"])]
    access = Counter({"update": "write"}.get(w[1], w[1]) for w in own)
    row = groups.loc["vma range"]
    broken = 1  # vm_end: of the other, vm_start, the parameter is lost
    assert row["read"] + row["write"] == access["read"] + access["write"] + broken
    assert row["address"] == access["address"] and row["call"] == 0
    trackers = churn_report.by_tracker(found).set_index("tracker")
    assert list(trackers.index) == list(touched.TRACKERS)
    assert trackers.loc["none", ["change", "audit"]].tolist() == [0, 0]
    assert trackers.loc["bias", "change"] == 2  # get_user_pages_fast() and the put_page() beside it
    assert trackers.loc["vma-full", "change"] == 1 + 1
    common = trackers.loc["vma-common"]
    assert common["change"] == 2 + row[["read", "write", "address"]].sum()
    assert common["write"] == row["write"] and common["most in"].startswith("mm")


def test_counts_are_written_and_read(tree, found, tmp_path, capsys):
    path, places = tmp_path / "c.csv", tmp_path / "p.parquet"
    assert cli.main(["kernel", "churn", str(tree), "--jobs", "1", "--counts", str(path), "--out", str(places)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 72 and "Linux 9.8.7" in shown and "grep" not in shown
    pd.testing.assert_frame_equal(pd.read_parquet(places), found.places)
    counts = touched.load(path)
    assert path.read_text().startswith("# workbench kernel churn --counts: Linux 9.8.7, 5 C files")
    pd.testing.assert_frame_equal(counts, churn_report.by_subsystem(found))
    assert touched.places(counts, "vma-full:release=split") == {"change": 2, "audit": 1}
    for row in churn_report.by_tracker(found).to_dict("records"):
        assert touched.places(counts, row["tracker"]) == {"change": row["change"], "audit": row["audit"]}
    assert touched.places(counts, "mine.py:Mine") is None
    churn_report.write_places(found, tmp_path / "p.csv")
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(found.places)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "p.csv", "p.parquet"]


def test_json(tree, capsys):
    assert cli.main(["kernel", "churn", str(tree), "--jobs", "1", "--grep", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kernel"] == "9.8.7" and {"groups", "trackers", "subsystems", "names", "parsing", "unsure"} <= set(told)
    assert cli.main(["kernel", "churn", str(tree), "--jobs", "1", "--grep"]) == 0
    assert "Beside grep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "/nowhere: no kernel source tree"),
        (["TREE", "--jobs", "0"], "--jobs 0: 1 or more"),
        (["TREE", "--out", "x.txt"], "x.txt: its name is to end in .csv or .parquet"),
        (["TREE", "--counts", "x.parquet"], "x.parquet: its name is to end in .csv"),
        (["TREE", "--out", "/nowhere/x.csv"], "/nowhere/x.csv: No such file"),
    ],
)
def test_wrong_usage_is_one_line(tree, capsys, arguments, message):
    assert cli.main(["kernel", "churn", *(a.replace("TREE", str(tree)) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_without_version_is_no_kernel(tmp_path):
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(UsageError, match="no kernel source tree"):
        churn.count(tmp_path)


# ---- single files


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=25), st.randoms())
def test_any_bytes_can_be_read(noise, pieces, random):
    """Every word is found once, whatever stands around it."""
    parts = [*pieces, noise]
    random.shuffle(parts)
    text = b" ".join(parts)
    found = csource.read(text)
    words = [m[0].decode() for m in names.pattern().finditer(text)]
    wanted = [w for w in words if w not in names.COMMON or names.COMMON[w].search(text)]
    assert [hit.name for hit in found.hits] == wanted
    assert 0 <= found.damaged <= found.size == len(text)
    assert all(1 <= hit.line <= text.count(b"\n") + 1 for hit in found.hits)


@pytest.mark.parametrize(
    "head", [b"(", b"{", b"[", b"x->", b"#define A \\\n", b"struct {", b"f(", b"*", b"if (x) ", b"a ? "]
)
def test_deep_nesting_can_be_read(head):
    found = csource.read(head * 3000 + b" vma->vm_start")
    assert [hit.name for hit in found.hits] == ["vm_start"]


def test_idioms_are_rewritten_in_place():
    text = b"int __init f(void) { list_for_each_entry(p, h, lru) { } g(p, struct page, lru); x = a_for_each(b); }"
    ready = cprepare.prepared(text)
    assert len(ready) == len(text)
    assert ready.split() == b"int f(void) { while (p, h, lru) { } g(p, page, lru); x = a_for_each(b); }".split()
    assert cprepare.prepared(b"#define for_each_x(a) y\nint for_each_x(int a);") == (
        b"#define for_each_x(a) y\nint for_each_x(int a);"
    )


def test_clues_are_in_every_name():
    clues = names.clues()
    assert all(any(clue in name.encode() for clue in clues) for name in names.NAMES if name not in names.COMMON)


def test_touched_groups_are_known():
    groups = {g for t in touched.TRACKERS.values() for g in (*t.change, *t.audit)}
    assert groups <= set(names.GROUPS)
    assert all(t.source for t in touched.TRACKERS.values())
    assert set(touched.TRACKERS) == {name.partition(":")[0] for name in designs.trackers()}


def test_shipped_counts():
    for path in touched.SHIPPED.parent.glob("*.csv"):
        counts = touched.load(path)
        assert set(counts["group"]) <= set(names.GROUPS) and (counts["places"] > 0).all()
        assert path.stem.removeprefix("linux-") in path.read_text().splitlines()[0]
    counts = touched.load()
    common, full = (touched.places(counts, name) for name in ("vma-common", "vma-full"))
    assert common["change"] > 1000 > full["change"]  # "hundreds of places"
    assert touched.places(counts, "none") == {"change": 0, "audit": 0}
    assert touched.by_tracker(counts)["places"].sum() > 0


def test_files_without_counts(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="bad.csv: no counts in it"):
        touched.load(tmp_path / "bad.csv")
    with pytest.raises(UsageError, match="none.csv: No such file"):
        touched.load(tmp_path / "none.csv")
