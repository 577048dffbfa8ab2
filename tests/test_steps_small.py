"""Programs of the small worlds, step by step by hand, as plain Python: what each leaves behind."""

import importlib

import numpy as np
import pytest

from workbench import designs, steps
from workbench.accelerate import JIT_ENABLED
from workbench.errors import UsageError
from workbench.mm import bio, programs
from workbench.mm import registers as R
from workbench.mm.page import (
    BH_DIRTY,
    CHILD_PRESENT,
    CHILD_WRITE,
    EVER_PINNED,
    FRAME_CMA,
    NEWER_THAN_DISK,
    PG_ANON,
    PG_CACHED,
    PG_DIRTY,
    PG_EXCLUSIVE,
    PG_LOCKED,
    PG_LRU,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    TAG_WRITEBACK,
    count_pins,
    ghost_pin,
    trylock_page,
    unlock_page,
    wake_pin_waiters,
    wake_up_page,
)
from workbench.mm.world import (
    DEAD,
    RUNNABLE,
    SLEEPING,
    WAIT_FORK,
    WAIT_MMAP,
    WAIT_PAGE,
    WAIT_PIN,
    WAIT_PTE,
    WAIT_WRITEBACK,
    WAITING,
)
from workbench.policies import LONGTERM_MIGRATE
from workbench.scenarios.base import EMPTY_PLAN, Actor, new_world
from workbench.trackers.bias import Bias
from workbench.trackers.pincount import PinCount
from workbench.trackers.protocol import IN_GUP, implementation

pytestmark = pytest.mark.skipif(JIT_ENABLED, reason="steps are called one by one as plain Python")

SCENARIOS = ("gup_fast_race", "mr_idle_fsync", "fork_cow", "truncate_dax", "wide_map", "cma")
NONE = designs.trackers()["none"]
OWNER = PTE_PRESENT | PTE_WRITE | PTE_DIRTY


def module(name):
    return importlib.import_module(f"workbench.scenarios.{name}")


class Small:
    """A small world of a scenario, whose tasks are run by name."""

    def __init__(self, scenario, tracker=NONE, registers=(), **given):
        setup, _ = module(scenario).build(module(scenario).SMALL | given, np.random.default_rng(1), False)
        self.world, self.names, self.tracker = setup.world, setup.task_names, tracker
        self.page, self.sys = self.world.page, self.world.sys
        for name, value in dict(registers).items():
            self.sys[getattr(R, name)] = value

    def task(self, name):
        return self.world.task[self.names.index(name)]

    def at(self, name):
        task = self.task(name)
        return programs.step_name(task["program"], task["pc"])

    def step(self, name, n=1):
        for _ in range(n):
            assert self.task(name)["state"] == RUNNABLE, (name, self.at(name))
            steps.run_step(self.tracker, self.world, self.names.index(name))

    def until(self, name, step):
        for _ in range(50):
            if self.at(name) == step:
                return
            self.step(name)
        raise AssertionError(f"{name} stays at {self.at(name)}")

    def run(self, *names):
        """Run each task until it waits or is dead."""
        for name in names:
            for _ in range(200):
                if self.task(name)["state"] != RUNNABLE:
                    break
                self.step(name)
            else:
                raise AssertionError(f"{name} goes on and on at {self.at(name)}")

    def waits(self, name, kind):
        return self.task(name)["state"] == WAITING and self.task(name)["wait_kind"] == kind

    def dead(self, *names):
        return all(self.task(name)["state"] == DEAD for name in names)

    def pin(self, p=0):
        """Take a reference for a device, with its pin, as GUP does at once."""
        self.page[p]["_refcount"] += 1
        implementation("pin", type(self.tracker))(self.tracker, self.world, p)
        count_pins(self.world, 1, ghost_pin(self.page[p]))

    def unpin(self, p=0):
        bio.put_pinned_pages(self.tracker, self.world, p, p + 1, self.tracker.when, -1)

    def conserved(self):
        """References are those of the cache, the buffers, mappings and pins; the LRU holds what says so."""
        page = self.page
        base = ((page["flags"] & PG_CACHED) != 0) + (page["_mapcount"] + 1) + ((page["flags"] & PG_PRIVATE) != 0)
        assert (page["_refcount"] == base + page["ghost_pins"]).all(), page
        on_list, link = set(), int(self.sys[R.LRU_HEAD])
        while link:
            on_list.add((link >> 2) - 1)
            link = int(page[(link >> 2) - 1]["lru_next"])
        assert on_list == set(np.flatnonzero(page["flags"] & PG_LRU)), page
        assert self.sys[R.LRU_PAGES] == len(on_list)
        assert self.sys[R.PAGES_LOCKED] == np.count_nonzero(page["flags"] & PG_LOCKED)
        free = page[page["_refcount"] == 0]
        assert not (free["flags"] & ~(PG_LOCKED | FRAME_CMA)).any(), page
        assert not (free["ghost_data"] & ~EVER_PINNED).any(), page
        assert (free["_mapcount"] == -1).all()
        return True


