"""The explorer once more: `docs/model.md` as plain, slow Python, written from that page and sharing nothing with it.

A world is lists of dicts, a step is a method of `Model`, and the search is a breadth-first one over frozen copies.
"""

from bisect import bisect_right
from collections import deque

HAZARDS = (
    "bufferless-dirty lost-update unstable-write fsync-lie missed-pin stale-pin false-pin "
    "deadlock stall cow-alias truncate-write count-overflow unmovable"
).split()
FLAGS = (
    "locked dirty writeback lru private waiters dma_pinned cached bh_dirty tag_dirty tag_writeback pte_present "
    "pte_write pte_dirty child_present child_write anon exclusive bounced pte_pinned"
).split()
# `count`, `back`: off-LRU's words; `pincount`: the large folio's, or the pins in `mapcount`;
# `read`: what is under writeback has been read.
GHOSTS = "pins newer_than_disk newer_than_copy ever_pinned known known_in_copy wanted wanted_in_copy read".split()
PAGE = [*FLAGS, "refcount", "mapcount", "count", "back", "pincount", *GHOSTS]
PAGE_WAITS = ("lock", "writeback", "pin")
UNBOUNDED = 1 << 30

PRESETS = {
    "v4.17": "tracker=none,cleaning=ignore,longterm=refuse-dax",
    "hubbard-v1": "tracker=flag-sticky,cleaning=ignore,reclaim=skip,reclaim_asks=before,longterm=refuse-dax",
    "hubbard-v2": "tracker=lru-count,cleaning=skip/wait,reclaim=skip,isize=wait,reclaim_asks=before,order=check-first,"
    "longterm=refuse-dax",
    "kara-virtual-vma": "tracker=vma-common:release=count,cleaning=skip/wait,isize=wait,longterm=refuse-dax",
    "viro-page-lock": "tracker=page-lock,cleaning=ignore,longterm=refuse-dax",
    "glisse-mapcount": "tracker=mapcount,cleaning=skip/bounce,longterm=refuse-dax,truncate=wait",
    "weiny-leases": "tracker=none,cleaning=ignore,longterm=lease+migrate-cma,lease=fail,truncate=wait",
    "v5.7": "tracker=bias,cleaning=ignore,pins=rdma,longterm=refuse-dax+migrate-cma,truncate=wait",
    "v6.1": "tracker=bias,cleaning=ignore,pins=rdma,ext4=warn,longterm=refuse-dax+migrate-first,fork=ask,truncate=wait",
    "v6.12": "tracker=bias,cleaning=ignore,reclaim=skip,reclaim_asks=after,ext4=warn,"
    "longterm=refuse+refuse-dax+migrate-first,fork=ask,truncate=wait",
    "kara-bounce-2023": "tracker=bias,cleaning=skip/bounce,bounce=reserve,reclaim=skip,reclaim_asks=after,"
    "longterm=refuse-dax+migrate-first,fork=ask,truncate=wait",
}
DESIGN = {
    "tracker": "none",
    "cleaning": "ignore",
    "order": "write-protect-first",
    "reclaim_asks": "after",
    "ext4": "bug",
    "wait": "locked",
    "journal": "held",
    "wait_asks": "again",
    "bounce": "plain",
    "longterm": "allow",
    "lease": "revoke",
    "pins": "all",
    "fork": "share",
    "truncate": "ignore",
    "truncated": "lost",
}
OPTIONS = {
    "release": "split",
    "when": "before",
    "charge": "leftmost",
    "early_exit": "yes",
    "subtract_mapcount": "no",
    "learns": "with",
}
# Parameters by the names that the package's scenarios give them; `SCENARIOS` has the small worlds' own values.
COMMON = {
    "journal": 1,
    "gup_fast_steps": 1,
    "stable_pages": 1,
    "bias": 16,
    "dirty": "clean",
    "count_max": UNBOUNDED,
}
REGION = {"registrations": 1, "transfers": 1, "dereg": 1, "dirty_on_release": 1, "on_notice": "release", "grace_us": 0}
SCENARIOS = {
    "golden-race": {"flusher_rounds": 2, "fsync_us": 0, "kswapd_rounds": 2, "dirty": "always"},
    "gup-fast-race": {"flusher_rounds": 1, "fsync_rounds": 1},
    "direct-io": {
        "dio": "legacy",
        "threads": 1,
        "qd": 2,
        "size_kib": 8,
        "ios": 2,
        "gup_pages": 0,
        "bio_pages": 1,
        "shift": 1,
        "rounds": 1,
        "writeback_ms": 1,
        "fsync_ms": 0,
        "reclaim_ms": 0,
        "sync_pages": 0,
        "sync_any": 1,
        "gup_fast_steps": 0,
    },
    "mr-idle-fsync": REGION
    | {"transfers": 2, "flusher_rounds": 1, "fsync_rounds": 1, "kswapd_rounds": 0}
    | {"writer_rounds": 0, "dirty_limit": 1},
    "fork-cow": {"pin": "pinned", "write_protect_seq": 1, "writer_rounds": 1, "child_rounds": 1},
    "truncate-dax": REGION | {"mapping": "dax", "holder": "dio"},
    "wide-map": REGION
    | {"registrations": 3, "transfers": 0, "mappings": 6, "flusher_rounds": 1, "kswapd_rounds": 1}
    | {"bias": 8, "count_max": 23},
    "cma": REGION | {"migrate_rounds": 2, "zone": "cma"},
}
# What the worlds are made of: how many of each actor, and what the pages are at the start.
WORLD = {
    "pages": 1,
    "written": 0,
    "frames": 0,
    "cma": 0,
    "submitters": 0,
    "slots": 1,
    "each": 1,
    "io_pages": 1,
    "fork": 0,
    "rdma": 0,
    "truncate": 0,
}
MADE = {
    "golden-race": {"submitters": 1},
    "gup-fast-race": {"written": 1, "submitters": 1},
    "direct-io": {"written": 1},
    "mr-idle-fsync": {"rdma": 1},
    "fork-cow": {"frames": 1, "submitters": 1, "fork": 1},
    "truncate-dax": {"written": 1, "truncate": 1},
    "wide-map": {"rdma": 1},
    "cma": {"frames": 1, "cma": 1, "rdma": 1},
}


