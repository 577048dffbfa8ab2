/*
 * What golden_race.pml and direct_io.pml share: pages, bios, kworkers and cleaners (device.pml has the rest).
 *
 * The model is that of docs/model.md, for direct IO that reads. An atomic step there is a d_step here; who finds taken
 * what it needs waits until it is woken, and then looks again. A state here and one of `workbench explore` say the
 * same, so that there are equally many. Left out is what the rest implies (page->_mapcount, free tags, whose turn at
 * the lock of i_mmap, what is under way), what never changes (ranges, sizes), and actors that have nothing to do.
 *
 * Whoever includes this sets PAGES, ROWS (of bios), SLOTS (of direct IOs), CPUS, KWORKERS, THREADS, FLUSHER_ROUNDS,
 * SYNC_ANY (each round is about one page, whichever; without it there is one page) and FSYNC (it is called once, or 0).
 * BIAS: of tracker=bias,cleaning=skip; 0: tracker=none,cleaning=ignore. HAZARD: what is asserted never to happen.
 */

#define BUFFERLESS_DIRTY 1
#define UNSTABLE_WRITE 2
#define MISSED_PIN 3
#define LOST_UPDATE 4
#define FSYNC_LIE 5
#ifndef HAZARD
#define HAZARD 0
#endif
#define seen(hazard) assert(hazard != HAZARD)
#define JUDGES_ENDS (HAZARD == LOST_UPDATE) /* which takes a word of its own for what BUG_ON has done */

#ifndef BIAS
#define BIAS 0
#endif
#define REFERENCES (BIAS + (BIAS == 0)) /* that a pin takes */
#define says_pinned(p) (page[p].refcount >= BIAS)

/*
 * Who may wait, and for what; at_hand has the page. Kworkers come first, then cleaners, then threads. (Interrupts, and
 * kworkers that wait for work, are idle.)
 */
#define me (_pid - 1)
#define FLUSHER KWORKERS
#define THREAD (FLUSHER + 1 + FSYNC)
#define TASKS (THREAD + THREADS)
#define RUNS 0
#define DIRECT_IO 1
#define PAGE_LOCK 2
#define END_OF_WRITEBACK 3
#define JOURNAL 4
#define runs (waits[me] == RUNS)
#define at at_hand[me]

/* What has no place in the fields and lists below, would be another world. */
#if BIAS < 0 || 8 + SLOTS * REFERENCES > 127
#error "BIAS: the reference counts have 7 bits"
#endif
#if HAZARD < 0 || HAZARD > FSYNC_LIE
#error "HAZARD is one of the numbers above, or 0"
#endif
#if FSYNC < 0 || FSYNC > 1
#error "FSYNC is 0 or 1"
#endif
#if FLUSHER_ROUNDS < 1 || FLUSHER_ROUNDS > 15
#error "FLUSHER_ROUNDS is from 1 to 15"
#endif
#if THREADS < 1 || THREADS > 2
#error "THREADS is 1 or 2"
#endif
#if PAGES < 1 || PAGES > 4
#error "there are 4 pages at most"
#endif
#if JUDGES_ENDS && (PAGES > 3 || TASKS > 4)
#error "ends are judged of 3 pages and 4 tasks at most"
#endif

typedef Page {
  bit locked; bit dirty; bit writeback; bit lru; bit private; bit waiters; bit cached; bit bh_dirty; bit tag_dirty;
  bit tag_writeback; bit pte_present; bit pte_write; bit pte_dirty;
  bit newer_than_disk; bit newer_than_copy; bit ever_pinned; bit copy_read;
  bit known; bit known_in_copy; bit wanted; bit wanted_in_copy;
  unsigned pins : 3; unsigned refcount : 7
}

/* op 0: the row is free. Where a row or a slot is named, 0 is none, and n + 1 is number n. */
#define READ 1
#define WRITEBACK 2
#define QUEUED 1
#define STARTED 2
typedef Bio {
  unsigned op : 2; unsigned where : 2; bit redirty; unsigned first : 4; unsigned nr : 4; unsigned dio : 3;
  unsigned next : 4
}

/* refcount 0: the slot is free. */
typedef Dio { unsigned refcount : 4; unsigned got : 4; unsigned built : 4; unsigned next : 3; unsigned prev : 3 }

Page page[PAGES];
Bio bio[ROWS];
Dio dio[SLOTS];
byte waits[TASKS];
byte at_hand[TASKS];
byte head[KWORKERS + CPUS]; /* work of a kworker, and behind these, bios that have completed on a CPU */
byte tail[KWORKERS + CPUS];
byte free_dio[THREADS];
byte flight_head[THREADS];
byte flight_tail[THREADS];
byte handles; /* of the journal */
byte readers; /* of i_mmap_rwsem */
#if JUDGES_ENDS
bit killed;
#endif

/* ---- pages */