# ---- scenarios


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("small", [False, True])
def test_a_scenario_starts_with_its_references_in_order(name, small):
    given = module(name).SMALL if small else {}
    setup, p = module(name).build(given, np.random.default_rng(1), True)
    world = Small(name, **given)
    assert world.conserved()
    assert set(given) <= set(p)
    assert set(p) == {parameter.name for parameter in module(name).PARAMETERS}
    assert len(setup.task_names) == len(set(setup.task_names)) == len(setup.world.task)
    assert setup.world.sys[R.GUP_FAST_STEPS] == small
    assert set(setup.draw(np.random.default_rng(1), 8)) <= {10**9, 10**8}


@pytest.mark.parametrize("name", SCENARIOS)
def test_in_a_small_world_everybody_begins_at_once(name):
    world = Small(name)
    assert not world.world.task["until_ps"].any()
    assert not world.world.task["period_ps"].any()
    begins = [world.task(n)["state"] for n in world.names[4:] if n != "child"]
    assert set(begins) == {RUNNABLE}


def test_actors_of_a_timed_run_sleep_until_they_begin():
    setup, _ = module("fork_cow").build({}, np.random.default_rng(1), False)
    task = setup.world.task[setup.task_names.index("writer")]
    assert task["state"] == SLEEPING
    assert task["until_ps"] == 400 * 10**6
    child = setup.world.task[setup.task_names.index("child")]
    assert child["state"] == WAITING
    assert child["wait_kind"] == WAIT_FORK


def test_the_child_goes_on_at_its_time():
    w = Small("fork_cow", child_us=600.0)
    w.run("fork", "child")
    assert w.task("child")["state"] == SLEEPING
    w.task("child")["state"] = RUNNABLE
    w.sys[R.NOW] = 600 * 10**6
    w.run("child")
    assert w.dead("child")


def test_a_region_owns_a_row_for_each_registration():
    world = Small("wide_map", registrations=5)
    me, rows = world.names.index("rdma/0"), world.world.dio
    assert list(rows["task"]) == [me] * 5
    assert list(rows["next"]) == [1, 2, 3, 4, -1]
    assert list(rows["nr_pages"]) == [1] * 5
    assert world.task("rdma/0")["rounds"] == 5


def test_actors_without_rounds_are_left_out():
    assert "writer" not in Small("fork_cow", writer_rounds=0).names
    assert "migrate" not in Small("cma", migrate_rounds=0).names
    assert "fsync" not in Small("mr_idle_fsync", fsync_rounds=0).names
    assert "dio/0" not in Small("truncate_dax", holder="mr").names


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fork_cow", {"pin": "long"}, "parameter pin: 'long'"),
        ("truncate_dax", {"mapping": "ext4"}, "parameter mapping: 'ext4'"),
        ("cma", {"registrations": 0}, "from 1 to 256"),
        ("wide_map", {"maps": 3}, "no parameter 'maps'"),
    ],
)
def test_wrong_parameters_are_told_in_one_line(name, given, message):
    with pytest.raises(UsageError, match=message):
        module(name).build(given, np.random.default_rng(1), False)


