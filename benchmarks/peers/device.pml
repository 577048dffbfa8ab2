/* The device, which reads the pages of a writeback and finishes any bio, in any order; and the interrupts. */

#define CPU_OF(d) ((d) / (SLOTS / THREADS))

inline start(p) {
  page[p].newer_than_copy = 0; page[p].copy_read = 1;
  if :: page[p].known -> page[p].known_in_copy = 1 :: else fi;
  if :: page[p].wanted -> page[p].wanted_in_copy = 1 :: else fi
}

inline land(p) {
  page[p].newer_than_disk = 1; page[p].newer_than_copy = 1;
  if :: page[p].writeback -> seen(UNSTABLE_WRITE) :: else fi
}

#define ROW(b) \
  :: d_step { bio[b].where == QUEUED && bio[b].op == WRITEBACK -> \
       bio[b].where = STARTED; start(bio[b].first) } \
  :: d_step { bio[b].where == STARTED -> bio[b].where = 0; push_bio(KWORKERS + CPUS - 1, b + 1) } \
  :: d_step { bio[b].where == QUEUED && bio[b].op == READ -> \
       land(bio[b].first); \
       if :: bio[b].nr == 2 -> land(bio[b].first + 1) :: else fi; \
       bio[b].where = 0; push_bio(KWORKERS + CPU_OF(bio[b].dio), b + 1) }

inline end_writeback(p) {
  page[p].writeback = 0; page[p].tag_writeback = 0; page[p].copy_read = 0;
  if :: page[p].known_in_copy -> page[p].known = 0; page[p].known_in_copy = 0 :: else fi;
  if :: page[p].wanted_in_copy -> page[p].wanted = 0; page[p].wanted_in_copy = 0 :: else fi;
  if :: !page[p].newer_than_copy -> page[p].newer_than_disk = 0 :: else fi;
  if :: page[p].waiters -> wake_up_page(p, END_OF_WRITEBACK) :: else fi
}

/* Of page 0; only who calls fsync makes a difference of it. */
inline learn_completion() {
  if
  :: FSYNC && page[0].newer_than_disk ->
     page[0].known = 1; page[0].known_in_copy = page[0].copy_read && !page[0].newer_than_copy
  :: else
  fi
}

inline leave_flight(d, s) {
  if
  :: dio[d].next != 0 -> dio[dio[d].next - 1].prev = dio[d].prev
  :: else -> flight_tail[s] = dio[d].prev
  fi;
  if
  :: dio[d].prev != 0 -> dio[dio[d].prev - 1].next = dio[d].next
  :: else -> flight_head[s] = dio[d].next
  fi
}

inline complete(d, s) {
  dio[d].refcount--;
  if
  :: dio[d].refcount == 0 ->
     learn_completion();
     leave_flight(d, s);
     dio[d].got = 0; dio[d].built = 0; dio[d].next = free_dio[s]; free_dio[s] = d + 1;
     wake(THREAD + s, DIRECT_IO)
  :: else
  fi
}

#define any_clean (!page[p].dirty || (bio[b - 1].nr == 2 && !page[p + 1].dirty)) /* of a bio of at most two pages */

#define LIST (me - TASKS - KSWAPD + KWORKERS)
#define TAKE_BIO \
  :: d_step { head[LIST] != 0 && bio[head[LIST] - 1].op == WRITEBACK -> \
       pop_bio(LIST); d = 0; p = bio[b - 1].first } goto end_page_writeback \
  :: d_step { head[LIST] != 0 && bio[head[LIST] - 1].op == READ -> \
       pop_bio(LIST); d = bio[b - 1].dio + 1; p = bio[b - 1].first } goto check_pages_dirty

proctype irq() {
  unsigned b : 4; unsigned row : 4; unsigned d : 3; unsigned p : 4; /* bio, row, direct IO and page at hand */
end_idle:
  if
  TAKE_BIO
  fi;
take_bio:
  if
  :: d_step { head[LIST] == 0 -> b = 0; row = 0; d = 0; p = 0 } goto end_idle
  TAKE_BIO
  fi;
check_pages_dirty:
#if DIRTY_ALWAYS
  if :: d_step { bio[b - 1].redirty = 1; push_bio(CPU_OF(d - 1), b) } goto dio_bio_complete fi;
#else
  if
  :: d_step { any_clean -> bio[b - 1].redirty = 1; push_bio(CPU_OF(d - 1), b) } goto dio_bio_complete
  :: !any_clean
  fi;
release_pages:
  if
  :: d_step { !last_page(p) -> put_pinned_page(p); p++ } goto release_pages
  :: d_step { last_page(p) -> put_pinned_page(p); p++; free_bio(b); b = 0; row = 0 }
  fi;
#endif
dio_bio_complete:
  if :: d_step { complete(d - 1, CPU_OF(d - 1)) } goto take_bio fi;
end_page_writeback:
  if :: d_step { end_writeback(p); free_bio(b); b = 0 } goto take_bio fi
}

/* An end, at which nobody waits, or one whom BUG_ON has killed holds a page. There are three pages at most. */
#define is_lost(p) (page[p].cached && page[p].newer_than_disk && \
  (!(page[p].dirty || page[p].pte_dirty) || (killed && page[p].locked)))
#if TASKS > 3
#define WAITERS (!killed && (waits[0] + waits[1] + waits[2] + waits[3]))
#else
#define WAITERS (!killed && (waits[0] + waits[1] + waits[2]))
#endif

/* The world is laid out in a step of its own, so that there is a state more than of `workbench explore`: before it. */
init {
  atomic {
    lay_out();
    run kworker();
#if KWORKERS > 1
    run kworker();
#endif
    run cleaner();
#if FSYNC
    run cleaner();
#endif
    run thread();
#if THREADS > 1
    run thread();
#endif
#if KSWAPD
    run kswapd();
#endif
    run irq(); run irq()
  };
end:
  do
  ROW(0)
#if ROWS > 1
  ROW(1)
#endif
#if ROWS > 2
  ROW(2)
#endif
#if ROWS > 3
  ROW(3)
#endif
#if ROWS > 4
  ROW(4)
#endif
#if ROWS > 5
  ROW(5)
#endif
#if JUDGES_ENDS
  :: d_step { timeout && !WAITERS && (is_lost(0) || is_lost(PAGES / 2) || is_lost(PAGES - 1)) -> seen(LOST_UPDATE) }
#endif
  od
}
