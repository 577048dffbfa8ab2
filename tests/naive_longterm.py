"""`rdma-longterm` page by page, in plain Python with sets and lists, written from docs/model.md §12.

It takes from the package the parameters, the design's parts, the costs and what a tracker answers, and no step.
"""

import math

import numpy as np

from workbench import costs, designs
from workbench.scenarios.base import check_parameters
from workbench.scenarios.rdma_longterm import NAME, PARAMETERS

PS = 10**12
LOOK = ("TAG_SCAN", "PAGE_LOCK", "RWSEM", "SPIN_LOCK", "PIN_TEST")
WRITE = ("PTE_UPDATE", "TLB_FLUSH", "WRITEPAGE", "BIO_PAGE")
SCAN = ("RECLAIM_PAGE", "PAGE_LOCK", "RWSEM", "SPIN_LOCK", "PTE_UPDATE", "TLB_FLUSH", "PIN_TEST")


def cost(*counters):
    return round(1000 * sum(costs.DEFAULT.entries[c].ns for c in counters if c in costs.DEFAULT.entries))


class Rate:
    """Whole pages that are due, tick by tick."""

    def __init__(self, mib_s, tick):
        self.pages_s, self.tick, self.credit = round(mib_s * 256), tick, 0

    def due(self):
        self.credit += self.pages_s * self.tick
        pages, self.credit = divmod(self.credit, PS)
        return pages