# ---- fork


def forked(**given):
    """A world after a fork that has shared the frame."""
    w = Small("fork_cow", **given)
    w.run("fork")
    return w


def test_fork_shares_the_frame_read_only_and_lets_the_child_run():
    w = forked()
    page = w.page[0]
    assert page["flags"] & (PTE_PRESENT | CHILD_PRESENT) == PTE_PRESENT | CHILD_PRESENT
    assert not page["flags"] & (PTE_WRITE | CHILD_WRITE | PG_EXCLUSIVE)
    assert (page["_mapcount"], page["_refcount"]) == (1, 2)
    assert w.sys[R.SEQ] == 2
    assert not w.sys[R.MMAP_WRITER]
    assert w.dead("fork")
    assert w.task("child")["state"] == RUNNABLE
    assert w.conserved()


def test_while_fork_runs_seq_is_odd_and_the_lock_is_taken():
    w = Small("fork_cow")
    w.step("fork")
    assert w.sys[R.SEQ] == 1
    assert w.sys[R.MMAP_WRITER] == 1


def test_fork_waits_for_a_fault_to_end():
    w = Small("fork_cow")
    w.page[0]["flags"] &= ~(PTE_WRITE | PG_EXCLUSIVE)
    w.until("writer", "cow_fault")
    w.run("fork")
    assert w.waits("fork", WAIT_MMAP)
    w.run("writer")
    w.run("fork")
    assert w.dead("fork", "writer")
    assert w.conserved()


def test_a_fault_waits_for_fork_to_end():
    w = Small("fork_cow")
    w.step("fork")
    w.page[0]["flags"] &= ~PTE_WRITE
    w.run("writer")
    assert w.waits("writer", WAIT_MMAP)
    w.run("fork", "writer")
    assert w.dead("fork", "writer")


def test_the_owner_that_writes_after_fork_moves_to_a_copy():
    w = forked()
    w.run("writer")
    assert w.page[1]["flags"] & OWNER == OWNER
    assert w.page[1]["flags"] & PG_ANON
    assert w.page[1]["flags"] & PG_EXCLUSIVE
    assert w.page[0]["flags"] & (OWNER | CHILD_PRESENT) == CHILD_PRESENT
    assert w.sys[R.COW_COPIES] == 1
    assert w.sys[R.COW_ALIAS] == 0
    assert w.conserved()
    w.run("child")
    assert w.page[0]["_refcount"] == 0
    assert w.conserved()


def test_a_copy_while_a_device_uses_the_frame_is_an_alias():
    w = Small("fork_cow")
    w.pin()
    w.run("fork", "writer")
    assert w.sys[R.COW_ALIAS] == 1
    assert w.conserved()
    w.run("child")
    assert w.page[0]["_refcount"] == 1
    w.unpin()
    assert w.conserved()


def test_a_pinned_page_is_copied_for_the_child_where_fork_asks():
    w = Small("fork_cow", PinCount(), {"FORK_ASKS": 1, "HAS_PINNED": 1})
    w.page[0]["ghost_data"] = NEWER_THAN_DISK
    w.pin()
    w.run("fork")
    assert w.page[0]["flags"] & OWNER == OWNER
    assert w.page[1]["ghost_data"] == NEWER_THAN_DISK
    assert w.page[1]["flags"] & (CHILD_PRESENT | CHILD_WRITE) == CHILD_PRESENT | CHILD_WRITE
    assert w.sys[R.PIN_TEST] == 1
    w.run("writer", "child")
    assert w.sys[R.COW_ALIAS] == 0
    assert w.sys[R.COW_COPIES] == 1
    assert w.conserved()