#define wake(t, reason) waits[t] = (waits[t] == reason -> RUNS : waits[t])
#define wake_on(t, p, reason) waits[t] = (waits[t] == reason && at_hand[t] == p -> RUNS : waits[t])
#define waits_on(t, p) ((waits[t] == PAGE_LOCK || waits[t] == END_OF_WRITEBACK) && at_hand[t] == p)

/* There are three tasks or more, and one or two threads. */
inline wake_up_page(p, reason) {
  wake_on(0, p, reason); wake_on(1, p, reason); wake_on(2, p, reason);
  page[p].waiters = waits_on(0, p) || waits_on(1, p) || waits_on(2, p);
#if TASKS > 3
  wake_on(3, p, reason);
  page[p].waiters = page[p].waiters || waits_on(3, p);
#endif
#if TASKS > 4
  wake_on(4, p, reason);
  page[p].waiters = page[p].waiters || waits_on(4, p)
#endif
}

inline unlock_page(p) {
  page[p].locked = 0;
  if :: page[p].waiters -> wake_up_page(p, PAGE_LOCK) :: else fi
}

inline wait_on_page(reason) { page[at].waiters = 1; waits[me] = reason }

inline set_page_dirty(p) {
  if
  :: page[p].cached ->
     if
     :: page[p].private -> page[p].bh_dirty = 1
     :: !page[p].private && !page[p].dirty -> seen(BUFFERLESS_DIRTY)
     :: else
     fi;
     page[p].dirty = 1; page[p].tag_dirty = 1
  :: else
  fi
}

inline true_pin(p) { page[p].ever_pinned = 1; page[p].pins++ }

/* Nobody waits for a pin here; but who looks clears the flag of waiters if there are none. */
inline wake_pin_waiters(p) {
  if :: page[p].waiters -> wake_up_page(p, RUNS) :: else fi
}

inline put_pinned_page(p) {
  page[p].pins--; page[p].refcount = page[p].refcount - REFERENCES;
  wake_pin_waiters(p)
}

inline ask(p) {
  answer = says_pinned(p); told_no = !answer && page[p].pins == 0;
  if :: !answer && page[p].pins > 0 -> seen(MISSED_PIN) :: else fi
}

inline act_on_no(p) {
  if :: told_no && page[p].pins > 0 -> seen(MISSED_PIN) :: else fi;
  told_no = 0
}

/* ---- bios */

/* The lowest free row. Until it is submitted it keeps its link to the next one, be that free by then or not. */
inline alloc_bio(b) {
  b = 1;
  do :: b <= ROWS && bio[b - 1].op != 0 -> b++ :: else -> break od;
  assert(b <= ROWS);
  bio[b - 1].next = b + 1;
  do
  :: bio[b - 1].next <= ROWS && bio[bio[b - 1].next - 1].op != 0 -> bio[b - 1].next = bio[b - 1].next + 1
  :: else -> break
  od
}

inline free_bio(b) {
  bio[b - 1].op = 0; bio[b - 1].redirty = 0; bio[b - 1].first = 0; bio[b - 1].nr = 0; bio[b - 1].dio = 0;
  bio[b - 1].next = 0
}

inline push_bio(list, b) {
  bio[b - 1].next = 0;
  if :: head[list] == 0 -> head[list] = b :: else -> bio[tail[list] - 1].next = b fi;
  tail[list] = b
}

/* Take the first bio off a list; with its first row and page at hand. */
inline pop_bio(list) {
  b = head[list]; head[list] = bio[b - 1].next;
  if :: head[list] == 0 -> tail[list] = 0 :: else fi;
  row = b
}

inline submit_bio(b) { bio[b - 1].next = 0; bio[b - 1].where = QUEUED }

#define last_page(p) (p + 1 == bio[row - 1].first + bio[row - 1].nr)

/* ---- kworkers: bio_dirty_fn */

proctype kworker() {
  unsigned b : 4; unsigned row : 4; /* bio at hand, and its row */
end_idle:
  if :: d_step { head[me] != 0 -> pop_bio(me); at = bio[b - 1].first } goto set_page_dirty_lock fi;
take_work:
  if
  :: d_step { head[me] == 0 -> at = 0 } goto end_idle
  :: d_step { head[me] != 0 -> pop_bio(me); at = bio[b - 1].first } goto set_page_dirty_lock
  fi;
set_page_dirty_lock:
  if
  :: d_step { runs && page[at].locked -> wait_on_page(PAGE_LOCK) } goto set_page_dirty_lock
  :: d_step { runs && !page[at].locked && !last_page(at) -> set_page_dirty(at); at++ } goto set_page_dirty_lock
  :: d_step { runs && !page[at].locked && last_page(at) -> set_page_dirty(at); at = bio[b - 1].first } goto release_pages
  fi;
release_pages:
  if
  :: d_step { !last_page(at) -> put_pinned_page(at); at++ } goto release_pages
  :: d_step { last_page(at) -> put_pinned_page(at); at++; free_bio(b); b = 0; row = 0 } goto take_work
  fi
}

