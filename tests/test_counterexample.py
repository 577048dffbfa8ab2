"""Counterexamples as the mails have them: columns, in order, nothing lost, within the width."""

import dataclasses
import re

import pytest
from verdicts import CRASH, MAPPED, WRITTEN, reached, verdict

from workbench.counterexample import WORDS, _placed, as_columns, as_mail, events, lay_out
from workbench.mm.programs import PROGRAMS
from workbench.verdict import HazardVerdict, TraceStep


def actors(*names: str) -> list[TraceStep]:
    return [step for step in CRASH if step.actor in names]


def test_every_step_of_every_program_has_words():
    assert sorted({step for names in PROGRAMS.values() for step in names if step} - set(WORDS)) == []


def test_the_crash_of_2018():
    assert (
        as_columns(CRASH).splitlines()
        == """\
dio/0, irq/1,
kworker/0         flusher           kswapd            device
-------------     -------           ------            ------
dio/0: io_submit()
gup_pte_range()
 [clean; PTE read-only, refcount 2]
write fault: lock_page()
 [clean; locked]
wait_for_stable_page(), set_pte_at()
 [dirty; PTE writable, refcount 3]
unlock_page()
 [dirty; unlocked]
follow_page_pte()
 [dirty; refcount 4, 1 pin]
                  page_mkclean()
                   [dirty; PTE read-only, locked]
                  clear_page_dirty_for_io(), set_page_writeback()
                   [writeback; unlocked]
irq/1: end_page_writeback()
 [clean]
                                                      DMA into the page
                                                       [clean, newer
                                                        than disk]
                                    try_to_unmap()
                                     [clean, newer than disk; unmapped]
                                    try_to_release_page()
                                     [clean, newer than disk; refcount
                                      3]
                                    putback_lru_page()
                                     [clean, no buffers, newer than
                                      disk; refcount 2]
kworker/0: set_page_dirty_lock() <-- bufferless-dirty
 [dirty, no buffers]""".splitlines()
    )


@pytest.mark.parametrize(
    ("names", "head"),
    [
        (["flusher"], ["flusher"]),
        (["kswapd", "dio/0"], ["dio/0", "kswapd"]),
        (["device", "dio/0", "kswapd"], ["dio/0", "kswapd", "device"]),
        (["dio/0", "kworker/0", "flusher", "device"], ["CPU0", "flusher", "device"]),
        (["dio/0", "flusher", "kswapd", "device"], ["dio/0", "flusher", "kswapd", "device"]),
    ],
)
def test_columns(names, head):
    first = as_columns(actors(*names)).splitlines()[0]
    assert re.split(r"  +", first) == head


@pytest.mark.parametrize("width", [40, 60, 72, 100])
def test_nothing_is_lost_and_no_line_is_wider(width):
    text = as_columns(CRASH, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())
    said = "".join(text.split())
    places = [said.index("".join(event["step"].split())) for event in events(CRASH)]
    assert len(set(places)) == len(places)


def test_a_step_about_no_page_changes_nothing():
    told = events([CRASH[1], CRASH[0]])
    assert [event["detail"] for event in told] == ["clean; PTE read-only, refcount 2", ""]
    assert [event["state"] for event in told] == ["clean", "clean"]


def test_a_page_that_is_only_at_hand_is_not_told():
    at_hand = TraceStep("dio/0", "dio", "build_bio", 1, MAPPED, 2, 0)
    assert [event["detail"] for event in events([at_hand, CRASH[1]])] == [
        "",
        "page 0: clean; PTE read-only, refcount 2",
    ]


def test_pages_are_named_where_there_are_several():
    other = dataclasses.replace(CRASH[1], page=1, state=WRITTEN)
    assert [event["state"] for event in events([CRASH[1], other])] == ["page 0: clean", "page 1: dirty"]


def test_a_frame_shows_from_its_first_use_on():
    used, free = TraceStep("fork", "fork", "fork_copy", 1, "PG_anon", 1), TraceStep("child", "child", "child_exit", 1)
    assert [event["state"] for event in events([free, CRASH[1], free])] == ["", "clean", "clean"]
    assert [event["state"] for event in events([used, free])] == ["anonymous, shared", "free"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": f"PG_writeback {MAPPED}", "data": "newer than disk"}, "writeback, no buffers, newer than disk"),
        ({"state": f"PG_private {MAPPED}", "data": "newer than disk"}, "lost: clean, newer than disk"),
        ({"state": f"PG_private PTE_dirty {MAPPED}", "data": "newer than disk"}, "clean, newer than disk"),
        ({"state": "PG_anon PG_anon_exclusive PTE_present"}, "anonymous, exclusive"),
        ({"state": "PG_anon PTE_present"}, "anonymous, shared"),
        ({"state": "", "refcount": 1}, "truncated or free"),
    ],
)
def test_what_a_page_is(fields, words):
    (event,) = events([TraceStep("device", "device", "finish read", 0, **{"refcount": 3, **fields})])
    assert event["state"] == words