@pytest.mark.parametrize(("references", "exclusive", "copies"), [(13, 1, 0), (14, 1, 1), (14, 0, 0)])
def test_fork_takes_the_childs_reference_before_it_asks(references, exclusive, copies):
    w = Small("fork_cow", Bias(bias=16), {"FORK_ASKS": 1, "HAS_PINNED": 1})  # a mapping, the child's, and the others
    w.page[0]["_refcount"] += references
    if not exclusive:
        w.page[0]["flags"] &= ~PG_EXCLUSIVE
    w.run("fork")
    assert w.sys[R.COW_COPIES] == copies
    assert w.page[0]["_refcount"] == 1 + references + (1 - copies)


def test_fork_does_not_ask_for_an_mm_that_never_pinned():
    w = Small("fork_cow", PinCount(), {"FORK_ASKS": 1, "HAS_PINNED": 0})
    w.pin()
    w.run("fork")
    assert w.sys[R.PIN_TEST] == 0
    assert w.page[0]["flags"] & CHILD_PRESENT


@pytest.mark.parametrize("comes", [False, True])
def test_a_pin_between_the_question_and_the_sharing_is_missed(comes):
    w = Small("fork_cow", PinCount(), {"FORK_ASKS": 1, "HAS_PINNED": 1})
    w.until("fork", "fork_share")
    assert w.task("fork")["told_no"] == 1
    if comes:
        w.pin()
    w.run("fork")
    assert w.sys[R.MISSED_PIN] == comes


def test_a_wrong_no_is_counted_once():
    w = Small("fork_cow", NONE, {"FORK_ASKS": 1, "HAS_PINNED": 1})
    w.pin()
    w.run("fork")
    assert w.sys[R.MISSED_PIN] == 1


@pytest.mark.parametrize(
    ("asks", "exclusive", "mapped_twice", "referenced", "copies"),
    [
        (0, 0, False, True, 0),  # by mappings: another reference does not matter
        (0, 0, True, False, 1),
        (1, 0, False, True, 1),  # by references: any of them does
        (1, 0, False, False, 0),
        (1, 1, False, True, 0),  # exclusive: nothing else does
        (0, 1, False, True, 0),
    ],
)
def test_a_write_fault_uses_or_copies_by_the_rule(asks, exclusive, mapped_twice, referenced, copies):
    w = Small("fork_cow", registers={"FORK_ASKS": asks})
    if mapped_twice:
        w.run("fork")
    if referenced:
        w.pin()
    w.page[0]["flags"] &= ~(PTE_WRITE | PG_EXCLUSIVE)
    w.page[0]["flags"] |= PG_EXCLUSIVE * exclusive
    w.run("writer")
    assert w.sys[R.COW_COPIES] == copies
    owner = w.page[copies]
    assert owner["flags"] & (OWNER | PG_EXCLUSIVE) == OWNER | PG_EXCLUSIVE
    assert w.conserved()


def test_a_frame_that_a_copy_leaves_for_good_is_free_once_unlocked():
    w = forked()
    w.until("writer", "cow_fault")
    w.run("child")  # has copied, and gone
    w.step("writer")
    assert w.sys[R.COW_COPIES] == 1
    w.run("writer")
    assert w.conserved()


def test_the_writer_changes_memory_and_ends_after_its_rounds():
    w = Small("fork_cow", writer_rounds=2)
    w.page[0]["flags"] &= ~PTE_DIRTY
    w.step("writer")
    assert w.page[0]["flags"] & PTE_DIRTY
    assert w.page[0]["ghost_data"] & NEWER_THAN_DISK
    assert not w.dead("writer")
    w.step("writer")
    assert w.dead("writer")


def test_the_writer_waits_where_there_is_no_pte():
    w = Small("fork_cow")
    w.page[0]["flags"] &= ~PTE_PRESENT
    w.step("writer")
    assert w.waits("writer", WAIT_PTE)