/* ---- cleaners: the flusher (WB_SYNC_NONE), and behind it fsync (WB_SYNC_ALL) */

#define is_fsync (FSYNC && me != FLUSHER)
#if SYNC_ANY
#define END end
#define ROUND(p) :: d_step { rounds != 0 -> rounds--; at = p; end = p + 1 } goto find_dirty
#else
#define END 1
#define ROUND(p) :: d_step { rounds != 0 -> rounds--; at = p; note_what_is_wanted() } goto find_dirty
#endif
#define is_free (locked || !page[at].locked)
#define nothing_to_write (!page[at].cached || !page[at].dirty || (page[at].writeback && !is_fsync))

inline note_what_is_wanted() {
  if
  :: is_fsync -> page[0].wanted = page[0].known; page[0].wanted_in_copy = page[0].known_in_copy
  :: else
  fi
}

inline take_handle() {
  handles = handles + !journal; journal = 1
}

inline leave_page() {
  unlock_page(at); locked = 0; answer = 0; told_no = 0; at++;
  handles--; journal = 0;
  if
  :: handles == 0 ->
     wake(THREAD, JOURNAL);
#if THREADS > 1
     wake(THREAD + 1, JOURNAL)
#endif
  :: else
  fi
}

proctype cleaner() {
  unsigned rounds : 4 = (is_fsync -> 1 : FLUSHER_ROUNDS);
  unsigned b : 4; bit locked; bit journal; bit answer; bit told_no;
#if SYNC_ANY
  unsigned end : 4;
#endif
sleep:
  if
  ROUND(0)
#if PAGES > 1
  ROUND(1)
#endif
#if PAGES > 2
  ROUND(2)
#endif
#if PAGES > 3
  ROUND(3)
#endif
#if SYNC_ANY
  :: d_step { rounds == 0 -> end = 0 } goto end_dead
#else
  :: d_step { rounds == 0 -> at = 0 } goto end_dead
#endif
  fi;
find_dirty:
  if
  :: b != 0 -> goto submit
  :: b == 0 && at < END && page[at].tag_dirty -> goto lock_page
  :: d_step { !is_fsync && b == 0 && !(at < END && page[at].tag_dirty) -> at = 0 } goto sleep
  :: d_step { is_fsync && b == 0 && !(at < END && page[at].tag_dirty) -> at = 0 } goto wait_writeback
  fi;
lock_page:
  if
  :: d_step { runs && !is_free -> take_handle(); wait_on_page(PAGE_LOCK) } goto lock_page
  :: d_step { runs && is_free && nothing_to_write -> take_handle(); leave_page() } goto find_dirty
  :: d_step {
       runs && is_free && !nothing_to_write && page[at].writeback ->
       take_handle(); page[at].locked = 1; locked = 1; wait_on_page(END_OF_WRITEBACK)
     } goto lock_page
  :: d_step {
       runs && is_free && !nothing_to_write && !page[at].writeback && !page[at].private -> /* BUG_ON */
#if JUDGES_ENDS
       killed = 1;
#endif
       take_handle(); page[at].locked = 1; locked = 1; journal = 0; rounds = 0
     } goto end_dead
  :: d_step {
       runs && is_free && !nothing_to_write && !page[at].writeback && page[at].private ->
       take_handle(); page[at].locked = 1; locked = 1
     } goto i_mmap_lock
  fi;
i_mmap_lock:
  readers++;
page_mkclean:
  d_step {
    if
    :: page[at].pte_present && (page[at].pte_write || page[at].pte_dirty) ->
       page[at].pte_write = 0; page[at].pte_dirty = 0; set_page_dirty(at)
    :: else
    fi
  };
#if BIAS
  d_step { ask(at) };
#endif
i_mmap_unlock:
  readers--;
decide:
  if
  :: !answer
  :: d_step { answer -> leave_page() } goto find_dirty
  fi;
clear_page_dirty_for_io:
  d_step {
    alloc_bio(b); bio[b - 1].op = WRITEBACK; bio[b - 1].first = at; bio[b - 1].nr = 1;
    act_on_no(at);
    page[at].copy_read = 0; page[at].writeback = 1; page[at].tag_writeback = 1;
    page[at].dirty = 0; page[at].bh_dirty = 0; page[at].tag_dirty = 0;
    leave_page()
  } goto find_dirty;
submit:
  if :: d_step { submit_bio(b); b = 0 } goto find_dirty fi;
wait_writeback:
  if
  :: d_step { runs && page[at].tag_writeback -> wait_on_page(END_OF_WRITEBACK) } goto wait_writeback
  :: d_step {
       runs && !page[at].tag_writeback ->
       if :: page[0].wanted -> seen(FSYNC_LIE) :: else fi;
       at = 1
     } goto sleep
  fi;
end_dead:
  false
}