def test_the_answer_shows_in_what_comes_next():
    def cleaner(step: str, hazards: tuple[str, ...] = ()) -> TraceStep:
        return TraceStep("fsync", "writeback", step, 0, MAPPED, 3, 0, hazards=hazards)

    ask, end = cleaner("ask"), (cleaner("i_mmap_unlock"), cleaner("decide"))
    assert events([ask])[0]["step"] == "pinned?"
    assert events([ask, *end])[0]["step"] == "pinned? yes"
    assert events([ask, *end, cleaner("clear_page_dirty_for_io")])[0]["step"] == "pinned? no"
    assert events([cleaner("ask", ("missed-pin",))])[0]["step"] == "pinned? no"
    assert "pinned? no <-- missed-pin" in as_columns([cleaner("ask", ("missed-pin",))])


def test_fork_asks_where_the_trace_shows_it():
    def told(*steps: tuple[str, tuple[str, ...]]) -> str:
        return events([TraceStep("fork", "fork", step, 0, "PG_anon", 2, hazards=h) for step, h in steps])[0]["step"]

    words = WORDS["fork_ask"]
    assert "pinned" not in words
    assert told(("fork_ask", ())) == told(("fork_ask", ()), ("fork_share", ())) == words  # perhaps nobody asked
    assert told(("fork_ask", ()), ("fork_copy", ())) == told(("fork_ask", ("false-pin",))) == f"{words}, pinned? yes"
    assert told(("fork_ask", ("missed-pin",))) == f"{words}, pinned? no"
    assert told(("fork_ask", ()), ("fork_share", ("missed-pin",))) == f"{words}, pinned? no"


def test_words_of_later_kernels_stand_only_where_later_kernels_do_such_a_thing():
    later = {
        name: words for name, words in WORDS.items() if re.search("movable|to_migrate|present|unpin_|folio", words)
    }
    assert set(later) == {"fork_copy"}  # taken by none that doesn't ask


def test_who_waits_and_who_finds_nothing():
    def taken(*steps: str) -> list[str]:
        return [e["step"] for e in events([TraceStep("irq/0", "irq", step, 0, MAPPED, 3, 0) for step in steps])]

    assert taken("lock_page", "lock_page", "i_mmap_lock") == ["lock_page(): waits", "lock_page()", "i_mmap_lock_read()"]
    assert taken("map", "map") == [WORDS["map"]] * 2  # does it twice
    assert taken("take_bio", "end_page_writeback", "take_bio") == [
        "interrupt: bio_endio()", "end_page_writeback()", "no more to do",
    ]  # fmt: skip
    assert taken("take_bio") == ["interrupt: bio_endio()"]


def test_times_stand_at_the_left():
    rows = [
        {"time": 1500, "actor": "direct IO", "step": "submit_bio()", "state": "dirty"},
        {"time": float("nan"), "actor": "fsync", "step": "waits", "state": "dirty"},
    ]
    lines = lay_out(rows).splitlines()
    assert lines[2:] == ["1.5us submit_bio()", "       [dirty]", " " * 39 + "waits"]
    assert lay_out([]) == "" and as_columns([]) == ""


def test_a_mail():
    found = verdict("golden-race", "v4.17", {"bufferless-dirty": reached(14, "stable_pages=1")})
    text = as_mail(found, "bufferless-dirty")
    first, *_, last = text.split("\n\n")
    assert " ".join(first.split()) == (
        "bufferless-dirty in golden-race under v4.17: reachable, shortest sequence of 14 steps."
    )
    assert as_columns(CRASH) in text and last == "Conditional on stable_pages=1."
    assert as_mail(found, "stall") == "stall in golden-race under v4.17: unreachable."


def test_a_mail_says_who_waits_and_why_something_is_not_known():
    stuck = HazardVerdict("reachable", 2, CRASH[:2], reason="fsync waits for a pin to go away")
    unknown = HazardVerdict("unknown", reason="stopped at 10 states")
    found = verdict("golden-race", "v4.17", {"stall": stuck, "missed-pin": unknown})
    assert as_mail(found, "stall").endswith("\n\nIn the end: fsync waits for a pin to go away.")
    assert as_mail(found, "missed-pin").endswith("unknown.\n\n(stopped at 10 states)")
    assert max(map(len, as_mail(found, "stall", 50).splitlines())) <= 50


def test_a_hazard_stays_whole_in_a_narrow_column():
    lines = _placed("DMA into the page <--\0unstable-write", 54, 72)
    assert [line.strip() for line in lines] == ["DMA into the page", "<--", "unstable-write"]
