"""Counterexamples that read like the mails: a column per actor, time downwards, the page in brackets below.

A trace of `explore` becomes events in the words of the kernel's functions; events become text for a mail, or a
figure (`charts.space_time`).
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.tables import COLUMNS, number
from workbench.verdict import TraceStep, Verdict

# What a step is called in a mail.
WORDS = {
    # get_user_pages and its faults
    "gup_call": "get_user_pages_fast()",
    "range_lock": "i_mmap_lock_write()",
    "range_insert": "range into the tree",
    "range_unlock": "i_mmap_unlock_write()",
    "gup_pages": "gup_pte_range()",
    "gup_take": "page_cache_get_speculative()",
    "gup_check": "reads PTE again",
    "follow_page": "follow_page_pte()",
    "pin_pages": "pins after the walk",
    "fault_lock": "write fault: lock_page()",
    "page_mkwrite": "->page_mkwrite()",
    "fault_pte": "wait_for_stable_page(), set_pte_at()",
    "cow_fault": "do_wp_page()",
    "fault_unlock": "unlock_page()",
    "gup_fail": "fault fails, puts what it got",
    # direct IO
    "io_getevents": "io_getevents()",
    "io_submit": "io_submit()",
    "build_bio": "get_block(), bio_add_page()",
    "bio_set_pages_dirty": "bio_set_pages_dirty()",
    "submit_bio": "submit_bio()",
    "take_bio": "interrupt: bio_endio()",
    "check_pages_dirty": "bio_check_pages_dirty()",
    "release_pages": "put_page(), unpinned",
    "dio_bio_complete": "dio_bio_complete()",
    "end_page_writeback": "end_page_writeback()",
    "take_work": "bio_dirty_fn()",
    "set_page_dirty_lock": "set_page_dirty_lock()",
    "range_release": "range out of the tree",
    # cleaners
    "sleep": "main loop",
    "find_dirty": "pagevec_lookup_tag()",
    "lock_page": "lock_page()",
    "i_mmap_lock": "i_mmap_lock_read()",
    "i_mmap_unlock": "i_mmap_unlock_read()",
    "page_mkclean": "page_mkclean()",
    "ask": "pinned?",
    "decide": "decides",
    "clear_page_dirty_for_io": "clear_page_dirty_for_io(), set_page_writeback()",
    "wait_writeback": "wait_on_page_writeback()",
    # reclaim
    "isolate": "isolate_lru_page()",
    "trylock_page": "trylock_page()",
    "try_to_unmap": "try_to_unmap()",
    "test_dirty": "PageDirty()?",
    "try_to_release_page": "try_to_release_page()",
    "remove_mapping": "__remove_mapping()",
    "putback": "putback_lru_page()",
    # memory regions
    "reg_mr": "ib_umem_get()",
    "mr_check": "ib_umem_get() has its pins",
    "mr_undo": "put_page(), unpinned",
    "mr_detach": "put_page(): nothing stays pinned",
    "post_recv": "ib_post_recv()",
    "poll_cq": "ib_poll_cq()",
    "idle": "ib_dereg_mr()",
    "lease_notice": "hears that it is to let go",
    "lease_grace": "grace period is over",
    "dereg_dirty": "__ib_umem_release(): set_page_dirty_lock()",
    "dereg_lock": "i_mmap_lock_write()",
    "dereg_range": "range out of the tree",
    "dereg_unlock": "i_mmap_unlock_write()",
    "dereg_release": "put_page(), unpinned",
    "dereg_detached": "mapping, or private page, given up",
    # the device
    "start writeback": "disk reads the page",
    "finish writeback": "write is done",
    "finish read": "DMA into the page",
    "finish write": "DMA from the page",
    "finish transfer": "DMA into the page",
    # the others
    "write": "stores to the page",
    "balance_dirty_pages": "balance_dirty_pages()",
    "fork_begin": "dup_mmap(): mmap_lock",
    "fork_ask": "copy_page_range(): comes to the page",
    "fork_copy": "copy_present_page()",
    "fork_share": "ptep_set_wrprotect(): shared",
    "fork_end": "dup_mmap() ends",
    "child_wait": "child runs",
    "child_write": "child stores to the page",
    "child_exit": "child exits",
    "truncate_begin": "truncate_pagecache()",
    "unmap_range": "unmap_mapping_range()",
    "truncate_idle": "waits for refcount 1",
    "truncate_lock": "lock_page()",
    "truncate_page": "truncate_complete_page()",
    "truncate_unlock": "unlock_page()",
    "migrate_lock": "lock_page()",
    "migrate_unmap": "PTE becomes a migration entry",
    "migrate_move": "migrate_page_move_mapping()",
    "migrate_remap": "remove_migration_ptes()",
    "map": "another process maps the page",
    "unmap": "another process unmaps it",
}
# These have a page at hand, the one before or the next, but do nothing to it.
_ABOUT_NO_PAGE = {
    "io_getevents", "io_submit", "gup_call", "build_bio", "submit_bio", "sleep", "find_dirty", "take_bio", "take_work",
    "reg_mr", "mr_check", "post_recv", "poll_cq", "fork_begin", "fork_end", "truncate_begin", "lease_notice",
    "lease_grace", "balance_dirty_pages",
}  # fmt: skip
_TAKES = ("take_bio", "take_work")  # and find nothing, after the last one
# Taken twice in a row on the same page, these had to wait the first time.
_WAITS = {
    "io_getevents", "range_lock", "follow_page", "fault_lock", "fault_pte", "build_bio", "bio_set_pages_dirty",
    "submit_bio", "set_page_dirty_lock", "lock_page", "i_mmap_lock", "decide", "wait_writeback", "poll_cq",
    "dereg_dirty", "dereg_lock", "fork_begin", "truncate_idle", "truncate_lock", "truncate_page", "migrate_lock",
    "pin_pages", "page_mkclean", "try_to_unmap", "unmap_range", "migrate_unmap", "dereg_detached", "truncate_begin",
    "balance_dirty_pages",
}  # fmt: skip
# Who stands in the first column where there are too many actors for one each.
_SUBMIT = ("dio", "direct", "irq", "kworker", "rdma", "writer")


def events(trace: Iterable[TraceStep]) -> list[dict[str, Any]]:
    """Put a trace into words.

    Parameters
    ----------
    trace : iterable of TraceStep

    Returns
    -------
    list of dict
        For each step ``actor``, ``step``, ``state`` (what the page is then, shortly), ``detail`` (the same with what
        has changed of its PTE, lock and counts; empty: nothing has) and ``hazards``. A step that is about no page
        leaves the page as it was.
    """
    steps = list(trace)
    several = len({s.page for s in steps if s.page >= 0 and s.refcount}) > 1
    told: list[dict[str, Any]] = []
    written: set[int] = set()
    known: dict[int, list[str]] = {}
    state = ""
    for place, step in enumerate(steps):
        detail = ""
        first = step.page >= 0 and step.refcount > 0 and step.step not in _ABOUT_NO_PAGE
        if first or step.page in known:  # else none, or a frame that is free as yet
            flags = step.state.split()
            if "PG_dirty" in flags or step.data:
                written.add(step.page)
            parts = _parts(step, flags, step.page in written)
            state = (f"page {step.page}: " if several else "") + parts[0]
            detail = _changes(state, parts, known.get(step.page, _AT_FIRST))
            known[step.page] = parts
        words = _step(step, steps[:place], steps[place + 1 :])
        told.append({"actor": step.actor, "step": words, "state": state, "detail": detail, "hazards": step.hazards})
    return told


_AT_FIRST = ["", "", "unlocked", "", "no pin"]


def _parts(step: TraceStep, flags: Sequence[str], written: bool) -> list[str]:
    """Say what the page is, and how its PTE, its lock and its counts are."""
    pte = "unmapped"
    if "PTE_present" in flags:
        pte = "PTE writable" if "PTE_write" in flags else "PTE read-only"
    locked = "locked" if "PG_locked" in flags else "unlocked"
    pins = f"{step.pins or 'no'} pin{'s' * (step.pins > 1)}"
    return [_page(step, flags, written), pte, locked, f"refcount {step.refcount}", pins]


def _changes(state: str, now: Sequence[str], before: Sequence[str]) -> str:
    changed = [new for new, old in zip(now[1:], before[1:], strict=True) if new != old]
    return "; ".join([state, *([", ".join(changed)] if changed else [])]) if now != before else ""


def _page(step: TraceStep, flags: Sequence[str], written: bool) -> str:
    """What the page is, in the words that colour figures."""
    if "PG_anon" in flags:
        return "anonymous, exclusive" if "PG_anon_exclusive" in flags else "anonymous, shared"
    if "PG_cached" not in flags:
        return "truncated or free" if step.refcount else "free"
    state = next((w for w in ("writeback", "dirty") if f"PG_{w}" in flags), "clean")
    newer = "newer than disk" in step.data
    if state == "clean" and newer and not step.pins and "PTE_dirty" not in flags:
        return f"lost: clean, {step.data}"
    parts = [state]
    if "PG_private" not in flags and "PG_lru" in flags and written:
        parts.append("no buffers")
    if newer and state != "dirty":
        parts.append(step.data)
    return ", ".join(parts)


def _step(step: TraceStep, before: Sequence[TraceStep], later: Sequence[TraceStep]) -> str:
    """Say what a step did; what it found shows in what its actor does next."""
    words = WORDS.get(step.step, step.step)
    mine = [s for s in later if s.actor == step.actor][:4]
    if step.step == "ask":
        names = {s.step for s in mine}
        if "missed-pin" in step.hazards or {"clear_page_dirty_for_io", "page_mkclean"} & names:
            return f"{words} no"
        return f"{words} yes" if len(mine) > 1 else words
    if step.step == "fork_ask":
        return words + _fork_was_told(step, mine)
    again = bool(mine) and (mine[0].step, mine[0].page) == (step.step, step.page)
    if step.step in _TAKES and (again or not mine) and any(s.actor == step.actor for s in before):
        return "no more to do"
    return f"{words}: waits" if again and step.step in _WAITS else words


def _fork_was_told(ask: TraceStep, mine: Sequence[TraceStep]) -> str:
    """What fork was told of the page; nothing where it can't be known whether it asked: many kernels don't."""
    hazards = {hazard for s in (ask, *mine[:1]) for hazard in s.hazards}
    if "missed-pin" in hazards:
        return ", pinned? no"
    return ", pinned? yes" if "false-pin" in hazards or (mine and mine[0].step == "fork_copy") else ""


# ---- columns


def as_columns(trace: Iterable[TraceStep], width: int = COLUMNS) -> str:
    """Lay a counterexample out for a mail.

    Parameters
    ----------
    trace : iterable of TraceStep
    width : int, optional
        No line is longer.

    Returns
    -------
    str
        Up to four columns; see `lay_out`. Empty for an empty trace.
    """
    return lay_out(events(trace), width)


def lay_out(rows: Sequence[Mapping[str, Any]], width: int = COLUMNS) -> str:
    """Lay events out in a column per actor; where they are more than three, in columns by what actors do.

    Parameters
    ----------
    rows : sequence of mapping
        As `events` gives them: ``actor``, ``step``, ``state``; and may have ``detail`` in the place of the state,
        ``hazards``, and ``time`` in ns.
    width : int, optional
        No line is longer.

    Returns
    -------
    str
        Steps in order, each in its actor's column; below it in brackets what the page is, if it is another thing
        than before; a hazard is marked where it shows.
    """
    if not rows:
        return ""
    lanes, heads = _lanes([str(r["actor"]) for r in rows])
    clock = max((len(_time(r)) + 1 for r in rows), default=0) if any(r.get("time") is not None for r in rows) else 0
    starts = _starts(rows, lanes, len(heads), clock, width)
    lines = _heading(heads, starts, width)
    crowded = {lane for lane in lanes.values() if sum(other == lane for other in lanes.values()) > 1}
    spoke: dict[int, str] = {}
    before = ""
    for row in rows:
        actor = str(row["actor"])
        lane = lanes[actor]
        name = f"{actor}: " if lane in crowded and spoke.get(lane) != actor else ""
        spoke[lane] = actor
        marks = "".join(f" <--\0{hazard}" for hazard in row.get("hazards", ()))
        lines += _placed(name + str(row["step"]) + marks, starts[lane], width, _time(row) if clock else "")
        state = str(row["state"])
        now = str(row.get("detail", state if state != before else ""))
        lines += _placed(f"[{now}]", starts[lane] + 1, width) if now else []
        before = state
    return "\n".join(lines)


def _time(row: Mapping[str, Any]) -> str:
    time = row.get("time")
    return "" if time is None or math.isnan(time) else number(time, "ns")


def _lanes(actors: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Find for each actor its column, and what stands above the columns; the device is the last one."""
    names = sorted(dict.fromkeys(actors), key=_kind)  # in the order in which they come, by kind
    groupings = ([[n] for n in names], _grouped(names, _cpu), _grouped(names, _kind))
    columns = next((g for g in groupings if len(g) <= 3), groupings[-1])
    heads = [g[0] if len(g) == 1 else _cpu(g[0]) if len({_cpu(n) for n in g}) == 1 else ", ".join(g) for g in columns]
    return {name: k for k, group in enumerate(columns) for name in group}, heads


