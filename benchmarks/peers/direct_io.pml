/*
 * The small world of the scenario direct-io: one GUP call, several bios, completions out of order; asynchronous reads
 * into buffers that overlap, and a flusher. THREADS and DIRECT_IOS (of each), QD and IO_PAGES make it larger.
 */

#ifndef FLUSHER_ROUNDS
#define FLUSHER_ROUNDS 1
#endif
#ifndef THREADS
#define THREADS 1
#endif
#ifndef QD
#define QD 2
#endif
#ifndef DIRECT_IOS
#define DIRECT_IOS 2
#endif
#ifndef IO_PAGES
#define IO_PAGES 2
#endif
#ifndef BIO_PAGES
#define BIO_PAGES 1
#endif
#ifdef FSYNC
#error "nobody calls fsync here"
#endif
#define FSYNC 0
#define SLOTS (THREADS * QD)
#define PAGES (SLOTS - 1 + IO_PAGES)
#define ROWS (SLOTS * ((IO_PAGES + BIO_PAGES - 1) / BIO_PAGES) + 1)
#define CPUS 2
#define KWORKERS THREADS
#define SYNC_ANY 1
#define DIRTY_ALWAYS 0

#if QD < 1 || QD * THREADS > 2
#error "there are 2 direct IOs in flight at most"
#endif
#if DIRECT_IOS < 0 || DIRECT_IOS > 7
#error "DIRECT_IOS is at most 7"
#endif
#if IO_PAGES < 1 || BIO_PAGES < 1 || (IO_PAGES > 2 && BIO_PAGES > 2)
#error "a bio has 1 or 2 pages"
#endif
#if ROWS > 6
#error "there are 6 rows of bios at most"
#endif

#include "kernel.pml"

/* ---- the threads: from when get_user_pages is called the pages are `first` and those behind it */

#define ME (me - THREAD)
#define pte_allows (page[at].pte_present && page[at].pte_write)
#define room (IO_PAGES - dio[d - 1].built < BIO_PAGES -> IO_PAGES - dio[d - 1].built : BIO_PAGES)

proctype thread() {
  unsigned left : 3 = DIRECT_IOS;
  unsigned d : 3; unsigned b : 4; unsigned row : 4; unsigned first : 4;
io_getevents:
  if
  :: d_step { runs && free_dio[ME] == 0 -> waits[me] = DIRECT_IO } goto io_getevents
  :: runs && free_dio[ME] != 0
  fi;
io_submit:
  if
  :: d_step { left == 0 -> at = 0; d = 0; row = 0; first = 0 } goto end_dead
  :: d_step {
       left != 0 ->
       left--; d = free_dio[ME]; dio[d - 1].refcount = 1; free_dio[ME] = dio[d - 1].next;
       dio[d - 1].next = 0; dio[d - 1].prev = flight_tail[ME];
       if
       :: flight_tail[ME] != 0 -> dio[flight_tail[ME] - 1].next = d
       :: else -> flight_head[ME] = d
       fi;
       flight_tail[ME] = d
     }
  fi;
gup_call:
  d_step { first = d - 1; at = first };
gup_pages:
  if
  :: d_step {
       pte_allows && at != first + IO_PAGES - 1 ->
       page[at].refcount = page[at].refcount + REFERENCES; true_pin(at); at++
     } goto gup_pages
  :: d_step {
       pte_allows && at == first + IO_PAGES - 1 ->
       page[at].refcount = page[at].refcount + REFERENCES; true_pin(at); at++; dio[d - 1].got = IO_PAGES
     } goto build_bio
  :: !pte_allows
  fi;
fault_lock:
  if
  :: d_step { runs && page[at].locked -> wait_on_page(PAGE_LOCK) } goto fault_lock
  :: d_step { runs && !page[at].locked -> page[at].locked = 1 }
  fi;
page_mkwrite:
  d_step { set_page_dirty(at) };
fault_pte:
  if
  :: d_step { runs && page[at].writeback -> wait_on_page(END_OF_WRITEBACK) } goto fault_pte
  :: d_step { runs && !page[at].writeback -> page[at].pte_write = 1; page[at].pte_dirty = 1 }
  fi;
fault_unlock:
  d_step { unlock_page(at) } goto gup_pages;
build_bio:
  if
  :: d_step { runs && handles != 0 -> waits[me] = JOURNAL } goto build_bio
  :: d_step {
       runs && handles == 0 ->
       alloc_bio(b); row = b; bio[b - 1].op = READ; bio[b - 1].first = d - 1 + dio[d - 1].built; bio[b - 1].nr = room;
       bio[b - 1].dio = d - 1; dio[d - 1].built = dio[d - 1].built + bio[b - 1].nr; at = bio[b - 1].first
     }
  fi;
bio_set_pages_dirty:
  if
  :: d_step { runs && page[at].locked -> wait_on_page(PAGE_LOCK) } goto bio_set_pages_dirty
  :: d_step { runs && !page[at].locked && !last_page(at) -> set_page_dirty(at); at++ } goto bio_set_pages_dirty
  :: d_step { runs && !page[at].locked && last_page(at) -> set_page_dirty(at); at++; row = 0 }
  fi;
submit:
  if
  :: d_step {
       dio[d - 1].built != IO_PAGES -> dio[d - 1].refcount++; submit_bio(b); b = 0
     } goto build_bio
  :: d_step { dio[d - 1].built == IO_PAGES -> submit_bio(b); b = 0 } goto io_getevents
  fi;
end_dead:
  false
}

#define KSWAPD 0
inline lay_out_page(p) {
  page[p].cached = 1; page[p].lru = 1; page[p].private = 1; page[p].refcount = 3;
  page[p].dirty = 1; page[p].tag_dirty = 1; page[p].bh_dirty = 1;
  page[p].pte_present = 1; page[p].pte_write = 1; page[p].pte_dirty = 1; page[p].newer_than_disk = 1
}

/* Just written; each thread has its slots in a list. */
inline lay_out() {
  lay_out_page(0);
#if PAGES > 1
  lay_out_page(1);
#endif
#if PAGES > 2
  lay_out_page(2);
#endif
#if PAGES > 3
  lay_out_page(3);
#endif
#if QD == 2
  dio[0].next = 2;
#endif
#if THREADS == 2
  free_dio[1] = QD + 1;
#endif
  free_dio[0] = 1
}

#include "device.pml"