def test_the_child_copies_what_is_shared_and_uses_what_is_its_own():
    w = forked()
    w.until("child", "child_exit")
    assert w.page[1]["flags"] & (CHILD_PRESENT | CHILD_WRITE) == CHILD_PRESENT | CHILD_WRITE
    assert w.page[0]["flags"] & CHILD_PRESENT == 0
    assert w.conserved()
    alone = forked()
    alone.run("writer")
    alone.until("child", "child_exit")
    assert alone.page[0]["flags"] & CHILD_WRITE
    assert alone.sys[R.COW_COPIES] == 1
    for world in (w, alone):
        world.run("child")
        assert world.dead("child")
        assert world.conserved()


def test_a_child_without_rounds_only_exits():
    w = forked(child_rounds=0)
    w.step("child")
    assert w.at("child") == "child_exit"
    w.run("child")
    assert w.sys[R.COW_COPIES] == 0
    assert w.page[0]["_mapcount"] == 0
    assert w.conserved()


def test_without_a_free_frame_the_copy_says_so():
    w = forked()
    w.page["_refcount"][1:] = 1
    with pytest.raises(MemoryError, match="no free frame"):
        w.run("writer")


# ---- truncation


def test_truncation_leaves_an_orphan_under_a_pin_and_the_last_reference_frees_it():
    w = Small("truncate_dax")
    w.pin()
    w.run("truncate")
    page = w.page[0]
    assert w.dead("truncate")
    assert not page["flags"] & (PG_CACHED | OWNER | PG_LOCKED)
    assert (page["_refcount"], page["_mapcount"]) == (1, -1)
    assert page["ghost_data"] == EVER_PINNED
    assert w.sys[R.TRUNCATED] == 1
    assert w.sys[R.TRUNCATED_PAGES] == 1
    assert w.conserved()
    w.unpin()
    assert w.conserved()


def test_truncation_frees_what_nobody_holds():
    sticky = designs.trackers()["flag-sticky"]
    w = Small("truncate_dax", sticky)
    w.pin()
    w.unpin()
    w.run("truncate")
    assert w.page[0]["flags"] == 0
    assert w.conserved()


def test_truncation_of_dax_waits_for_the_last_pin_if_it_may():
    w = Small("truncate_dax", registers={"TRUNCATE_WAITS": 1})
    w.pin()
    w.run("truncate")
    assert w.waits("truncate", WAIT_PIN)
    assert w.page[0]["flags"] & PG_WAITERS
    assert w.page[0]["flags"] & PG_CACHED
    wake_pin_waiters(w.world, 0)  # an end of some other pin does not help
    w.run("truncate")
    assert w.waits("truncate", WAIT_PIN)
    w.unpin()
    w.run("truncate")
    assert w.dead("truncate")
    assert w.conserved()


def test_truncation_of_the_page_cache_waits_for_no_pin():
    w = Small("truncate_dax", registers={"TRUNCATE_WAITS": 1}, mapping="cache")
    w.pin()
    w.run("truncate")
    assert w.dead("truncate")
    assert w.page[0]["_refcount"] == 1
    assert not w.page[0]["flags"] & (PG_PRIVATE | BH_DIRTY | PG_DIRTY)
    assert w.page[0]["flags"] & PG_LRU  # until its last reference goes
    assert w.conserved()
    w.unpin()
    assert w.page[0]["flags"] == w.sys[R.LRU_PAGES] == 0
    assert w.conserved()


def test_truncation_waits_for_lock_and_writeback():
    w = Small("truncate_dax", mapping="cache")
    trylock_page(w.world, w.page[0])
    w.page[0]["flags"] |= PG_WRITEBACK | TAG_WRITEBACK
    w.run("truncate")
    assert w.waits("truncate", WAIT_PAGE)
    unlock_page(w.world, 0)
    w.run("truncate")
    assert w.waits("truncate", WAIT_WRITEBACK)
    assert w.page[0]["flags"] & PG_WAITERS
    w.page[0]["flags"] &= ~(PG_WRITEBACK | TAG_WRITEBACK)
    wake_up_page(w.world, 0, WAIT_WRITEBACK)
    w.run("truncate")
    assert w.dead("truncate")