class Longterm:
    def __init__(self, design, parameters, seed, answers):
        p = self.p = check_parameters(NAME, PARAMETERS, parameters)
        self.design, self.answers = designs.parse(design), answers
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.count = {}
        self.now, self.tick = 0, round(p["tick_ms"] / 1000 * PS)
        self.folio = 1 << p["folio_order"]
        self.lay_out(p)
        self.dirty, self.towrite, self.writeback, self.bounced = set(), set(), set(), set()
        self.writable, self.device, self.target, self.pinned = set(), set(), set(), set()
        self.says, self.newer, self.fresh, self.stream = set(), set(), set(), set()
        self.resident = set(range(self.file))
        self.referenced = set()
        self.inactive = [f * self.folio for f in reversed(range(self.file // self.folio))]  # the head first
        self.active = []
        self.since = {}
        self.queue, self.disk_credit = [], 0
        self.disk_rate = max(round(p["disk_mib_s"] * 256), 1)
        self.bandwidth = (self.disk_rate * self.tick // PS) << 10
        self.room = max(2 * (self.disk_rate * self.tick // PS) // self.folio, 4) * self.folio
        self.writes, self.reads = Rate(p["write_mib_s"], self.tick), Rate(p["read_mib_s"], self.tick)
        self.moves = Rate(p["transfer_mib_s"], self.tick)
        self.transfer_page = self.read_frame = 0
        self.low = max(int(self.pages / 128) // self.folio, 1) * self.folio
        self.high = max(int(self.pages / 64) // self.folio, 2) * self.folio
        self.throttled = self.scan_time = 0
        self.round, self.next_flush, self.wakes = None, self.ps("flush_s"), True
        self.syncing, self.next_sync, self.latency = None, self.ps("sync_s"), []
        self.told = "rdma" in self.design.pins
        self.rule = self.design.longterm
        self.private, self.has_private = set(), False
        if self.design.tracker_name == "bounce-pin" and "notifier" not in self.rule:
            self.has_private = True
        self.policy = {"none": self.design.none, "all": self.design.all, "reclaim": self.design.reclaim}
        self.asks_before = self.design.reclaim_asks == "before"
        if self.design.tracker_name == "page-lock" and self.told:
            self.policy, self.asks_before = {"none": "wait", "all": "wait", "reclaim": "skip"}, True
        self.off_lru = (self.told and answers.off_lru) or p["mlocked"] == "yes"
        self.state = ["away"] * self.regions
        self.due = [0] * self.regions
        self.cooperative = list(self.rng.random(self.regions) < p["holders_release"])
        self.locked = [0] * p["holders"]
        self.outside = self.pages - self.movable

    def lay_out(self, p):
        unit = max(self.folio, 64)
        self.pages = math.ceil(p["pages"] / unit) * unit
        self.file = max(int(self.pages * p["file_share"]) // unit, 1) * unit
        self.inode = math.ceil(self.file / (p["files"] * unit)) * unit
        self.size = p["region_kib"] // 4
        self.regions = int(self.file * p["pinned_share"]) // self.size
        if p["regions"]:
            self.regions = min(self.regions, p["regions"])
        spread = self.regions and p["placement"] == "spread"
        self.stride = self.file // self.regions if spread else self.size
        self.movable = int(self.pages * p["movable_share"]) // 512 * 512

    def ps(self, name):
        return round(self.p[name] * PS)

    def tally(self, name, n=1):
        self.count[name] = self.count.get(name, 0) + n

    # ---- pages and folios

    def head_of(self, page):
        return page // self.folio * self.folio

    def pages_of(self, head):
        return range(head, head + self.folio)

    def says_yes(self, head):
        return any(q in self.says for q in self.pages_of(head))

    def has_pin(self, head):
        return any(q in self.pinned for q in self.pages_of(head))

    def free(self):
        return self.pages - len(self.resident)

    def listed(self, head):
        return head in self.inactive or head in self.active

    def unlist(self, head):
        for lru in (self.inactive, self.active):
            if head in lru:
                lru.remove(head)

    def set_dirty(self, page):
        if page in self.dirty:
            return
        inode = page // self.inode
        if not any(q // self.inode == inode for q in self.dirty):
            self.since[inode] = self.now
        self.dirty.update(self.pages_of(self.head_of(page)))

    def write_fault(self, page):
        head = self.head_of(page)
        if page not in self.resident or page in self.stream:
            if page in self.stream:
                self.unlist(head)
                self.stream.difference_update(self.pages_of(head))
                self.tally("DROPPED", self.folio)
            self.resident.update(self.pages_of(head))
            self.tally("REFAULTS", self.folio)
            self.inactive.insert(0, head)
        self.tally("FAULT")
        self.set_dirty(page)
        self.writable.add(page)

    # ---- disk

    def disk(self):
        if not self.queue:
            self.disk_credit = 0
            return
        self.disk_credit += self.disk_rate * self.tick
        ended = 0
        while self.queue and self.disk_credit >= self.folio * PS:
            for q in self.pages_of(self.queue.pop(0)):
                self.writeback.remove(q)
                self.bounced.discard(q)
                if q not in self.fresh:
                    self.newer.discard(q)
                self.tally("WRITTEN")
                ended += 1
            self.disk_credit -= self.folio * PS
        if self.queue:
            self.bandwidth = (7 * self.bandwidth + 1024 * ended) >> 3

    # ---- regions

    def pages_of_region(self, r):
        return range(r * self.stride, r * self.stride + self.size)

    def regions_due(self):
        for r in range(self.regions):
            if self.due[r] <= self.now:
                self.turn(r)

    def turn(self, r):
        if self.state[r] == "away":
            self.state[r], self.due[r] = (
                ("held", self.now + self.ps("hold_s")) if self.register(r) else ("gone", math.inf)
            )
            if self.state[r] == "held" and not self.p["hold_s"]:
                self.due[r] = math.inf
            return
        unwilling = self.state[r] == "notified" and not self.cooperative[r]
        if unwilling and self.design.lease != "revoke":
            self.tally("LEASES_KEPT")
            self.state[r], self.due[r] = "kept", self.now + self.ps("hold_s") if self.p["hold_s"] else math.inf
            return
        self.release(r)
        killed = unwilling
        if self.state[r] == "notified":
            self.tally("REVOKED" if killed else "RETURNED")
        if killed or self.p["away_s"] < 0:
            self.state[r], self.due[r] = "gone", math.inf
        else:
            self.state[r], self.due[r] = "away", self.now + self.ps("away_s")

    def register(self, r):
        notifier, migrate, holder = "notifier" in self.rule, "migrate-first" in self.rule, r % self.p["holders"]
        no_pin = notifier or self.has_private
        if not no_pin:
            limit = self.p["memlock_mib"]
            over = limit and self.locked[holder] + self.size > round(limit * 256)
            if "refuse" in self.rule or over or (migrate and self.outside < self.size):
                self.tally("REFUSED")
                return False
        self.tally("GUP_CALL", math.ceil(self.size / 512))
        for q in self.pages_of_region(r):
            if q not in self.writable:
                self.write_fault(q)
            self.target.add(q)
            if notifier:
                self.device.add(q)
            if no_pin:
                continue
            self.pinned.add(q)
            self.tally("PINS")
            if migrate and q < self.movable:
                self.tally("MIGRATED")
            if self.told and self.answers.pinned:
                self.says.add(q)
            if self.off_lru:
                self.unlist(self.head_of(q))
        if not no_pin:
            self.locked[holder] += self.size
            self.outside -= self.size if migrate else 0
        return True

    def release(self, r):
        pages = self.pages_of_region(r)
        self.target.difference_update(pages)
        if "notifier" in self.rule:
            self.device.difference_update(pages)
            return
        if self.has_private:
            for q in pages:
                if q not in self.writable:
                    self.write_fault(q)
                if q in self.private:
                    self.private.remove(q)
                    self.newer.add(q)
                    self.fresh.add(q)
            return
        for q in pages:
            if self.p["dirty_on_release"] == "yes":
                self.set_dirty(q)
            self.pinned.remove(q)
            self.tally("UNPINS")
            if not (self.told and self.answers.released):
                self.says.discard(q)
        for head in sorted({self.head_of(q) for q in pages}):
            if not self.has_pin(head) and not self.listed(head):
                self.inactive.insert(0, head)
        self.locked[r % self.p["holders"]] -= self.size
        self.outside += self.size if "migrate-first" in self.rule else 0

    def break_lease(self, page):
        if "lease" not in self.rule or self.state[page // self.stride] != "held":
            return
        inode = page // self.inode
        for r in range(self.regions):
            if self.state[r] == "held" and any(q // self.inode == inode for q in self.pages_of_region(r)):
                grace = self.ps("grace_s") // 2 if self.cooperative[r] else self.ps("grace_s")
                self.state[r], self.due[r] = "notified", min(self.due[r], self.now + grace)
                self.tally("NOTIFIED")

    def transfers(self):
        left = self.moves.due()
        targets = sorted(self.target)
        while targets and left:
            page = next((q for q in targets if q >= self.transfer_page), targets[0])
            self.tally("DEVICE_WRITES")
            self.transfer_page = page + 1
            left -= 1
            if self.has_private:
                self.private.add(page)
                continue
            if "notifier" in self.rule:
                if page not in self.device:
                    if page not in self.writable:
                        self.write_fault(page)
                    self.device.add(page)
                    self.tally("DEVICE_FAULTS")
            elif page in self.writeback and page not in self.bounced:
                self.tally("UNSTABLE_WRITE")
            self.newer.add(page)
            self.fresh.add(page)

    # ---- reader and reclaim

    def reader(self):
        wanted = math.ceil(self.reads.due() / self.folio) * self.folio
        if not wanted:
            return
        if self.free() < self.low + wanted:
            self.kswapd(wanted)
        while wanted:
            if not self.free():
                self.tally("STREAM_STALLS", wanted)
                return
            frames = [f for f in range(0, self.pages, self.folio) if f not in self.resident]
            head = next((f for f in frames if f >= self.read_frame), frames[0])
            self.resident.update(self.pages_of(head))
            self.stream.update(self.pages_of(head))
            self.inactive.insert(0, head)
            self.read_frame = head + self.folio
            self.tally("STREAMED", self.folio)
            wanted -= self.folio

    def kswapd(self, wanted):
        gib = (len(self.inactive) + len(self.active)) * self.folio // 2**18
        ratio = max(math.isqrt(10 * gib), 1)
        self.scan_time = min(self.scan_time, 0) + self.tick
        in_vain = 0
        while self.free() < self.high + wanted and self.scan_time > 0:
            if in_vain > (len(self.inactive) + len(self.active)) * self.folio:
                return
            while len(self.active) > len(self.inactive) * ratio:
                head = self.active.pop()
                self.referenced.discard(head)
                self.inactive.insert(0, head)
                self.tally("DEACTIVATED", self.folio)
            if not self.inactive:
                return
            self.tally("RECLAIM_PAGE", self.folio)
            self.scan_time -= cost(*SCAN) * self.folio
            freed = self.count.get("FREED", 0)
            self.shrink(self.inactive.pop())
            in_vain = 0 if self.count.get("FREED", 0) > freed else in_vain + self.folio

    def activate(self, head):
        self.active.insert(0, head)
        self.tally("KEPT", self.folio)
        self.tally("ACTIVATED", self.folio)

    def shrink(self, head):
        pages = self.pages_of(head)
        if head in self.writeback or head in self.referenced:
            self.referenced.discard(head)
            return self.activate(head)
        asks = self.policy["reclaim"] != "ignore" and self.says_yes(head)
        if asks and self.asks_before:
            self.tally("KEPT_PINNED", self.folio)
            return self.activate(head)
        self.writable.difference_update(pages)
        self.tally("INVALIDATED", len(self.device & set(pages)))
        self.device.difference_update(pages)
        if asks and self.answers.unmapped:
            self.tally("KEPT_PINNED", self.folio)
            return self.activate(head)
        if head in self.dirty:
            return self.activate(head)
        if self.has_pin(head):
            self.tally("KEPT", self.folio)
            self.tally("ROTATED", self.folio)
            return self.inactive.insert(0, head)
        self.tally("FREED", self.folio)
        self.tally("LOST_UPDATE", len(self.newer & set(pages)))
        for what in (self.resident, self.stream, self.newer, self.fresh, self.says):
            what.difference_update(pages)

    # ---- limits and writers

    def limits(self):
        dirtyable = self.free() + (len(self.inactive) + len(self.active)) * self.folio
        self.hard = dirtyable * self.p["dirty_ratio"] // 100
        self.background = dirtyable * self.p["background_ratio"] // 100
        if self.background >= self.hard:
            self.background = self.hard // 2

    def allowance(self, wanted):
        d, freerun = len(self.dirty) + len(self.writeback), (self.hard + self.background) // 2
        if d <= freerun:
            return wanted
        if d >= self.hard:
            return 0
        setpoint = (freerun + self.hard) // 2
        slope = (self.hard - setpoint) | 1
        x = abs(setpoint - d) * 1024 // slope * (1 if d <= setpoint else -1)
        cubed = ((x * x) >> 10) * x >> 10
        return min(wanted, self.bandwidth * min(max(1024 + cubed, 0), 2048) >> 20)

    def writers(self):
        wanted = self.writes.due()
        enough, done = len(self.dirty) + self.allowance(wanted), 0
        while done < wanted:
            page = self.places[self.draws[self.drawn]]
            too_much = len(self.dirty) >= enough or len(self.dirty) + len(self.writeback) >= self.hard
            if page not in self.writable and too_much:
                break
            self.drawn += 1
            done += 1
            if page not in self.writable:
                self.write_fault(page)
            self.referenced.add(self.head_of(page))
            self.newer.add(page)
            self.fresh.add(page)
            self.tally("CPU_WRITES")
        if wanted:
            self.throttled += self.tick * (wanted - done) // wanted

    # ---- cleaners

    def write(self, job, head, policy, room):
        if room - len(self.writeback) < self.folio:
            return False
        bounced, pages = policy == "bounce", set(self.pages_of(head))
        job["time"] -= self.folio * (cost(*LOOK) + cost(*WRITE) + (cost("BOUNCE_COPY") if bounced else 0))
        self.tally("TAG_SCAN", self.folio)
        self.tally("WRITEPAGE", self.folio)
        self.tally("EXTRA_WRITES", len(pages - self.fresh))
        self.tally("INVALIDATED", len(pages & self.device))
        for what in (self.writable, self.device, self.fresh, self.towrite):
            what.difference_update(pages)
        self.writeback |= pages
        if bounced:
            self.bounced |= pages
            self.tally("BOUNCE_COPY", self.folio)
        if policy == "write-keep-dirty" or (bounced and not self.design.bounce_cleans):
            self.tally("KEPT_DIRTY", self.folio)
        else:
            self.dirty -= pages
            self.tally("CLEANED", self.folio)
        self.queue.append(head)
        job["wrote"] += 1
        return True

    def look(self, job, counter=None):
        job["time"] -= self.folio * cost(*LOOK)
        self.tally("TAG_SCAN", self.folio)
        if counter:
            self.tally(counter, self.folio)
        return True

    def visit(self, job, head, policy, room):
        if policy == "ignore" or not self.says_yes(head):
            done = self.write(job, head, "ignore", room)
            if done and policy != "ignore":
                self.tally("MISSED_PIN", len(self.pinned & set(self.pages_of(head))))
            return done
        if policy in ("write-keep-dirty", "bounce"):
            return self.write(job, head, policy, room)
        if self.design.order == "write-protect-first":
            self.writable.difference_update(self.pages_of(head))
        if policy == "wait" and self.design.lease == "fail":
            first = min((q for q in self.pages_of(head) if q in self.pinned), default=None)
            if first is not None and self.state[first // self.stride] == "kept":
                policy = "report"
        if policy == "wait":
            for q in self.pages_of(head):
                if q in self.pinned:
                    self.break_lease(q)
            if job["waits"] != head:
                self.tally("WAITED")
            job["waits"] = head
            return False
        if policy == "report":
            job["error"] = True
        return self.look(job, "REPORTED" if policy == "report" else "SKIPPED")

    def flusher(self):
        if self.round is None:
            too_much, due = len(self.dirty) > self.background, self.now >= self.next_flush
            if not due and not (too_much and self.wakes):
                return
            if due:
                self.next_flush = (self.now // self.ps("flush_s") + 1) * self.ps("flush_s")
            inodes = sorted({q // self.inode for q in self.dirty})
            inodes = [i for i in inodes if too_much or self.since[i] + self.ps("expire_s") <= self.now]
            self.round = {"inodes": inodes, "page": 0, "time": 0, "wrote": 0, "waits": None, "background": too_much}
        job = self.round
        job["time"] = min(job["time"], 0) + self.tick
        while job["time"] > 0:
            if not job["inodes"]:
                self.tally("FLUSH_ROUNDS")
                self.wakes = not job["background"] or job["wrote"] > 0
                self.round = None
                return
            inode = job["inodes"][0]
            start = max(job["page"], inode * self.inode)
            head = min((q for q in self.dirty if q >= start and q // self.inode == inode), default=None)
            if head is None:
                job["inodes"].pop(0)
                if any(q // self.inode == inode for q in self.dirty):
                    self.since[inode] = self.now
                continue
            if head in self.writeback:
                self.look(job)
            elif not self.visit(job, head, self.policy["none"], self.room * 3 // 4):
                return
            job["waits"] = None
            job["page"] = head + self.folio

    def sync(self):
        if self.syncing is None:
            if not self.p["sync_s"] or self.now < self.next_sync:
                return
            self.next_sync = self.now + self.ps("sync_s")
            self.towrite |= self.dirty
            self.latency.append(None)
            self.tally("SYNCS_BEGUN")
            self.syncing = {"began": self.now, "page": 0, "time": 0, "wrote": 0, "waits": None, "error": False}
            self.syncing["waiting"] = False
        job = self.syncing
        job["time"] = min(job["time"], 0) + self.tick
        while not job["waiting"]:
            if job["time"] <= 0:
                return
            head = min((q for q in self.towrite if q >= job["page"]), default=None)
            if head is None:
                job["waiting"], job["page"] = True, 0
                break
            if head in self.writeback:
                return
            if not self.visit(job, head, self.policy["all"], self.room):
                return
            job["waits"] = None
            job["page"] = head + self.folio
        behind = [q for q in self.writeback if q >= job["page"]]
        if behind:
            job["page"] = min(behind)
            return
        self.latency[-1] = self.now - job["began"]
        self.tally("FSYNCS")
        self.tally("FSYNC_ERRORS", int(job["error"]))
        self.syncing = None

    # ---- all of it

    def run(self):
        p = self.p
        for r in range(self.regions):
            self.turn(r)
            if self.state[r] == "held" and p["hold_s"]:
                self.due[r] = self.ps("hold_s") * (r + 1) // self.regions
        covered = (
            {q for r in range(self.regions) for q in self.pages_of_region(r)} if p["write_to"] == "unpinned" else ()
        )
        self.places = [q for q in range(self.file) if q not in covered]
        ticks = max(round(p["duration_s"] * PS / self.tick), 1)
        every = max(round(p["sample_s"] * PS / self.tick), 1)
        for i in range(ticks):
            if i % every == 0:
                n = (self.writes.pages_s * self.tick // PS + 1) * min(every, ticks - i)
                self.draws, self.drawn = self.rng.integers(0, len(self.places), n), 0
                if p["write_pattern"] == "sequential":
                    self.draws = [(self.count.get("CPU_WRITES", 0) + k) % len(self.places) for k in range(n)]
            for turn in (
                self.disk, self.regions_due, self.transfers, self.reader, self.limits, self.writers, self.flusher,
                self.sync,
            ):  # fmt: skip
                turn()
            self.now += self.tick
        return self
