/*
 * The small world of the scenario golden-race: a synchronous direct IO reads into a mapped page while it is written
 * back and reclaimed. FLUSHER_ROUNDS (1 or more), KSWAPD_ROUNDS and FSYNC make it larger.
 */

#ifndef FLUSHER_ROUNDS
#define FLUSHER_ROUNDS 2
#endif
#ifndef KSWAPD_ROUNDS
#define KSWAPD_ROUNDS 2
#endif
#ifndef FSYNC
#define FSYNC 0
#endif
#if KSWAPD_ROUNDS < 0 || KSWAPD_ROUNDS > 15
#error "KSWAPD_ROUNDS is at most 15"
#endif
#define PAGES 1
#define ROWS (2 + FSYNC)
#define SLOTS 1
#define CPUS 2
#define KWORKERS 1
#define THREADS 1
#define SYNC_ANY 0
#define DIRTY_ALWAYS 1

#include "kernel.pml"

/* ---- the thread, whose get_user_pages takes a reference between two looks at the PTE */

#define pte_allows (page[0].pte_present && page[0].pte_write)

proctype thread() {
  bit left = 1; bit d; unsigned b : 4; unsigned row : 4; /* direct IOs to do; and at hand: direct IO, bio, row */
io_getevents:
  if
  :: d_step { runs && free_dio[0] == 0 -> waits[me] = DIRECT_IO } goto io_getevents
  :: runs && free_dio[0] != 0
  fi;
io_submit:
  if
  :: d_step { !left -> at = 0; d = 0; row = 0 } goto end_dead
  :: d_step {
       left ->
       left = 0; d = 1; dio[0].refcount = 1; free_dio[0] = dio[0].next;
       dio[0].next = 0; dio[0].prev = flight_tail[0]; flight_head[0] = 1; flight_tail[0] = 1
     }
  fi;
gup_call:
  at = 0;
gup_pages:
  if
  :: pte_allows
  :: !pte_allows -> goto fault_lock
  fi;
gup_take:
  if
  :: page[0].refcount == 0 -> goto follow_page
  :: d_step { page[0].refcount != 0 -> page[0].refcount = page[0].refcount + REFERENCES }
  fi;
gup_check:
  if
  :: d_step { pte_allows -> true_pin(0); at = 1; dio[0].got = 1 } goto build_bio
  :: d_step { !pte_allows -> page[0].refcount = page[0].refcount - REFERENCES; wake_pin_waiters(0) }
  fi;
follow_page:
  if
  :: d_step {
       pte_allows ->
       page[0].refcount = page[0].refcount + REFERENCES; true_pin(0); at = 1; dio[0].got = 1
     } goto build_bio
  :: !pte_allows
  fi;
fault_lock:
  if
  :: d_step { runs && page[0].locked -> wait_on_page(PAGE_LOCK) } goto fault_lock
  :: d_step {
       runs && !page[0].locked ->
       page[0].locked = 1;
       page[0].refcount = page[0].refcount + !page[0].cached;
       page[0].lru = page[0].lru || !page[0].cached; page[0].cached = 1
     }
  fi;
page_mkwrite:
  d_step {
    page[0].refcount = page[0].refcount + !page[0].private;
    page[0].private = 1; set_page_dirty(0)
  };
fault_pte:
  if
  :: d_step { runs && page[0].writeback -> wait_on_page(END_OF_WRITEBACK) } goto fault_pte
  :: d_step {
       runs && !page[0].writeback ->
       page[0].refcount = page[0].refcount + !page[0].pte_present;
       page[0].pte_present = 1; page[0].pte_write = 1; page[0].pte_dirty = 1
     }
  fi;
fault_unlock:
  d_step { unlock_page(0) } goto follow_page;
build_bio:
  if
  :: d_step { runs && handles != 0 -> waits[me] = JOURNAL } goto build_bio
  :: d_step {
       runs && handles == 0 ->
       alloc_bio(b); row = b; bio[b - 1].op = READ; bio[b - 1].first = 0; bio[b - 1].nr = 1; dio[0].built = 1
     }
  fi;
submit:
  d_step { submit_bio(b); b = 0 } goto io_getevents;
end_dead:
  false
}

/* ---- kswapd */

#define KSWAPD (KSWAPD_ROUNDS != 0)
proctype kswapd() {
  unsigned rounds : 4 = KSWAPD_ROUNDS;
  bit last; bit locked; bit answer; bit told_no;
sleep:
  if
  :: d_step { rounds == 0 -> last = 0 } goto end_dead
  :: d_step { rounds != 0 -> rounds--; last = page[0].lru }
  fi;
isolate:
  if
  :: d_step {
       last && page[0].lru ->
       last = 0; page[0].lru = 0; page[0].refcount++
     }
  :: !(last && page[0].lru) -> goto sleep
  fi;
trylock_page:
  if
  :: page[0].locked -> goto putback
  :: d_step { !page[0].locked && page[0].writeback -> page[0].locked = 1; locked = 1 } goto putback
  :: d_step {
       !page[0].locked && !page[0].writeback && (page[0].pte_present || BIAS) -> page[0].locked = 1; locked = 1
     }
  :: d_step {
       !page[0].locked && !page[0].writeback && !(page[0].pte_present || BIAS) -> page[0].locked = 1; locked = 1
     } goto test_dirty
  fi;
i_mmap_lock:
  readers++;
try_to_unmap:
  d_step {
    if
    :: page[0].pte_present ->
       if :: page[0].pte_dirty -> set_page_dirty(0) :: else fi;
       page[0].pte_present = 0; page[0].pte_write = 0; page[0].pte_dirty = 0; page[0].refcount--
    :: else
    fi;
#if BIAS
    ask(0)
#endif
  };
i_mmap_unlock:
  readers--;
test_dirty:
  if
  :: answer || page[0].dirty -> goto putback
  :: !answer && !page[0].dirty
  fi;
try_to_release_page:
  if
  :: page[0].private && (page[0].bh_dirty || page[0].writeback) -> goto putback
  :: d_step {
       page[0].private && !(page[0].bh_dirty || page[0].writeback) ->
       act_on_no(0); page[0].private = 0; page[0].refcount--
     }
  :: !page[0].private
  fi;
remove_mapping:
  if
  :: page[0].refcount != 2 || page[0].dirty
  :: d_step {
       page[0].refcount == 2 && !page[0].dirty ->
       if :: page[0].newer_than_disk -> seen(LOST_UPDATE) :: else fi;
       page[0].refcount = 1;
       page[0].newer_than_disk = 0; page[0].newer_than_copy = 0; page[0].copy_read = 0;
       page[0].known_in_copy = 0; page[0].wanted_in_copy = 0;
       page[0].cached = 0; page[0].private = 0; page[0].writeback = 0; page[0].bh_dirty = 0; page[0].tag_dirty = 0;
       page[0].tag_writeback = 0; page[0].pte_present = 0; page[0].pte_write = 0; page[0].pte_dirty = 0
     }
  fi;
putback:
  if
  :: d_step {
       if :: locked -> unlock_page(0) :: else fi;
       locked = 0; answer = 0; told_no = 0; page[0].refcount--; page[0].lru = page[0].cached
     } goto isolate
  fi;
end_dead:
  false
}

/* Clean, mapped read-only. */
inline lay_out() {
  page[0].cached = 1; page[0].lru = 1; page[0].pte_present = 1; page[0].refcount = 2;
  free_dio[0] = 1
}

#include "device.pml"