@pytest.mark.parametrize(("mapping", "dirty"), [("cache", True), ("dax", False)])
def test_a_dirty_pte_dirties_the_page_of_the_page_cache_only(mapping, dirty):
    w = Small("truncate_dax", mapping=mapping)
    w.page[0]["flags"] &= ~PG_DIRTY
    w.step("truncate", 2)
    assert bool(w.page[0]["flags"] & PG_DIRTY) == dirty
    assert not w.page[0]["flags"] & OWNER


def test_truncation_passes_over_what_reclaim_took():
    w = Small("truncate_dax", mapping="cache")
    w.page[0] = 0
    w.page[0]["_mapcount"] = -1
    w.sys[R.LRU_HEAD] = w.sys[R.LRU_TAIL] = w.sys[R.LRU_PAGES] = 0
    w.run("truncate")
    assert w.dead("truncate")
    assert w.sys[R.TRUNCATED_PAGES] == 0
    assert w.conserved()


def test_truncation_goes_through_all_pages():
    truncate = Actor("truncate", programs.TRUNCATE_PROGRAM, programs.T_BEGIN, cpu=0, page=2)
    world, names = new_world(
        pages=3, nodes=8, bios=1, dios=1, cpus=1, submitters=0, plan=EMPTY_PLAN, ios=0, actors=(truncate,)
    )
    while world.task[-1]["state"] == RUNNABLE:
        steps.run_step(NONE, world, len(names) - 1)
    assert world.sys[R.TRUNCATED_PAGES] == 3
    assert world.sys[R.LRU_PAGES] == 0
    assert not world.page["flags"].any()
    assert not world.page["_refcount"].any()