def _grouped(names: Sequence[str], key: Any) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def _cpu(actor: str) -> str:
    """CPU of a thread that submits, of its interrupts and of its kworker; others are by themselves."""
    program, slash, cpu = actor.partition("/")
    return f"CPU{cpu}" if slash and program in _SUBMIT else actor


def _kind(actor: str) -> int:
    """Those who submit, those who clean and all others, reclaim, the device."""
    if actor.startswith(_SUBMIT):
        return 0
    if actor.startswith("kswapd"):
        return 2
    return 3 if actor.startswith("device") else 1


def _starts(
    rows: Sequence[Mapping[str, Any]], lanes: Mapping[str, int], count: int, clock: int, width: int
) -> list[int]:
    """Where columns start: the last one has room for its longest word, the others are as wide as each other."""
    words = [w for r in rows if lanes[str(r["actor"])] == count - 1 for w in str(r["step"]).split()]
    last = min(max([len(w) for w in words] + [(width - clock) // count]), width - clock - 2 * count)
    pitch = (width - clock - last) // max(count - 1, 1)
    return [clock + k * pitch for k in range(count)]


def _heading(heads: Sequence[str], starts: Sequence[int], width: int) -> list[str]:
    ends = [*(start - 2 for start in starts[1:]), width]
    cells = [textwrap.wrap(h, max(end - start, 4)) for h, start, end in zip(heads, starts, ends, strict=True)]
    tall = max(len(cell) for cell in cells)
    lines = [""] * (tall + 1)
    for cell, start in zip(cells, starts, strict=True):
        for k, text in enumerate([""] * (tall - len(cell)) + cell):
            lines[k] = lines[k].ljust(start) + text
        lines[tall] = lines[tall].ljust(start) + "-" * max(len(text) for text in cell)
    return [line.rstrip() for line in lines]


def _placed(text: str, start: int, width: int, time: str = "") -> list[str]:
    """Wrap a text from its column to the edge of the paper."""
    indent = " " * start
    first = time.ljust(start) if time else indent
    if max(map(len, text.split()), default=0) >= width - start:  # a mark and its hazard: on two lines then
        text = text.replace("\0", " ")
    lines = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent + " ", break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


# ---- a mail


def as_mail(verdict: Verdict, hazard: str, width: int = COLUMNS) -> str:
    """Write the shortest counterexample of one hazard as it can be pasted into a mail.

    Parameters
    ----------
    verdict : Verdict
    hazard : str
        A name of `verdict.hazards`.
    width : int, optional
        No line is longer.

    Returns
    -------
    str
        What, under which design, in how many steps; the steps; who waits for what at the end, and which modelling
        decisions the verdict hangs on. For a hazard that was not reached, one sentence.
    """
    found = verdict.hazards[hazard]
    where = f"{hazard} in {verdict.scenario} under {verdict.design}: {found.verdict}"
    if found.verdict == "reachable":
        where += f", shortest sequence of {found.depth} steps"
    parts = [where + ".", as_columns(found.trace, width)]
    parts += [f"In the end: {found.reason}."] if found.reason and found.trace else []
    parts += [f"({found.reason})"] if found.reason and not found.trace else []
    parts += [f"Conditional on {', '.join(found.conditional)}."] if found.conditional else []
    prose = [part if "\n" in part else textwrap.fill(part, width, break_on_hyphens=False) for part in parts if part]
    return "\n\n".join(prose)