def small_world(scenario, parameters):
    """Give the parameters of a small world, and what it is made of."""
    p = COMMON | SCENARIOS[scenario]
    assert not parameters.keys() - p.keys(), parameters.keys() - p.keys()
    p |= parameters
    world = WORLD | MADE[scenario]
    if scenario == "golden-race":
        p["fsync_rounds"] = int(p["fsync_us"] > 0)
    if scenario == "mr-idle-fsync" and p["writer_rounds"]:
        world["pages"] = 2
    if scenario == "truncate-dax":
        world |= {"submitters": 1} if p["holder"] == "dio" else {"rdma": 1}
    if scenario == "direct-io":
        io_pages = p["size_kib"] // 4
        world |= {"submitters": p["threads"], "slots": p["qd"], "each": p["ios"] // p["threads"], "io_pages": io_pages}
        world["pages"] = io_pages + p["shift"] * (p["threads"] * p["qd"] - 1)
        for name, period in (("flusher", "writeback_ms"), ("fsync", "fsync_ms"), ("kswapd", "reclaim_ms")):
            p[f"{name}_rounds"] = p["rounds"] if p[period] else 0
    return p | world


class Design:
    """What a design's text says, read once more."""

    def __init__(self, text):
        parts = DESIGN | dict(part.split("=", 1) for part in PRESETS.get(text, text).split(","))
        assert not parts.keys() - DESIGN.keys() - {"reclaim", "isize"}, parts
        self.tracker, *options = parts["tracker"].split(":")
        values = OPTIONS | dict(option.split("=") for option in options)
        assert not values.keys() - OPTIONS.keys(), values
        self.release, self.when, self.charge = values["release"], values["when"], values["charge"]
        self.early_exit, self.subtract = values["early_exit"] == "yes", values["subtract_mapcount"] == "yes"
        self.ranges = self.tracker.startswith("vma-")
        # Which pin in a loop behind the walk instead of in it.
        self.after_walk = self.tracker == "lru-count" or values["learns"] == "after"
        self.cleaning = (parts["cleaning"].split("/") * 2)[:2]
        single = "/" not in parts["cleaning"]
        self.reclaim = parts.get("reclaim", self.cleaning[0] if single else "ignore")
        self.check_first = parts["order"] == "check-first"
        self.asks_before = parts["reclaim_asks"] == "before"
        self.bug, self.locked = parts["ext4"] == "bug", parts["wait"] == "locked"
        self.held, self.once = parts["journal"] == "held", parts["wait_asks"] == "once"
        self.reserves = parts["bounce"] == "reserve"
        self.longterm, self.pins = parts["longterm"].split("+"), parts["pins"].split("+")
        self.notifier, self.lease = "notifier" in self.longterm, parts["lease"]
        # Private pages for memory regions.
        self.private = self.tracker == "bounce-pin" and not self.notifier
        self.fork_asks, self.truncate_waits = parts["fork"] == "ask", parts["truncate"] == "wait"
        self.lost = parts["truncated"] == "lost"

    def tells(self, caller):
        return "all" in self.pins or caller in self.pins


class World:
    """What changes: pages, tasks and locks are dicts; bios, ranges and the LRU lists of tuples and numbers."""

    __slots__ = ("pages", "tasks", "locks", "bios", "ranges", "lru")

    def __init__(self, pages, tasks, locks, bios, ranges, lru):
        self.pages, self.tasks, self.locks, self.bios, self.ranges, self.lru = pages, tasks, locks, bios, ranges, lru

    def copy(self):
        return World(
            [page.copy() for page in self.pages],
            [task.copy() for task in self.tasks],
            self.locks.copy(),
            self.bios[:],
            self.ranges[:],
            self.lru[:],
        )


def pages_of(rows):
    return [page for start, n, _ in rows for page in range(start, start + n)]


class Model:
    """One scenario under one design. `self.w` is the world that the step being run changes."""

    def __init__(self, scenario, design, **parameters):
        self.d = Design(design)
        self.p = p = small_world(scenario, parameters)
        self.frames, self.dax = p["frames"], p.get("mapping") == "dax"
        self.iomap, self.bio_pages = p.get("dio") == "iomap", p.get("bio_pages", 1)
        self.gup_batch = p.get("gup_pages") or p["pages"]
        self.sync_pages = min(p.get("sync_pages") or p["pages"], p["pages"])
        self.seq_checked = p.get("write_protect_seq", 0)
        self.events, self.pick, self.options = set(), 0, 1
        self.w = World([], [], {}, [], [], [])
        self.start_pages()
        self.start_tasks()
        self.kinds = [name.split("/")[0] for name in self.names]
        self.pins = [self.tells(kind) for kind in self.kinds]
        untold = ("none", "bounce-pin") + ("page-lock",) * self.dax
        self.told = [pins and self.d.tracker not in untold for pins in self.pins]
        self.watch = "fsync" in self.names
        self.programs = [self.program(kind) for kind in self.kinds]

    # The start.

    def start_pages(self):
        w, p = self.w, self.p
        for number in range(3 if self.frames else p["pages"]):
            page = dict.fromkeys(PAGE, 0)
            w.pages.append(page)
            page["mapcount"] = -1
            if self.frames:
                if number == 0:
                    names = ("pte_present", "pte_write", "pte_dirty", "exclusive", "anon", "lru")
                    page |= dict.fromkeys(names, 1) | {"mapcount": 0, "refcount": 1}
                    w.lru.append(0)
                continue
            page |= {"cached": 1, "pte_present": 1, "refcount": 2, "mapcount": 0}
            if p["written"]:
                page |= {"pte_write": 1, "pte_dirty": 1, "newer_than_disk": 1}
                if not self.dax:
                    page |= dict.fromkeys(("dirty", "tag_dirty", "private", "bh_dirty"), 1) | {"refcount": 3}
            if not self.dax:
                page["lru"] = 1
                w.lru.append(number)
        self.free_page = dict.fromkeys(PAGE, 0) | {"mapcount": -1}

    def start_tasks(self):
        p = self.p
        self.names = []
        for cpu in (0, 1):
            self.add(f"irq/{cpu}", "take_bio", list=(), bio=None, k=0)
        for cpu in (0, 1):
            self.add(f"kworker/{cpu}", "take_work", list=(), bio=None, k=0, why="", granted=0)
        for task in self.w.tasks:
            task["wait"] = ("work", task["me"])
        # what GUP needs: pages got by this call and before it, the PTE as read, seq and the range's handle
        gup = {"got": (), "base": 0, "pte": None, "seq": 0, "handle": -1, "k": 0, "why": "", "granted": 0}
        for i in range(p["submitters"]):
            # `slot`: of the direct IO that is being submitted; of each slot its references, and the pages in its bios
            own = {"ios": p["each"], "slot": 0, "free": tuple(range(p["slots"])), "built": 0, "bio": (), "done": 0}
            own |= {"refs": (0,) * p["slots"], "all": ((),) * p["slots"]}
            self.add(f"dio/{i}", "io_getevents", **gup, **own)
        if p["rdma"]:
            # A registration: its pages, the range's handle, of each page whether the device has it mapped, and whether
            # its private page is newer. `fault`: of the device; `back`: a fault for the copy back from private pages.
            own = {"mrs": (), "left": p["transfers"], "cq": 0, "old": -1, "failed": 0, "bits": None}
            own |= {"fault": 0, "back": 0, "lease": 0, "noticed": 0}
            self.add("rdma/0", "reg_mr", **gup, **own)
        for name in ("flusher", "fsync"):
            if p.get(f"{name}_rounds"):
                cursor = {"cursor": 0, "end": 0, "bio": (), "error": 0}
                own = {"lock": 0, "handle": 0, "answer": None, "told_no": 0, "queued": 0, "granted": 0, "ptes": 0}
                self.add(name, "sleep", rounds=p[f"{name}_rounds"], **cursor, **own)
        if p.get("kswapd_rounds"):
            own = {"budget": 0, "lock": 0, "answer": None, "told_no": 0, "granted": 0, "mapped": 0}
            self.add("kswapd", "sleep", rounds=p["kswapd_rounds"], **own)
        if p["fork"]:
            self.add("fork", "fork_begin", answer=None, told_no=0)
        if p.get("writer_rounds"):
            self.add("writer", "write", rounds=p["writer_rounds"])
        if p["fork"]:
            self.add("child", "child_wait", rounds=p["child_rounds"])
            self.w.tasks[-1]["wait"] = ("fork", 0)
        if p["truncate"]:
            self.add("truncate", "truncate_begin")
        if p.get("mappings"):
            self.add("mapper", "map", k=0)
        if p.get("migrate_rounds"):
            self.add("migrate", "isolate", rounds=p["migrate_rounds"], old=-1, failed=0, bits=None)
        self.w.locks |= {"readers": 0, "writer": 0, "queue": (), "mmap": 0, "fork": 0, "seq": 0}
        self.w.locks |= {"has_pinned": 0, "truncating": 0, "lease_kept": 0}

    def add(self, name, step, **own):
        self.w.tasks.append({"me": len(self.names), "step": step, "wait": None, "page": -1, **own})
        self.names.append(name)

    def tells(self, kind):
        """Say whether a caller pins, or takes plain references."""
        if kind == "rdma" and self.keeps_no_pin(kind):
            return False
        return kind in ("dio", "rdma") and self.d.tells(kind) and not (kind == "dio" and self.p.get("pin") == "plain")

    def keeps_no_pin(self, kind):
        """Say whether it is a memory region that has private pages, or an MMU notifier."""
        return kind == "rdma" and (self.d.notifier or self.d.private)

    def program(self, kind):
        """Bind the steps of a task: a name with the kind before it goes before the plain one."""
        names = [name for name in dir(self) if name.startswith("step_")]
        bound = {name[5:]: getattr(self, name) for name in names}
        own = f"{kind}_"
        return bound | {name[len(own) :]: step for name, step in bound.items() if name.startswith(own)}

    # Waiting and locks.

    def wait(self, task, reason, key=0):
        task["wait"] = (reason, key)
        if reason in PAGE_WAITS:
            self.w.pages[key]["waiters"] = 1

    def wake(self, reason, key=0):
        for task in self.w.tasks:
            if task["wait"] == (reason, key):
                task["wait"] = None

    def wake_page(self, reason, page):
        """Wake; the flag goes when nobody is left who waits for anything on the page."""
        self.wake(reason, page)
        for task in self.w.tasks:
            wait = task["wait"]
            if wait is not None and wait[0] in PAGE_WAITS and wait[1] == page:
                return
            if task.get("queued") == 1 and task["page"] == page:
                return
        self.w.pages[page]["waiters"] = 0

    def lock(self, task, page):
        """Take the page lock, or wait."""
        if self.w.pages[page]["locked"]:
            self.wait(task, "lock", page)
            return False
        self.w.pages[page]["locked"] = 1
        return True

    def unlock(self, page):
        self.w.pages[page]["locked"] = 0
        self.wake_page("lock", page)

    def down(self, task, write):
        """Take i_mmap_rwsem, or queue and wait; one to whom it was handed finds it granted."""
        locks = self.w.locks
        if task["granted"]:
            task["granted"] = 0
            return True
        if locks["queue"] or locks["writer"] or (write and locks["readers"]):
            locks["queue"] += ((task["me"], write),)
            self.wait(task, "rwsem", task["me"])
            return False
        locks["writer" if write else "readers"] += 1
        return True

    def up(self, write):
        locks = self.w.locks
        locks["writer" if write else "readers"] -= 1
        while locks["queue"] and not locks["writer"]:
            me, wants_write = locks["queue"][0]
            if wants_write and locks["readers"]:
                break
            locks["queue"] = locks["queue"][1:]
            locks["writer" if wants_write else "readers"] += 1
            self.w.tasks[me]["granted"] = 1
            self.wake("rwsem", me)

    # Pages.

    def dirty(self, number):
        page = self.w.pages[number]
        if not page["cached"] or self.dax:
            return
        if page["private"]:
            page["bh_dirty"] = 1
        elif not page["dirty"]:
            self.events.add("bufferless-dirty")
        page["dirty"] = page["tag_dirty"] = 1

    def put(self, number, n=1):
        page = self.w.pages[number]
        page["refcount"] -= n
        if page["refcount"] == 0:
            self.free(number)

    def free(self, number):
        """Leave nothing but the lock; what a caller knows to be lost stays lost."""
        page = self.w.pages[number]
        keys = (
            ("locked", "waiters", "pins")
            if self.frames
            else ("locked", "waiters", "pins", "known", "wanted", "ever_pinned")
        )
        kept = {key: page[key] for key in keys}
        if page["lru"]:
            self.w.lru.remove(number)
        page.update(self.free_page)
        page.update(kept)

    def to_lru(self, number):
        self.w.pages[number]["lru"] = 1
        self.w.lru.append(number)

    def off_lru(self, number):
        self.w.pages[number]["lru"] = 0
        self.w.lru.remove(number)

    def true_pin(self, number):
        page = self.w.pages[number]
        page["pins"] += 1
        page["ever_pinned"] = 1

    def end_pin(self, number):
        self.w.pages[number]["pins"] -= 1
        self.pin_ended(number)

    def pin_ended(self, number):
        for task in self.w.tasks:
            if task.get("queued") == 1 and task["page"] == number:
                task["queued"] = 2
        self.wake_page("pin", number)

    def mapped_frame(self, virtual):
        """Find the page behind the owner's PTE, or None."""
        pages = self.w.pages
        if not self.frames:
            return virtual if pages[virtual]["pte_present"] else None
        return next((i for i, page in enumerate(pages) if page["pte_present"]), None)

    def free_frame(self):
        """Give the first free frame outside CMA."""
        outside = list(enumerate(self.w.pages))[self.p["cma"] :]
        return next(i for i, page in outside if not page["refcount"] and not page["locked"])

    def fresh(self, source, **flags):
        """Take a free frame for a copy of `source`."""
        number = self.free_frame()
        copied = {key: self.w.pages[source][key] for key in ("newer_than_disk", "newer_than_copy")}
        self.w.pages[number].update({"anon": 1, "exclusive": 1, "mapcount": 0, "refcount": 1, **copied, **flags})
        return number

    # The tracker.

    def uses_ranges(self, owner):
        return self.d.ranges and self.told[owner] and not self.frames

    def pin(self, number):
        page, tracker = self.w.pages[number], self.d.tracker
        if tracker in ("flag", "flag-sticky"):
            page["dma_pinned"] = 1
        elif tracker == "bias":
            page["refcount"] += self.p["bias"] - 1
        elif tracker == "pte-bit":
            page["pte_pinned"] = 1
        elif tracker == "page-lock":
            page["locked"] = page["dma_pinned"] = 1
        elif tracker == "mapcount" and not page["anon"]:
            page["mapcount"] += 1
            page["pincount"] += 1
        elif tracker == "pincount":
            page["pincount"] += 1
        elif tracker == "lru-count":
            if not page["count"] and page["lru"]:
                self.off_lru(number)
                page["back"] = 1
            page["count"] += 1

    def unpin(self, number):
        page, tracker = self.w.pages[number], self.d.tracker
        if tracker == "flag":
            page["dma_pinned"] = 0
        elif tracker == "bias":
            page["refcount"] -= self.p["bias"] - 1
        elif tracker == "pte-bit":
            page["pte_pinned"] = 0
        elif tracker == "page-lock":
            page["dma_pinned"] = 0
            self.unlock(number)
        elif tracker == "mapcount" and not page["anon"]:
            page["mapcount"] -= 1
            page["pincount"] -= 1
        elif tracker == "pincount":
            page["pincount"] -= 1
        elif tracker == "lru-count":
            page["count"] -= 1
            if not page["count"] and page["back"]:
                page["back"] = 0
                self.to_lru(number)

    def says(self, number):
        """Give the tracker's answer: is it pinned?"""
        page, tracker = self.w.pages[number], self.d.tracker
        if tracker in ("flag", "flag-sticky", "page-lock"):
            return page["dma_pinned"] == 1
        if tracker == "pte-bit":
            return page["pte_pinned"] == 1
        if tracker == "mapcount":
            return page["mapcount"] + 1 > self.ptes(page)
        if tracker == "bias":
            return page["refcount"] - (page["mapcount"] + 1 if self.d.subtract else 0) >= self.p["bias"]
        if tracker == "pincount":
            return page["pincount"] > 0
        if tracker == "lru-count":
            return page["count"] > 0 and not page["lru"]
        if self.d.ranges and not page["anon"]:
            if self.d.early_exit and page["mapcount"] < 0:
                return False
            return any(start <= number <= last for start, last, _, _ in self.w.ranges)
        return False

    def ptes(self, page):
        """Say how many PTEs a walk finds: all that maps the page but the pins."""
        return page["mapcount"] + 1 - (page["pincount"] if self.d.tracker == "mapcount" else 0)

    def locks_to_pin(self, owner):
        """Say whether its pins are page locks."""
        return self.told[owner] and self.d.tracker == "page-lock"

    def ask(self, t, number, answer=None):
        """Ask the tracker, but where the answer has been found otherwise; a right "no" is remembered."""
        page = self.w.pages[number]
        if answer is None:
            answer = self.says(number)
        if not answer and page["pins"]:
            self.events.add("missed-pin")
        if answer and not self.d.ranges:
            self.events |= self.wrong_yes(number)
        t.update(answer=int(answer), told_no=int(not answer and not page["pins"]))

    def wrong_yes(self, number):
        page = self.w.pages[number]
        if page["pins"] or any(t["step"] == "gup_check" and t["pte"][0] == number for t in self.w.tasks):
            return set()
        return {"stale-pin" if page["ever_pinned"] else "false-pin"}

    def act_on_no(self, t, number):
        if t["told_no"] and self.w.pages[number]["pins"]:
            self.events.add("missed-pin")

    def insert(self, entry):
        ranges = self.w.ranges
        ranges.insert(bisect_right([start for start, *_ in ranges], entry[0]), entry)

    def gone(self, entry):
        for page in range(entry[0], entry[1] + 1):
            self.pin_ended(page)

    def release_run(self, start, n, handle):
        """Release a row's run of pages from the tree."""
        if self.d.release == "backpointer":
            for entry in [entry for entry in self.w.ranges if entry[3] == handle]:
                self.less(entry, n)
            return
        page, last = start, start + n - 1
        while page <= last:
            page += self.release_one(page, last)

    def release_one(self, page, last):
        """Release from one range what it covers of the run; says how many pages that were."""
        if self.d.lost and not self.w.pages[page]["cached"]:
            return 1
        covering = [entry for entry in self.w.ranges if entry[0] <= page <= entry[1]]
        if not covering:
            return 1
        entry = covering[self.charged(len(covering))]
        n = min(last, entry[1]) - page + 1
        if self.d.release == "count":
            n = min(n, entry[2])
            self.less(entry, n)
            return n
        self.w.ranges.remove(entry)
        if entry[0] < page:
            self.insert((entry[0], page - 1, 0, 0))
        if page + n <= entry[1]:
            self.insert((page + n, entry[1], 0, 0))
        if entry[0] == page and page + n - 1 == entry[1]:
            self.gone(entry)
        return n

    def charged(self, n):
        """Say which of n covering ranges is charged."""
        if self.d.charge != "any":
            return 0 if self.d.charge == "leftmost" else n - 1
        return self.choose(n)

    def choose(self, n):
        """Take one of n outcomes that the kernel leaves open: which one is the search's to say."""
        self.options = n
        return self.pick

    def less(self, entry, n):
        at = self.w.ranges.index(entry)
        if entry[2] > n:
            self.w.ranges[at] = (*entry[:2], entry[2] - n, entry[3])
        else:
            del self.w.ranges[at]
            self.gone(entry)

    # The device.

    def device(self, start, at):
        """Start a writeback, or finish a bio."""
        kind, owner, rows, _ = bio = self.w.bios[at]
        numbers = pages_of(rows)
        if start:
            self.w.bios[at] = (kind, owner, rows, 1)
            for number in numbers:
                if not self.w.pages[number]["bounced"]:
                    self.into_copy(number)
            return
        del self.w.bios[at]
        if kind == "transfer" and self.d.private:
            self.change_mr(self.w.tasks[owner], -1, newer=(1,) * len(numbers))
        elif kind != "writeback":
            for number in numbers:
                self.land(self.w.pages[number])
        if kind == "transfer":
            self.w.tasks[owner]["cq"] = 1
            self.wake("cq", owner)
            self.wake("device")
            return
        cpu = 1 if kind == "writeback" else int(self.names[owner[0]][-1]) % 2
        self.w.tasks[cpu]["list"] += (bio[:3],)
        self.wake("work", cpu)

    def into_copy(self, number):
        page = self.w.pages[number]
        page["newer_than_copy"], page["read"] = 0, 1
        if not self.private_newer(number):
            page["known_in_copy"], page["wanted_in_copy"] = page["known"], page["wanted"]

    def private_newer(self, number):
        """Say whether a private page of a memory region is newer than the page."""
        mrs = [mr for t in self.w.tasks for mr in t.get("mrs", ())]
        return any(n == number and newer for pages, _, _, news in mrs for n, newer in zip(pages, news, strict=True))

    def land(self, page):
        if page["writeback"] and not page["bounced"]:
            self.events.add("unstable-write")
        if not page["cached"] and not page["anon"]:
            self.events.add("truncate-write")
        page["newer_than_disk"] = page["newer_than_copy"] = 1

    def caller_knows(self, owner, numbers):
        for number in set(numbers) if self.watch else ():
            page, elsewhere = self.w.pages[number], self.private_newer(number)
            if (page["newer_than_disk"] or elsewhere) and not self.others_transfer(owner, number):
                page["known"] = 1
                page["known_in_copy"] = int(page["read"] and not page["newer_than_copy"] and not elsewhere)

    def others_transfer(self, owner, number):
        """Say whether another direct IO into the page is in flight."""
        for t in self.w.tasks:
            for slot, refs in enumerate(t["refs"] if self.kinds[t["me"]] == "dio" else ()):
                first = self.home(t, slot)
                if refs and (t["me"], slot) != owner and first <= number < first + self.p["io_pages"]:
                    return True
        return False

    # Submitter.

    def step_io_getevents(self, t):
        if t["free"]:
            t["step"] = "io_submit"
        else:
            self.wait(t, "dio", t["me"])

    def step_io_submit(self, t):
        if not t["ios"]:
            t["step"] = None
            return
        slot, *free = t["free"]
        t.update(
            ios=t["ios"] - 1, slot=slot, free=tuple(free), base=0, done=0, got=(), built=0, bio=(), step="gup_call"
        )
        self.add_to_slot(t, slot, 1)

    def add_to_slot(self, t, slot, n, pages=()):
        """Give a direct IO that many references and those pages more; says how many references it has."""
        refs, numbers = list(t["refs"]), list(t["all"])
        refs[slot] += n
        numbers[slot] += pages
        t.update(refs=tuple(refs), all=tuple(numbers))
        return refs[slot]

    def gup_pages_wanted(self, t):
        if self.kinds[t["me"]] == "rdma":
            return 1
        left = min(self.gup_batch, self.p["io_pages"] - t["base"])
        return min(left, self.bio_room(t)) if self.iomap else left

    def bio_room(self, t):
        return min(self.bio_pages, self.p["io_pages"] - t["done"]) - len(pages_of(t["bio"]))

    def virtual(self, t):
        """Give the page that GUP, or a fault, is about."""
        kind = self.kinds[t["me"]]
        if kind == "writer" and not self.frames:
            return 1
        if self.frames or kind not in ("dio", "rdma"):
            return 0
        return (self.home(t, t["slot"]) if kind == "dio" else 0) + t["base"] + len(t["got"])

    def home(self, t, slot):
        """Give the first page of the buffer of a direct IO."""
        return self.p.get("shift", 0) * (int(self.names[t["me"]][-1]) * self.p["slots"] + slot)

    def no_pte(self, t):
        """In a world of frames, wait while the page has no PTE."""
        if not self.frames or self.mapped_frame(0) is not None:
            return False
        self.wait(t, "pte")
        return True

    def step_gup_call(self, t):
        if self.no_pte(t):
            return
        if self.pins[t["me"]] and self.p["fork"]:
            self.w.locks["has_pinned"] = 1
        t.update(got=(), pte=None, handle=-1, built=0) if "built" in t else t.update(got=(), pte=None, handle=-1)
        t["seq"] = self.w.locks["seq"] if self.seq_checked else 0
        if self.uses_ranges(t["me"]) and self.d.when == "before":
            t.update(why="insert", step="range_lock")
        else:
            t["step"] = "gup_pages"

    def step_range_lock(self, t):
        if self.down(t, 1):
            t["step"] = {"insert": "range_insert", "release": "range_release", "fail": "gup_fail"}[t["why"]]

    def step_range_insert(self, t):
        n = self.gup_pages_wanted(t)
        first = self.virtual(t) - len(t["got"])
        if self.d.release == "backpointer":
            t["handle"] = t["me"] * 64 + (len(t["mrs"]) if "mrs" in t else t["ios"] * 8 + t["base"])
        else:
            t["handle"] = 0
        self.insert((first, first + n - 1, 0 if self.d.release == "split" else n, max(t["handle"], 0)))
        t["step"] = "range_unlock"

    def step_range_unlock(self, t):
        self.up(1)
        why, t["why"] = t["why"], ""
        if why == "release":
            t["step"] = "release_pages"
        elif self.d.when == "before":
            t["step"] = "gup_pages"
        else:
            self.after_gup(t)

    def enough(self, virtual):
        """Give the PTE if GUP for writing may use it: (page, writable, dirty)."""
        number = self.mapped_frame(virtual)
        if number is None or not self.w.pages[number]["pte_write"]:
            return None
        return number, 1, self.w.pages[number]["pte_dirty"]

    def step_gup_pages(self, t):
        if self.no_pte(t):
            return
        pte = self.enough(self.virtual(t))
        if t["seq"] % 2 and self.p["gup_fast_steps"]:
            t["step"] = "follow_page"
        elif pte is None:
            t["step"] = "fault_lock"
        elif self.p["gup_fast_steps"]:
            t.update(pte=pte, step="gup_take")
        elif self.lock_is_taken(t, pte[0]):
            self.wait(t, "lock", pte[0])
        else:
            self.take(t, pte[0])
            self.keep(t, pte[0])

    def lock_is_taken(self, t, number):
        """Say whether the page lock would be this pin, and somebody has it."""
        return self.locks_to_pin(t["me"]) and not self.d.after_walk and self.w.pages[number]["locked"]

    def take(self, t, number):
        self.w.pages[number]["refcount"] += 1
        if self.told[t["me"]] and not self.d.after_walk:
            self.pin(number)

    def keep(self, t, number):
        """Make it a true pin; the next page, or the call is done."""
        if not self.keeps_no_pin(self.kinds[t["me"]]):
            self.true_pin(number)
        slow = t["step"] == "follow_page"
        t.update(got=(*t["got"], number), pte=None)
        if len(t["got"]) < self.gup_pages_wanted(t):
            t["step"] = "follow_page" if slow else "gup_pages"
        elif self.told[t["me"]] and self.d.after_walk:
            t.update(k=0, step="pin_pages")
        elif self.uses_ranges(t["me"]) and self.d.when == "after":
            t.update(why="insert", step="range_lock")
        else:
            self.after_gup(t)

    def step_gup_take(self, t):
        number = t["pte"][0]
        if not self.w.pages[number]["refcount"] or self.lock_is_taken(t, number):
            t.update(pte=None, step="follow_page")
            return
        self.take(t, number)
        t["step"] = "gup_check"

    def step_gup_check(self, t):
        number = t["pte"][0]
        quiet = not self.seq_checked or t["seq"] == self.w.locks["seq"]
        if quiet and self.enough(self.virtual(t)) == t["pte"]:
            self.keep(t, number)
            return
        t.update(pte=None, step="follow_page")
        if self.told[t["me"]] and not self.d.after_walk:
            self.unpin(number)
        self.put(number)
        self.pin_ended(number)

    def step_follow_page(self, t):
        if self.w.locks["fork"]:
            self.wait(t, "mmap")
            return
        if self.no_pte(t):
            return
        pte = self.enough(self.virtual(t))
        if pte is None:
            t["step"] = "fault_lock"
            return
        if self.lock_is_taken(t, pte[0]):
            self.wait(t, "lock", pte[0])
            return
        self.take(t, pte[0])
        self.keep(t, pte[0])

    def step_pin_pages(self, t):
        number = t["got"][t["k"]]
        if self.locks_to_pin(t["me"]) and self.w.pages[number]["locked"]:
            self.wait(t, "lock", number)
            return
        self.pin(number)
        t["k"] += 1
        if t["k"] == len(t["got"]):
            t["k"] = 0
            self.after_gup(t)

    def after_gup(self, t):
        if self.kinds[t["me"]] == "rdma":
            t["step"] = "mr_check"
        else:
            t.update(base=t["base"] + len(t["got"]), step="build_bio")
            self.add_to_slot(t, t["slot"], 0, t["got"])

    def step_fault_lock(self, t):
        locks = self.w.locks
        if locks["fork"]:
            self.wait(t, "mmap")
            return
        if self.no_pte(t):
            return
        number = self.mapped_frame(0) if self.frames else self.virtual(t)
        if locks["truncating"]:
            inserted = t["handle"] >= 0
            t.update(why="fail" if inserted else "", step="range_lock" if inserted else "gup_fail")
            return
        if not self.lock(t, number):
            return
        locks["mmap"] += 1
        t["page"] = number
        page = self.w.pages[number]
        if not page["cached"] and not page["anon"]:
            page["cached"] = 1
            page["refcount"] += 1
            self.to_lru(number)
        t["step"] = "cow_fault" if self.frames else "fault_pte" if self.dax else "page_mkwrite"

    def step_page_mkwrite(self, t):
        page = self.w.pages[t["page"]]
        if not page["private"]:
            page["private"] = 1
            page["refcount"] += 1
        self.dirty(t["page"])
        t["step"] = "fault_pte"

    def step_fault_pte(self, t):
        page = self.w.pages[t["page"]]
        if self.p["stable_pages"] and page["writeback"]:
            self.wait(t, "writeback", t["page"])
            return
        if not page["pte_present"]:
            page["mapcount"] += 1
            page["refcount"] += 1
        page["pte_present"] = page["pte_write"] = page["pte_dirty"] = 1
        t["step"] = "fault_unlock"

    def step_cow_fault(self, t):
        old = self.w.pages[t["page"]]
        alone = old["refcount"] == 1 if self.d.fork_asks else old["mapcount"] == 0
        if old["pte_write"] or old["exclusive"] or alone:
            old["pte_write"] = old["pte_dirty"] = old["exclusive"] = 1
        else:
            if old["pins"]:
                self.events.add("cow-alias")
            self.fresh(t["page"], pte_present=1, pte_write=1, pte_dirty=1)
            old["pte_present"] = old["pte_write"] = old["pte_dirty"] = old["pte_pinned"] = 0
            old["mapcount"] -= 1
            self.put(t["page"])
        t["step"] = "fault_unlock"

    def step_fault_unlock(self, t):
        self.unlock(t["page"])
        t["page"] = -1
        self.w.locks["mmap"] -= 1
        if not self.w.locks["mmap"]:
            self.wake("mmap")
        if self.kinds[t["me"]] == "writer":
            t["step"] = "write"
        elif t.get("back"):
            t.update(back=0, step="dereg_detached")
        else:
            t["step"] = "follow_page" if self.p["gup_fast_steps"] else "gup_pages"

    def step_gup_fail(self, t):
        if t["handle"] >= 0:
            first = self.virtual(t) - len(t["got"])
            mine = [e for e in self.w.ranges if e[0] == first and e[3] == max(t["handle"], 0)]
            self.w.ranges.remove(mine[-1])
            self.gone(mine[-1])
            self.up(1)
        for number in () if t.get("back") else t["got"]:
            self.let_go(t["me"], number)
        t.update(step=None, got=(), handle=-1, why="")

    def let_go(self, owner, number):
        """Unpin, reference −1, the true pin ends; of a range's page only the reference is left."""
        if self.keeps_no_pin(self.kinds[owner]):
            self.put(number)
            self.pin_ended(number)
            return
        if not self.uses_ranges(owner):
            if self.told[owner]:
                self.unpin(number)
            self.put(number)
            self.end_pin(number)
            return
        self.put(number)
        if self.dax:
            self.pin_ended(number)  # truncation waits for references

    def journal_held(self):
        return any(t["handle"] for t in self.w.tasks if "cursor" in t)

    def step_build_bio(self, t):
        if not t["bio"] and not self.iomap and self.journal_held():
            self.wait(t, "journal")
            return
        n = min(len(t["got"]) - t["built"], self.bio_room(t))
        row = (t["got"][t["built"]], n, t["handle"])
        t.update(built=t["built"] + n, bio=(*t["bio"], row), k=0)
        full = "submit_bio" if self.p["dirty"] == "always" else "bio_set_pages_dirty"
        t["step"] = "gup_call" if self.bio_room(t) else full

    def dirty_next(self, t, numbers, owner, then):
        """Lock, dirty and unlock the next page of a list; a step each. Who has pinned it by its lock needs no other."""
        number = numbers[t["k"]]
        if self.locks_to_pin(owner):
            self.dirty(number)
        elif not self.lock(t, number):
            return
        else:
            self.dirty(number)
            self.unlock(number)
        t["k"] += 1
        if t["k"] == len(numbers):
            t.update(k=0, step=then)

    def step_bio_set_pages_dirty(self, t):
        self.dirty_next(t, pages_of(t["bio"]), t["me"], "submit_bio")

    def step_submit_bio(self, t):
        self.w.bios.append(("read", (t["me"], t["slot"]), t["bio"], 0))
        t.update(done=t["done"] + len(pages_of(t["bio"])), bio=())
        if t["done"] == self.p["io_pages"]:  # the reference that submission has held is this bio's now
            t.update(slot=0, got=(), built=0, base=0, handle=-1, seq=0, done=0, step="io_getevents")
        else:
            self.add_to_slot(t, t["slot"], 1)
            t["step"] = "build_bio" if t["built"] < len(t["got"]) else "gup_call"

    # Interrupt, kworker.

    def step_take_bio(self, t):
        if not t["list"]:
            self.wait(t, "work", t["me"])
            return
        bio = t["list"][0]
        step = "end_page_writeback" if bio[0] == "writeback" else "check_pages_dirty"
        t.update(bio=bio, list=t["list"][1:], step=step)

    def step_check_pages_dirty(self, t):
        _, owner, rows = t["bio"]
        needs = self.p["dirty"] == "always" or any(not self.w.pages[p]["dirty"] for p in pages_of(rows))
        if not needs and not self.uses_ranges(owner[0]):
            t["step"] = "release_pages"
            return
        worker = self.w.tasks[t["me"] + 2]
        worker["list"] += ((needs, owner, rows),)
        self.wake("work", worker["me"])
        t["step"] = "dio_bio_complete"

    def step_release_pages(self, t):
        numbers = pages_of(t["bio"][2])
        self.let_go(t["bio"][1][0], numbers[t["k"]])
        t["k"] += 1
        if t["k"] < len(numbers):
            return
        t["k"] = 0
        if self.kinds[t["me"]] == "kworker":
            t.update(bio=None, step="take_work")
        else:
            t["step"] = "dio_bio_complete"

    def step_dio_bio_complete(self, t):
        me, slot = t["bio"][1]
        dio = self.w.tasks[me]
        if not self.add_to_slot(dio, slot, -1):
            numbers = list(dio["all"])
            self.caller_knows((me, slot), numbers[slot])
            numbers[slot] = ()
            dio.update(free=(slot, *dio["free"]), all=tuple(numbers))
            self.wake("dio", me)
        t.update(bio=None, step="take_bio")

    def step_end_page_writeback(self, t):
        for number in pages_of(t["bio"][2]):
            page = self.w.pages[number]
            page["writeback"] = page["tag_writeback"] = page["read"] = page["bounced"] = 0
            if not page["newer_than_copy"]:
                page["newer_than_disk"] = 0
            for name in ("known", "wanted"):
                if page[f"{name}_in_copy"]:
                    page[name] = page[f"{name}_in_copy"] = 0
            self.wake_page("writeback", number)
        self.wake("dirty")
        t.update(bio=None, step="take_bio")

    def step_take_work(self, t):
        if not t["list"]:
            self.wait(t, "work", t["me"])
            return
        t.update(bio=t["list"][0], list=t["list"][1:])
        t["step"] = "set_page_dirty_lock" if t["bio"][0] else self.release_step(t)

    def release_step(self, t):
        if self.uses_ranges(t["bio"][1][0]):
            t["why"] = "release"
            return "range_lock"
        return "release_pages"

    def step_set_page_dirty_lock(self, t):
        self.dirty_next(t, pages_of(t["bio"][2]), t["bio"][1][0], "")
        if t["step"] == "":
            t["step"] = self.release_step(t)

    def release_next(self, t, rows, then):
        """Release the next page of the rows from its range; a step each."""
        number = pages_of(rows)[t["k"]]
        handle = next(handle for start, n, handle in rows if start <= number < start + n)
        self.release_run(number, 1, handle)
        self.end_pin(number)
        t["k"] += 1
        if t["k"] == len(pages_of(rows)):
            t.update(k=0, step=then)

    def step_range_release(self, t):
        self.release_next(t, t["bio"][2], "range_unlock")

    # Cleaners.

    def step_sleep(self, t):
        if not t["rounds"]:
            t["step"] = None
            return
        t["rounds"] -= 1
        if self.kinds[t["me"]] == "kswapd":
            t.update(budget=len(self.w.lru), step="isolate")
            return
        first, end = 0, self.sync_pages
        if self.p.get("sync_any"):
            first = self.choose(len(self.w.pages))
            end = first + 1
        t.update(cursor=first, end=end, error=0, step="find_dirty")
        if self.kinds[t["me"]] == "fsync":
            for page in self.w.pages[first:end]:
                page["wanted"], page["wanted_in_copy"] = page["known"], page["known_in_copy"]

    def tagged(self, t, tag):
        return next((i for i in range(t["cursor"], t["end"]) if self.w.pages[i][tag]), None)

    def step_find_dirty(self, t):
        number = self.tagged(t, "tag_dirty")
        t["cursor"] = t["end"] if number is None else number
        if t["bio"] and (number is None or number != t["bio"][-1] + 1):
            t["step"] = "submit_bio"
        elif number is not None:
            t.update(page=number, step="lock_page")
        elif self.kinds[t["me"]] == "fsync":
            t.update(cursor=0, end=self.sync_pages, step="wait_writeback")
        else:
            t.update(cursor=0, end=0, step="sleep")

    def step_flusher_submit_bio(self, t):
        self.w.bios.append(("writeback", -1, tuple((number, 1, -1) for number in t["bio"]), 0))
        t.update(bio=(), step="find_dirty")

    def step_fsync_submit_bio(self, t):
        self.step_flusher_submit_bio(t)

    def leave(self, t):
        """Unlock, drop the handle; the next page."""
        if t["lock"]:
            self.unlock(t["page"])
        t.update(lock=0, cursor=t["page"] + 1, page=-1, answer=None, told_no=0, queued=0, step="find_dirty")
        self.drop_handle(t)

    def drop_handle(self, t):
        t["handle"] = 0
        if not self.journal_held():
            self.wake("journal")

    def step_lock_page(self, t):
        page = self.w.pages[t["page"]]
        if not t["lock"]:
            if t["bio"] and (page["locked"] or page["writeback"]):
                self.drop_handle(t)
                t.update(page=-1, step="submit_bio")
                return
            t["handle"] = self.p["journal"]
            if not self.lock(t, t["page"]):
                return
            t["lock"] = 1
        flusher = self.kinds[t["me"]] == "flusher"
        if not page["cached"] or not page["dirty"] or (flusher and page["writeback"]):
            self.leave(t)
        elif page["writeback"]:
            self.wait(t, "writeback", t["page"])
        elif page["private"]:
            t["step"] = "i_mmap_lock"
        elif self.d.bug:
            t["step"] = None
        else:
            self.events.add("lost-update")
            page["dirty"] = page["tag_dirty"] = 0
            self.leave(t)

    def policy(self, t):
        return self.d.cleaning[self.kinds[t["me"]] == "fsync"]

    def writes_pinned(self, t):
        return self.policy(t) in ("write-keep-dirty", "bounce")

    def step_i_mmap_lock(self, t):
        if not self.down(t, 0):
            return
        t["handle"] = self.p["journal"]
        t["step"] = "ask" if self.d.check_first and self.asks(t) else "page_mkclean"

    def asks(self, t):
        return self.policy(t) != "ignore"

    def step_page_mkclean(self, t):
        page = self.w.pages[t["page"]]
        if not self.invalidate(t, t["page"]):
            return
        t["ptes"] = self.ptes(page) if self.d.tracker == "mapcount" else 0
        if page["pte_present"] and (page["pte_write"] or page["pte_dirty"]):
            page["pte_write"] = page["pte_dirty"] = 0
            self.dirty(t["page"])
        t["step"] = "ask" if self.asks(t) and t["answer"] is None else "i_mmap_unlock"

    def step_ask(self, t):
        if self.policy(t) == "wait":
            self.w.pages[t["page"]]["waiters"] = 1
            t["queued"] = 1
        by_walk = self.d.tracker == "mapcount" and not self.d.check_first
        self.ask(t, t["page"], self.w.pages[t["page"]]["mapcount"] + 1 > t["ptes"] if by_walk else None)
        t["ptes"] = 0
        protect = self.d.check_first and (not t["answer"] or self.writes_pinned(t))
        t["step"] = "page_mkclean" if protect else "i_mmap_unlock"

    def step_i_mmap_unlock(self, t):
        self.up(0)
        t["step"] = "decide"

    def step_decide(self, t):
        policy = self.policy(t)
        if policy == "wait" and self.w.locks["lease_kept"]:
            policy = "report"
            t["queued"] = 0
        if not t["answer"] or self.writes_pinned(t):
            t.update(queued=0, step="clear_page_dirty_for_io")
        elif policy != "wait":
            t["error"] |= int(policy == "report" and self.kinds[t["me"]] == "fsync")
            self.leave(t)
        elif t["bio"]:  # nobody waits with a bio unsubmitted: that first, and then look again
            number = t["page"]
            t.update(lock=0, page=-1, answer=None, queued=0, step="submit_bio")
            self.unlock(number)
            self.drop_handle(t)
        else:
            self.wait_for_pin(t)

    def wait_for_pin(self, t):
        """Wait, unless a pin has ended since the question; then begin again, or with the lock kept ask no more."""
        self.tell_holders()
        number, ended = t["page"], t["queued"] == 2
        t.update(queued=0)
        if not self.d.held:
            self.drop_handle(t)
        if not ended:
            self.wait(t, "pin", number)
        if not self.d.locked:
            t.update(lock=0, answer=None, step="lock_page")
            self.unlock(number)
        elif self.d.once:
            t.update(answer=0, told_no=1)
        else:
            t.update(answer=None, step="i_mmap_lock")

    def step_clear_page_dirty_for_io(self, t):
        page = self.w.pages[t["page"]]
        self.act_on_no(t, t["page"])
        page["writeback"] = page["tag_writeback"] = 1
        bounces = t["answer"] and self.policy(t) == "bounce"
        if bounces:
            page["bounced"] = 1
            self.into_copy(t["page"])
        if not t["answer"] or (bounces and self.d.reserves):
            page["dirty"] = page["bh_dirty"] = page["tag_dirty"] = 0
        t["bio"] += (t["page"],)
        self.leave(t)

    def step_wait_writeback(self, t):
        number = self.tagged(t, "tag_writeback")
        if number is not None:
            self.wait(t, "writeback", number)
            t["cursor"] = number
            return
        if not t["error"] and any(page["wanted"] for page in self.w.pages):
            self.events.add("fsync-lie")
        for page in self.w.pages:
            page["wanted"] = page["wanted_in_copy"] = 0
        t.update(cursor=0, end=0, error=0, step="sleep")

    # kswapd.

    def step_kswapd_isolate(self, t):
        if not self.w.lru or not t["budget"]:
            t.update(budget=0, step="sleep")
            return
        number = self.w.lru[0]
        self.off_lru(number)
        self.w.pages[number]["refcount"] += 1
        t.update(budget=t["budget"] - 1, page=number, step="trylock_page")

    def step_trylock_page(self, t):
        page = self.w.pages[t["page"]]
        if page["locked"]:
            t["step"] = "putback"
            return
        page["locked"] = t["lock"] = 1
        if page["writeback"]:
            t["step"] = "putback"
            return
        after = self.d.reclaim != "ignore" and not self.d.asks_before
        t["step"] = "i_mmap_lock" if page["mapcount"] >= 0 or after else "test_dirty"

    def step_kswapd_i_mmap_lock(self, t):
        if self.down(t, 0):
            t["step"] = "try_to_unmap"

    def step_try_to_unmap(self, t):
        page, asks = self.w.pages[t["page"]], self.d.reclaim != "ignore"
        if not self.invalidate(t, t["page"]):
            return
        if asks and self.d.asks_before:
            self.ask(t, t["page"])
        if not t["answer"]:
            self.unmap(t["page"])
            others = self.ptes(page)
            page["refcount"] -= others
            page["mapcount"] -= others
            page["pte_pinned"] &= int(not others)
            t["mapped"] = int(page["mapcount"] >= 0)
        if asks and not self.d.asks_before:
            self.ask(t, t["page"])
        t["step"] = "i_mmap_unlock"

    def unmap(self, number):
        """Take the owner's PTE off, and its dirty bit to the page; says whether there was one."""
        page = self.w.pages[number]
        if not page["pte_present"]:
            return False
        was_dirty = page["pte_dirty"]
        page["pte_present"] = page["pte_write"] = page["pte_dirty"] = page["pte_pinned"] = 0
        if was_dirty:
            self.dirty(number)
        page["mapcount"] -= 1
        page["refcount"] -= 1
        return True

    def step_kswapd_i_mmap_unlock(self, t):
        self.up(0)
        t["step"] = "test_dirty"

    def step_test_dirty(self, t):
        kept = t["answer"] or t["mapped"] or self.w.pages[t["page"]]["dirty"]
        t["step"] = "putback" if kept else "try_to_release_page"

    def step_try_to_release_page(self, t):
        page = self.w.pages[t["page"]]
        if page["bh_dirty"] or page["writeback"]:
            t["step"] = "putback"
            return
        if page["private"]:
            self.act_on_no(t, t["page"])
            page["private"] = 0
            page["refcount"] -= 1
        t["step"] = "remove_mapping"

    def step_remove_mapping(self, t):
        page = self.w.pages[t["page"]]
        if page["refcount"] == 2 and not page["dirty"]:
            if page["newer_than_disk"]:
                self.events.add("lost-update")
            self.free(t["page"])
            page["refcount"] = 1
        t["step"] = "putback"

    def step_putback(self, t):
        number = t["page"]
        page = self.w.pages[number]
        if t["lock"]:
            self.unlock(number)
        self.put(number)
        if page["cached"]:
            self.back_to_lru(number)
        t.update(page=-1, lock=0, answer=None, told_no=0, mapped=0, step="isolate")

    def back_to_lru(self, number):
        """At the head; one that off-LRU has pinned meanwhile goes back at its last unpin."""
        if self.w.pages[number]["count"]:
            self.w.pages[number]["back"] = 1
        else:
            self.to_lru(number)

    # RDMA.

    def step_reg_mr(self, t):
        rules = self.d.longterm
        refused = ("refuse" in rules and not self.frames) or ("refuse-dax" in rules and self.dax)
        if refused and not self.keeps_no_pin("rdma"):
            t["step"] = None
            return
        t.update(lease=int("lease" in rules), step="gup_call")

    def step_mr_check(self, t):
        if self.keeps_no_pin("rdma"):
            t["step"] = "mr_detach"
            return
        rules = ("migrate-first",) if self.p.get("zone") == "movable" else ("migrate-first", "migrate-cma")
        migrates = any(rule in self.d.longterm for rule in rules)
        in_cma = self.p["cma"] and 0 in t["got"]
        if in_cma and migrates:
            t["step"] = "mr_undo"
            return
        if in_cma:
            self.events.add("unmovable")
        self.registered(t, mapped=0)

    def registered(self, t, mapped):
        n = len(t["got"])
        t.update(mrs=(*t["mrs"], (t["got"], t["handle"], (mapped,) * n, (0,) * n)), got=(), handle=-1)
        t["step"] = "reg_mr" if len(t["mrs"]) < self.p["registrations"] else "post_recv"

    def change_mr(self, t, at, **new):
        """Change a registration."""
        mrs = list(t["mrs"])
        mrs[at] = tuple((dict(zip(("pages", "handle", "mapped", "newer"), mrs[at], strict=True)) | new).values())
        t["mrs"] = tuple(mrs)

    def step_mr_detach(self, t):
        """Keep no pin: private pages, or a mapping that can be taken back; or GUP again for what is not writable."""
        pages = [self.w.pages[number] for number in t["got"]]
        writable = all(page["pte_present"] and page["pte_write"] for page in pages)
        for number in t["got"]:
            self.let_go(t["me"], number)
        if self.d.notifier and not writable:
            t["step"] = "gup_call"
        elif t["fault"]:
            self.change_mr(t, -1, pages=t["got"], mapped=(1,) * len(t["got"]))
            t.update(fault=0, got=(), handle=-1, step="post_recv")
        else:
            self.registered(t, mapped=int(self.d.notifier))

    def invalidate(self, t, number):
        """Take the page back from all devices, or wait for the transfer into it."""
        for region in [task for task in self.w.tasks if "mrs" in task]:
            busy = any(kind == "transfer" and owner == region["me"] for kind, owner, _, _ in self.w.bios)
            for at, (pages, _, mapped, _) in enumerate(region["mrs"]):
                if not any(n == number and on for n, on in zip(pages, mapped, strict=True)):
                    continue
                if busy and at == len(region["mrs"]) - 1:  # where all transfers go
                    self.wait(t, "device")
                    return False
                self.unmap_device(region, at, number)
        return True

    def unmap_device(self, region, at, number):
        """Take the page back from one registration."""
        pages, _, mapped, _ = region["mrs"][at]
        left = tuple(int(on and n != number) for n, on in zip(pages, mapped, strict=True))
        if left != mapped:
            self.change_mr(region, at, mapped=left)
            self.dirty(number)

    def step_mr_undo(self, t):
        for number in t["got"]:
            self.let_go(t["me"], number)
        t.update(got=(), step="isolate")

    def step_post_recv(self, t):
        if not t["left"]:
            t.update(seq=0, step="lease_notice" if t["noticed"] == 1 else "idle")
            return
        if self.d.notifier and not all(t["mrs"][-1][2]):
            t.update(fault=1, got=(), step="gup_call")
            return
        self.w.bios.append(("transfer", t["me"], tuple((n, 1, -1) for n in t["mrs"][-1][0]), 0))
        t.update(left=t["left"] - 1, step="poll_cq")

    def step_poll_cq(self, t):
        if not t["cq"]:
            self.wait(t, "cq", t["me"])
            return
        self.caller_knows(t["me"], t["mrs"][-1][0])
        t.update(cq=0, step="post_recv")

    def step_idle(self, t):
        if self.p["dereg"]:
            self.deregister(t)
        else:
            self.wait(t, "user", t["me"])

    def deregister(self, t):
        t.update(k=0, step="dereg_detached" if self.keeps_no_pin("rdma") else "dereg_dirty")

    def step_dereg_dirty(self, t):
        numbers = t["mrs"][0][0]
        then = "dereg_release"
        if self.uses_ranges(t["me"]):
            then = "dereg_lock"
        if self.w.pages[numbers[t["k"]]]["dirty"] or not self.p["dirty_on_release"]:
            t["k"] += 1
            if t["k"] == len(numbers):
                t.update(k=0, step=then)
        else:
            self.dirty_next(t, numbers, t["me"], then)

    def step_dereg_lock(self, t):
        if self.down(t, 1):
            t["step"] = "dereg_range"

    def step_dereg_range(self, t):
        numbers, handle, _, _ = t["mrs"][0]
        self.release_next(t, ((numbers[0], len(numbers), handle),), "dereg_unlock")

    def step_dereg_unlock(self, t):
        self.up(1)
        t["step"] = "dereg_release"

    def step_dereg_release(self, t):
        self.let_go(t["me"], t["mrs"][0][0][t["k"]])
        self.next_of_release(t)

    def next_of_release(self, t):
        """Go on to the next page, the next registration, or the end."""
        t["k"] += 1
        if t["k"] == len(t["mrs"][0][0]):
            t.update(mrs=t["mrs"][1:], step=None)
            if t["mrs"]:
                self.deregister(t)
            else:
                t["k"] = 0
                self.leases_change()

    def step_dereg_detached(self, t):
        pages, _, _, newer = t["mrs"][0]
        if self.d.notifier:
            self.unmap_device(t, 0, pages[t["k"]])
            self.next_of_release(t)
            return
        if self.no_pte(t):
            return
        page = self.w.pages[self.mapped_frame(0) if self.frames else pages[t["k"]]]
        if not page["pte_present"] or not page["pte_write"]:
            t.update(back=1, got=pages[: t["k"]], step="fault_lock")
            return
        page["pte_dirty"] = 1
        if newer[t["k"]]:
            page["newer_than_disk"] = page["newer_than_copy"] = 1
        self.change_mr(t, 0, newer=(*newer[: t["k"]], 0, *newer[t["k"] + 1 :]))
        t["got"] = ()
        self.next_of_release(t)

    # Leases.

    def holders(self):
        return [t for t in self.w.tasks if t.get("lease") and t["step"] is not None]

    def tell_holders(self):
        """Tell who has a lease; one that still transfers hears it when that is over."""
        for t in self.holders():
            if not t["noticed"]:
                t["noticed"] = 1
                if t["step"] == "idle":
                    t.update(step="lease_notice", wait=None)

    def leases_change(self):
        """One is gone, or is kept: who waits for a pin looks again."""
        if not self.holders():
            self.w.locks["lease_kept"] = 0
        for number in range(len(self.w.pages) if "lease" in self.d.longterm else 0):
            self.pin_ended(number)

    def step_lease_notice(self, t):
        t["noticed"] = 2
        if self.p["on_notice"] == "release":
            self.deregister(t)
        else:
            t["step"] = "lease_grace"

    def step_lease_grace(self, t):
        if self.d.lease == "revoke":
            self.deregister(t)
            return
        t["step"] = "idle"
        if self.d.lease == "fail":
            self.w.locks["lease_kept"] = 1
            self.leases_change()

    def truncate_gives_way(self, t, number):
        """Have the leases given up, and wait for that; or fail."""
        if self.w.locks["lease_kept"]:
            self.w.locks["truncating"] = 0
            t.update(page=-1, step=None)
            return
        self.tell_holders()
        self.wait(t, "pin", number)

    # Writer, fork, child.

    def step_write(self, t):
        number = self.mapped_frame(self.virtual(t))
        if number is None or not self.w.pages[number]["pte_write"]:
            t["step"] = "fault_lock"
            return
        page = self.w.pages[number]
        page["newer_than_disk"] = page["newer_than_copy"] = page["pte_dirty"] = 1
        t["rounds"] -= 1
        if "dirty_limit" in self.p:
            t["step"] = "balance_dirty_pages"
        elif not t["rounds"]:
            t["step"] = None

    def step_balance_dirty_pages(self, t):
        if sum(page["dirty"] or page["writeback"] for page in self.w.pages) >= self.p["dirty_limit"]:
            self.wait(t, "dirty")
        else:
            t["step"] = "write" if t["rounds"] else None

    def step_fork_begin(self, t):
        locks = self.w.locks
        if locks["mmap"]:
            self.wait(t, "mmap")
            return
        locks["fork"] = 1
        locks["seq"] += 1
        t["step"] = "fork_ask"

    def step_fork_ask(self, t):
        page = self.w.pages[self.mapped_frame(0)]
        if self.d.fork_asks and self.w.locks["has_pinned"]:
            page["refcount"] += 1  # the child's
            self.ask(t, self.mapped_frame(0))
            page["refcount"] -= 1
        t["step"] = "fork_copy" if t["answer"] and page["exclusive"] else "fork_share"

    def step_fork_copy(self, t):
        self.fresh(self.mapped_frame(0), child_present=1, child_write=1)
        t["step"] = "fork_end"

    def step_fork_share(self, t):
        number = self.mapped_frame(0)
        page = self.w.pages[number]
        self.act_on_no(t, number)
        page.update(pte_write=0, child_present=1, exclusive=0)
        page["mapcount"] += 1
        page["refcount"] += 1
        t["step"] = "fork_end"

    def step_fork_end(self, t):
        locks = self.w.locks
        locks["seq"] += 1
        locks["fork"] = 0
        self.wake("mmap")
        self.wake("fork")
        t.update(answer=None, told_no=0, step=None)

    def step_child_wait(self, t):
        t["step"] = "child_write" if t["rounds"] else "child_exit"

    def childs_frame(self):
        return next(i for i, page in enumerate(self.w.pages) if page["child_present"])

    def step_child_write(self, t):
        number = self.childs_frame()
        page = self.w.pages[number]
        if not page["child_write"]:
            if page["mapcount"] == 0:
                page["child_write"] = 1
            else:
                self.fresh(number, child_present=1, child_write=1)
                self.child_leaves(number)
        t["rounds"] -= 1
        if not t["rounds"]:
            t["step"] = "child_exit"

    def child_leaves(self, number):
        page = self.w.pages[number]
        page["child_present"] = page["child_write"] = 0
        page["mapcount"] -= 1
        self.put(number)

    def step_child_exit(self, t):
        self.child_leaves(self.childs_frame())
        t["step"] = None

    # Truncation.

    def step_truncate_begin(self, t):
        if self.holders():
            self.truncate_gives_way(t, 0)
            return
        self.w.locks["truncating"] = 1
        t.update(page=0, step="unmap_range")

    def step_unmap_range(self, t):
        if not self.invalidate(t, t["page"]):
            return
        self.unmap(t["page"])
        waits = self.dax and self.d.truncate_waits
        t["step"] = "truncate_idle" if waits else "truncate_lock"

    def step_truncate_idle(self, t):
        if self.w.pages[t["page"]]["refcount"] > 1:
            self.truncate_gives_way(t, t["page"])
        else:
            t["step"] = "truncate_lock"

    def step_truncate_lock(self, t):
        if self.lock(t, t["page"]):
            t["step"] = "truncate_page"

    def step_truncate_page(self, t):
        number = t["page"]
        page = self.w.pages[number]
        if page["writeback"]:
            self.wait(t, "writeback", number)
            return
        page["refcount"] -= page["private"]
        names = "private bh_dirty dirty tag_dirty tag_writeback cached newer_than_disk newer_than_copy".split()
        page.update(dict.fromkeys([*names, "known", "known_in_copy", "wanted", "wanted_in_copy", "back"], 0))
        self.put(number)
        t["step"] = "truncate_unlock"

    def step_truncate_unlock(self, t):
        self.unlock(t["page"])
        t["page"] += 1
        if t["page"] < len(self.w.pages):
            t["step"] = "unmap_range"
        else:
            t.update(page=-1, step=None)

    # Mapper.

    def step_map(self, t):
        page = self.w.pages[0]
        if not self.lock(t, 0):
            return
        if not page["cached"]:
            page["cached"] = 1
            page["refcount"] += 1
            self.to_lru(0)
        page["mapcount"] += 1
        page["refcount"] += 1
        self.unlock(0)
        t["k"] += 1
        if t["k"] == self.p["mappings"]:
            t["step"] = "unmap"

    def step_unmap(self, t):
        page = self.w.pages[0]
        if self.ptes(page) > page["pte_present"]:
            page["mapcount"] -= 1
            page["refcount"] -= 1
        t["k"] -= 1
        if not t["k"]:
            t["step"] = None

    # Migration, by cma_alloc or by a registration.

    def step_isolate(self, t):
        number = self.mapped_frame(0)
        if number != 0 or not self.w.pages[0]["lru"]:
            if self.kinds[t["me"]] == "rdma":
                t["step"] = "gup_call"
                return
            t["failed"] = 1
            self.attempt_over(t)
            return
        self.off_lru(0)
        self.w.pages[0]["refcount"] += 1
        t.update(page=0, old=0, step="migrate_lock")

    def step_migrate_lock(self, t):
        if self.lock(t, t["page"]):
            t["step"] = "migrate_unmap"

    def step_migrate_unmap(self, t):
        page = self.w.pages[t["page"]]
        if not self.invalidate(t, t["page"]):
            return
        t["bits"] = (page["pte_write"], page["pte_dirty"])
        page["pte_present"] = page["pte_write"] = page["pte_dirty"] = 0
        page["mapcount"] -= 1
        page["refcount"] -= 1
        t["step"] = "migrate_move"

    def step_migrate_move(self, t):
        old = self.w.pages[t["page"]]
        if old["refcount"] != 1 + old["cached"] + old["private"]:
            t["failed"] = 1
        else:
            number = self.free_frame()
            self.w.pages[number].update(old)
            self.w.pages[number]["waiters"] = 0
            self.free(t["page"])
            t["page"] = number
        t["step"] = "migrate_remap"

    def step_migrate_remap(self, t):
        page = self.w.pages[t["page"]]
        page["pte_present"] = 1
        page["pte_write"], page["pte_dirty"] = t["bits"]
        page["mapcount"] += 1
        page["refcount"] += 1
        self.wake("pte")
        t.update(bits=None, step="putback")

    def step_migrate_putback(self, t):
        number, old = t["page"], t["old"]
        self.unlock(number)
        if old != number:
            self.unlock(old)
        self.put(number)
        self.back_to_lru(number)
        t.update(page=-1, old=-1)
        self.attempt_over(t)

    def step_rdma_putback(self, t):
        self.step_migrate_putback(t)

    def attempt_over(self, t):
        failed, t["failed"] = t["failed"], 0
        if self.kinds[t["me"]] == "rdma":
            t["step"] = None if failed else "gup_call"
            return
        t["rounds"] -= 1
        t["step"] = "isolate" if failed and t["rounds"] else None

    # What may happen next, and what has gone wrong.

    def transitions(self):
        """List what may happen: (-1, start?, bio) of the device, or (task, 0, 0)."""
        found = []
        for at, (kind, _, _, started) in enumerate(self.w.bios):
            found.append((-1, int(kind == "writeback" and not started), at))
        for task in self.w.tasks:
            if task["wait"] is None and task["step"] is not None and task["step"] != "idle":
                found.append((task["me"], 0, 0))
        return found

    def optional(self):
        return [(t["me"], 0, 0) for t in self.w.tasks if t["step"] == "idle" and t["wait"] is None]

    def label(self, action, pick=0):
        """Say what a transition does: (actor, step, page, outcome)."""
        me, start, at = action
        if me < 0:
            kind, _, rows, started = self.w.bios[at]
            first = pages_of(rows)[0]
            same = [i for i, b in enumerate(self.w.bios) if (b[0], pages_of(b[2])[0]) == (kind, first)]
            same = [i for i in same if self.w.bios[i][3] == started]
            return "device", f"{'start' if start else 'finish'} {kind}", first, same.index(at)
        task = self.w.tasks[me]
        page = task["page"]
        if page < 0 and task["step"] in ("gup_pages", "gup_take", "gup_check", "follow_page", "fault_lock"):
            page = self.virtual(task)
        return self.names[me], task["step"], page, pick

    def do(self, action, pick=0):
        me, start, at = action
        self.pick, self.options = pick, 1
        counts = self.counts()
        if me < 0:
            self.device(start, at)
        else:
            task = self.w.tasks[me]
            self.programs[me][task["step"]](task)
        if any(before < now > self.p["count_max"] for before, now in zip(counts, self.counts(), strict=True)):
            self.events.add("count-overflow")

    def counts(self):
        """Give the counts that may overflow, where they have a limit."""
        pages = self.w.pages if self.p["count_max"] < UNBOUNDED else ()
        return [page[name] for page in pages for name in ("refcount", "count", "pincount")]

    def bugged(self):
        """List the pages whose lock a thread holds that BUG_ON has killed."""
        return [t["page"] for t in self.w.tasks if t["step"] is None and t.get("lock")]

    def at_rest(self, is_end):
        """Judge a world in which nobody has a step that must come; at an end, none that may either."""
        found, bugged, idle = set(), self.bugged(), self.idle_pages()
        waits = [t["wait"] for t in self.w.tasks if t["wait"] is not None]
        throttled = ("dirty", 0) in waits
        waits = [wait for wait in waits if wait[0] not in ("work", "user", "dirty")]
        for number, page in enumerate(self.w.pages):
            says = self.says(number)
            false = says and not page["pins"] and not (waits and self.d.ranges)
            if false:
                found |= self.wrong_yes(number)
            if not bugged and self.held_up(page, false, says and number in idle):
                found.add("stall")
            if is_end and page["cached"] and page["newer_than_disk"] and not self.dax and (bugged or not waits):
                if number in bugged or not (page["dirty"] or page["pte_dirty"]):
                    found.add("lost-update")
        if waits and not bugged:
            found.add(self.who_waits(waits, idle))
        if throttled and not bugged and self.stay_dirty(idle) >= self.p["dirty_limit"]:
            found.add("stall")
        return found

    def stay_dirty(self, idle):
        """Count the dirty pages that the flusher will not get clean."""
        policy = self.d.cleaning[0]
        if policy == "ignore" or (policy == "bounce" and self.d.reserves):
            return 0
        left = [n for n, page in enumerate(self.w.pages) if page["dirty"] and self.says(n)]
        return sum(n in idle or not self.w.pages[n]["pins"] for n in left)

    def idle_pages(self):
        """List the pages that an idle holder of a memory region has pinned."""
        if self.keeps_no_pin("rdma"):
            return set()
        return {n for t in self.w.tasks if t["step"] == "idle" for mr in t["mrs"] for n in mr[0]}

    def held_up(self, page, false, by_idle):
        """Say whether the flusher skips the page for ever, or reclaim one that is only said to be pinned."""
        skips = "flusher" in self.names and self.d.cleaning[0] in ("skip", "report")
        asks = "kswapd" in self.names and self.d.reclaim != "ignore"
        return (skips and page["dirty"] and (false or by_idle)) or (asks and false)

    def who_waits(self, waits, idle):
        """Stall if somebody waits for a pin that nothing need ever end, or that is only said to be there."""
        pinners = {"dio", "kworker", "rdma"}
        own = [t["wait"] for t in self.w.tasks if self.kinds[t["me"]] in pinners and t["wait"] is not None]
        owned = self.d.ranges and any(reason not in ("work", "user", "dio") for reason, _ in own)
        for reason, key in waits:
            if reason == "pin" and (key in idle or not (self.w.pages[key]["pins"] or owned)):
                return "stall"
            if reason == "lock" and key in idle and self.d.tracker == "page-lock" and self.w.pages[key]["dma_pinned"]:
                return "stall"
        return "deadlock"

    def kind_of_end(self, found):
        if self.bugged():
            return "bug"
        return next((kind for kind in ("deadlock", "stall") if kind in found), "other" if found else "good")

    # Frozen worlds.

    def freeze(self, table):
        """Make the world a tuple of numbers, one for each part; `table` has the numbers of parts, and the parts."""
        w, (numbers, parts) = self.w, table
        if len(w.bios) > 1:
            w.bios.sort(key=lambda bio: (bio[0], bio[2][0][0]))
        for page in w.pages:
            if not page["read"] or page["anon"]:
                page["newer_than_copy"] = 0  # means nothing before the device has read the page
        found = []
        for part in [*w.pages, *w.tasks, w.locks, w.bios, w.ranges, w.lru]:
            value = tuple(part) if type(part) is list else tuple(part.values())
            number = numbers.get(value)
            if number is None:
                number = numbers[value] = len(parts)
                parts.append(part)
            found.append(number)
        return tuple(found)

    def thaw(self, key, table):
        """Give the world again, to be looked at or copied, not changed."""
        parts = [table[1][number] for number in key]
        n, m = len(self.w.pages), len(self.names)
        return World(parts[:n], parts[n : n + m], *parts[n + m :])

    def log(self):
        keys = ("refcount", "mapcount", "pins", "newer_than_disk", "newer_than_copy")
        return {
            number: (frozenset(flag for flag in FLAGS if page[flag]), *(page[key] for key in keys))
            for number, page in enumerate(self.w.pages)
        }


def search(scenario, design, limit=5_000_000, **parameters):
    """Explore; gives the verdict, and a function that gives the shortest schedule to a hazard."""
    model = Model(scenario, design, **parameters)
    table = ({}, [])
    first = model.freeze(table)
    seen = {first: (None, None)}
    queue = deque([(first, 0)])
    hazards, where, ends = dict.fromkeys(HAZARDS), {}, {}

    def note(found, depth, parent, action):
        for hazard in found:
            if hazards[hazard] is None:
                hazards[hazard], where[hazard] = depth, (parent, action)

    while queue and len(seen) < limit:
        key, depth = queue.popleft()
        world = model.w = model.thaw(key, table)
        actions, optional = model.transitions(), model.optional()
        if not actions:
            found = model.at_rest(not optional)
            note(found, depth, key, None)
            if not optional:
                kind = model.kind_of_end(found)
                ends[kind] = ends.get(kind, 0) + 1
        for action in actions + optional:
            pick, model.options = 0, 1
            while pick < model.options:
                model.w, model.events = world.copy(), set()
                model.do(action, pick)
                if model.events:
                    note(model.events, depth + 1, key, (action, pick))
                found = model.freeze(table)
                if found not in seen:
                    seen[found] = (key, (action, pick))
                    queue.append((found, depth + 1))
                pick += 1

    def schedule(hazard):
        parent, action = where[hazard]
        steps = []
        while parent is not None:
            if action is not None:
                model.w = model.thaw(parent, table)
                steps.append(model.label(*action))
            parent, action = parent, seen[parent]
            parent, action = action
        return steps[::-1]

    verdict = {"hazards": hazards, "states": len(seen), "complete": not queue, "ends": ends}
    return verdict, schedule


def explore(scenario, design, **parameters):
    """Say of each hazard how many steps its shortest counterexample has, or None."""
    return search(scenario, design, **parameters)[0]


class Run:
    """One run through a world, step by step."""

    def __init__(self, scenario, design, **parameters):
        self.model = Model(scenario, design, **parameters)

    def possible(self):
        """List what may come next: (actor, step), and of the device the page and which of its bios."""
        model = self.model
        labels = [model.label(action) for action in model.transitions() + model.optional()]
        return sorted(label if label[0] == "device" else label[:2] for label in labels)

    def take(self, actor, step, page, outcome):
        """Run a step; gives the hazards that it shows, and how many outcomes it might have had."""
        model = self.model
        model.events = set()
        model.do(self.find(actor, step, page, outcome), outcome)
        return model.events, model.options

    def find(self, actor, step, page, outcome):
        model = self.model
        for action in model.transitions() + model.optional():
            name, *what = model.label(action)
            if name == actor and (what == [step, page, outcome] if actor == "device" else what[0] == step):
                return action
        raise AssertionError(f"{actor} can't do {step!r} on page {page} now")

    def outcomes(self, actor, step, page, nth):
        """Say how many outcomes a step has, without taking it."""
        world = self.model.w
        self.model.w = world.copy()
        _, options = self.take(actor, step, page, nth)
        self.model.w = world
        return options

    def judge(self):
        """Hazards of the world as it stands, if it is at rest, and the kind of end, if it is one."""
        model = self.model
        if model.transitions():
            return set(), None
        is_end = not model.optional()
        found = model.at_rest(is_end)
        return found, model.kind_of_end(found) if is_end else None