def failing(tracker, first):
    """A direct IO of four pages: a call that took 0 and 1 is in a bio under way; that for 2 and 3 stops at `first`."""
    world, names = new_world(pages=4, nodes=8, bios=4, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    world.sys[R.IOS_OUT] = 1
    world.sys[R.TRUNCATED] = 1
    task = world.task[names.index("dio/0")]
    task["program"], task["pc"], task["dio"], task["handle"] = programs.DIO_PROGRAM, programs.D_FAULT_LOCK, 0, -1
    task["first"], task["last"], task["page"] = 2, 3, first
    world.dio[0]["nr_pages"], world.dio[0]["got"], world.dio[0]["built"], world.dio[0]["refcount"] = 4, 2, 2, 2
    for p in range(first):
        world.page[p]["_refcount"] += 1
        if p < 2 or tracker.when == IN_GUP:
            implementation("pin", type(tracker))(tracker, world, p)
        count_pins(world, 1, ghost_pin(world.page[p]))
    return world, names.index("dio/0")


@pytest.mark.parametrize("tracker", ["none", "bias", "bias:learns=after", "pincount", "lru-count"])
@pytest.mark.parametrize("first", [2, 3])
def test_a_call_that_fails_gives_back_what_is_in_no_bio(tracker, first):
    """What earlier calls took is in flight, and released when that completes; the last bio ends the direct IO."""
    tracker = designs.parse(f"tracker={tracker}").tracker
    world, t = failing(tracker, first)
    before = world.page[:2].copy()
    while world.task[t]["state"] == RUNNABLE:
        steps.run_step(tracker, world, t)
    assert world.task[t]["state"] == DEAD
    assert (world.page[:2] == before).all() and (before["ghost_pins"] == 1).all()
    assert world.page["ghost_pins"][2:].tolist() == [0, 0]
    assert (world.page["_refcount"][2:] == 3).all() and not world.page["_pincount"][2:].any()
    pinned = implementation("is_pinned", type(tracker))
    assert not any(pinned(tracker, world, p) for p in (2, 3))
    assert (world.dio[0]["refcount"], world.sys[R.IOS_OUT], world.sys[R.SUBMITTERS]) == (1, 1, 0)


def test_a_call_that_fails_before_any_bio_ends_the_direct_io():
    world, t = failing(NONE, 2)
    world.page["ghost_pins"] = 0
    world.dio[0]["refcount"] = 1
    while world.task[t]["state"] == RUNNABLE:
        steps.run_step(NONE, world, t)
    assert (world.dio[0]["refcount"], world.sys[R.IOS_OUT], world.sys[R.REFUSED]) == (0, 0, 1)


# ---- migration


def test_a_page_that_nobody_holds_moves_out_of_cma():
    w = Small("cma")
    w.task("migrate")["page"] = w.task("migrate")["first"] = 2  # left over
    w.page[0]["ghost_data"] = NEWER_THAN_DISK
    w.run("migrate")
    assert w.dead("migrate")
    assert w.page[0]["flags"] == FRAME_CMA
    assert w.page[1]["flags"] == OWNER | PG_ANON | PG_EXCLUSIVE | PG_LRU
    assert w.page[1]["ghost_data"] == NEWER_THAN_DISK
    assert w.sys[R.MIGRATED] == 1
    assert w.sys[R.NOT_MIGRATED] == 0
    assert w.conserved()


def test_a_pinned_page_stays_and_each_attempt_fails():
    w = Small("cma")
    w.pin()
    w.run("migrate")
    assert w.dead("migrate")
    assert w.page[0]["flags"] == OWNER | PG_ANON | PG_EXCLUSIVE | PG_LRU | FRAME_CMA
    assert w.sys[R.MIGRATED] == 0
    assert w.sys[R.NOT_MIGRATED] == 2
    assert w.conserved()


def test_an_attempt_after_a_failed_one_succeeds_once_the_pin_is_gone():
    w = Small("cma")
    w.pin()
    w.until("migrate", "migrate_remap")
    w.unpin()
    w.run("migrate")
    assert w.sys[R.NOT_MIGRATED] == 1
    assert w.sys[R.MIGRATED] == 1
    assert w.conserved()


def test_without_a_free_frame_nothing_moves():
    w = Small("cma")
    w.page["_refcount"][1:] = 1
    w.run("migrate")
    assert w.sys[R.MIGRATED] == 0
    assert w.page[0]["flags"] & OWNER == OWNER


@pytest.mark.parametrize("why", ["not in CMA", "off the LRU"])
def test_there_may_be_nothing_to_isolate(why):
    w = Small("cma", designs.trackers()["lru-count"])
    if why == "not in CMA":
        w.page[0]["flags"] &= ~FRAME_CMA
    else:
        w.pin()
    w.step("migrate")
    assert w.at("migrate") == "isolate"
    w.step("migrate")
    assert w.dead("migrate")
    assert w.sys[R.NOT_MIGRATED] == 2


def test_one_that_was_pinned_off_the_lru_meanwhile_goes_back_when_unpinned():
    w = Small("cma", designs.trackers()["lru-count"], migrate_rounds=1)
    w.until("migrate", "migrate_lock")
    w.pin()
    w.run("migrate")
    assert w.dead("migrate")
    assert not w.page[0]["flags"] & PG_LRU
    w.unpin()
    assert w.page[0]["flags"] & PG_LRU
    assert w.conserved()


def test_migration_waits_for_the_page_lock_and_faults_wait_for_the_pte():
    w = Small("cma")
    trylock_page(w.world, w.page[0])
    w.run("migrate")
    assert w.waits("migrate", WAIT_PAGE)
    unlock_page(w.world, 0)
    w.until("migrate", "migrate_move")
    assert not w.page["flags"].any() & PTE_PRESENT
    w.run("rdma/0")
    assert w.waits("rdma/0", WAIT_PTE)
    w.run("migrate")
    assert w.task("rdma/0")["state"] == RUNNABLE
    w.until("rdma/0", "mr_check")
    assert w.page[1]["ghost_pins"] == 1
    assert w.conserved()


def test_a_registration_moves_the_page_first():
    w = Small("cma", PinCount(), {"LONGTERM": LONGTERM_MIGRATE})
    w.until("rdma/0", "isolate")
    assert w.page[0]["ghost_pins"] == 0
    w.until("rdma/0", "gup_call")
    w.until("rdma/0", "post_recv")
    assert w.page[1]["ghost_pins"] == 1
    assert w.page[1]["_pincount"] == 1
    assert w.sys[R.UNMOVABLE] == 0
    assert w.conserved()


def test_a_registration_whose_page_does_not_move_is_refused():
    w = Small("cma", PinCount(), {"LONGTERM": LONGTERM_MIGRATE})
    w.pin()
    w.run("rdma/0")
    assert w.dead("rdma/0")
    assert w.sys[R.REFUSED] == 1
    assert w.page[0]["ghost_pins"] == 1
    assert w.conserved()


def test_a_registration_that_finds_the_page_isolated_pins_it_again():
    w = Small("cma", PinCount(), {"LONGTERM": LONGTERM_MIGRATE})
    w.until("migrate", "migrate_lock")
    w.until("rdma/0", "isolate")
    w.step("rdma/0")
    assert w.at("rdma/0") == "gup_call"
    assert w.sys[R.REFUSED] == 0


# ---- mappings


def test_mappings_are_references_and_all_go_again():
    w = Small("wide_map")
    w.until("mapper", "unmap")
    assert (w.page[0]["_mapcount"], w.page[0]["_refcount"]) == (6, 8)
    assert w.conserved()
    w.run("mapper")
    assert w.dead("mapper")
    assert (w.page[0]["_mapcount"], w.page[0]["_refcount"]) == (0, 2)


def test_mappings_that_reclaim_has_removed_are_not_removed_again():
    w = Small("wide_map")
    w.until("mapper", "unmap")
    w.step("mapper")
    page = w.page[0]
    page["_refcount"] -= page["_mapcount"] + 1
    page["_mapcount"] = -1
    page["flags"] &= ~PTE_PRESENT
    w.run("mapper")
    assert w.dead("mapper")
    assert (page["_mapcount"], page["_refcount"]) == (-1, 1)


def test_the_owners_own_mapping_is_not_the_mappers():
    w = Small("wide_map", mappings=1)
    w.step("mapper")
    w.page[0]["_mapcount"] = 0
    w.page[0]["_refcount"] -= 1  # the other one has gone
    w.run("mapper")
    assert w.page[0]["_mapcount"] == 0


def test_a_page_that_reclaim_took_is_read_in_under_its_lock():
    w = Small("wide_map")
    w.run("kswapd")
    page = w.page[0]
    assert page["_refcount"] == 0
    trylock_page(w.world, page)
    w.run("mapper")
    assert w.waits("mapper", WAIT_PAGE)
    unlock_page(w.world, 0)
    w.step("mapper")
    assert page["flags"] == PG_CACHED | PG_LRU
    assert (page["_mapcount"], page["_refcount"]) == (0, 2)
    assert w.conserved()


@pytest.mark.parametrize(("count_max", "over"), [(8, 0), (7, 1), (5, 3)])
def test_a_count_over_its_limit_is_seen(count_max, over):
    w = Small("wide_map", count_max=count_max)
    w.until("mapper", "unmap")
    assert w.sys[R.COUNT_OVERFLOW] == over


# ---- pincount


def test_pincount_counts_pins_and_nothing_else():
    tracker = PinCount()
    w = Small("wide_map", tracker)
    pinned = implementation("is_pinned", PinCount)
    w.until("mapper", "unmap")
    assert not pinned(tracker, w.world, 0)
    before = int(w.sys[R.ATOMIC])
    for _ in range(2):
        w.pin()
    w.unpin()
    assert pinned(tracker, w.world, 0)
    assert w.page[0]["_pincount"] == 1
    w.unpin()
    assert not pinned(tracker, w.world, 0)
    assert w.sys[R.ATOMIC] == before + 4
    assert w.conserved()
