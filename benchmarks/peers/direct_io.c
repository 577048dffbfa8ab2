/*
 * `simulate direct-io` under the tracker `bias`, as a C program: docs/model.md §1-§5 and §8, with one GUP call after
 * the other (legacy), interrupts and submitting threads on CPUs, events ordered by time and then by when they were
 * scheduled. It is given the service times that the package's own random stream draws, and ends with the same counts
 * at the same picosecond.
 *
 * Left out, since nothing of it happens in this scenario as benchmarks/bench_direct_io.py runs it: cleaners, kworkers
 * (no page is ever clean again at completion), faults, spinlocks and i_mmap_rwsem (this tracker has none), extents,
 * shared buffers, traces, trackers other than `bias`. Where one of them would be needed the program aborts.
 *
 * Compiled by `gcc -O2` into a shared object; see bench_direct_io.py.
 */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EXPORT __attribute__((visibility("default")))

/* What comes in and goes out; bench_direct_io.py has the same names in the same order. */
struct parameters {
	int64_t cpus, qd, io_pages, ios, read, gup_batch, bio_pages, units, tags, per_page_ps, bias;
};

enum counter {
	SUBMIT_IO, GUP_CALL, GUP_PAGE, ATOMIC, PUT_PAGE, PAGE_LOCK, BIO_ALLOC, BIO_PAGE, SUBMIT_BIO, INTERRUPT,
	BIO_ENDIO, DIO_COMPLETE, REAP, SWITCH, SET_DIRTY, PINS, UNPINS, DIOS, BIOS, UNSTABLE_WRITE, COUNT_OVERFLOW,
	COUNTERS
};

enum histogram { LATENCY, SUBMIT, RELEASE, OVERTAKES, HISTOGRAMS };

#define SUB_BITS 6
#define BUCKETS ((64 - SUB_BITS) << SUB_BITS)
#define SAMPLES 512

struct outcome {
	int64_t counters[COUNTERS];
	int64_t sums[HISTOGRAMS];
	int64_t now, last_done, events, busy_ps, pins_left, references;
	int64_t buckets[HISTOGRAMS][BUCKETS];
};

enum page_flag {
	LOCKED = 1, DIRTY = 2, UNDER_WRITEBACK = 4, ON_LRU = 8, PRIVATE = 16, WAITERS = 32, CACHED = 64, BH_DIRTY = 128,
	TAG_DIRTY = 256, PTE_PRESENT = 512, PTE_WRITE = 1024, PTE_DIRTY = 2048
};
enum ghost { NEWER_THAN_DISK = 1, NEWER_THAN_COPY = 2, EVER_PINNED = 4 };

struct page {
	int32_t flags, refcount, mapcount, lru_next, lru_prev, pincount, true_pins, ghost;
};

struct dio {
	struct task *task;
	struct dio *next, *prev;	/* free list, or in flight by their beginning */
	int32_t home, page, nr_pages, got, built, holds, bio_left;
	uint32_t place;		/* in flight: by its beginning; see renumber() */
	int64_t began;
};

struct bio {	/* a run of pages; a bio is a chain of them */
	struct bio *run_next, *next;
	struct dio *dio;
	int32_t page, nr_pages, cpu;
	int64_t done;
};

enum state { RUNNABLE, WAITING, DEAD };
enum reason { NOTHING, FOR_DIO, FOR_TAG, FOR_BIO, FOR_WORK, REASONS };
enum rank { IRQ, THREAD, RANKS };
enum step {
	GETEVENTS, IO_SUBMIT, GUP, GUP_PAGES, BUILD_BIO, SET_PAGES_DIRTY, DO_SUBMIT_BIO,
	TAKE_BIO, CHECK_DIRTY, RELEASE_PAGES, BIO_COMPLETE
};

struct task {
	enum step pc;
	enum state state;
	enum reason reason;
	enum rank rank;
	int32_t cpu;
	struct dio *dio, *free_dio, *flight_head, *flight_tail;
	uint32_t next_place, places;
	int32_t *in_block;	/* in flight, by block of BLOCK places; NULL: places are not used */
	struct bio *bio, *run;
	struct bio *list_head, *list_tail;
	int32_t first, last;
	struct task *woken_next, *run_next;
	enum reason slept_for;
	int64_t slept_since;
};

struct cpu {
	struct task *current, *last;
	struct task *head[RANKS], *tail[RANKS];
	int busy, kicked;
	int64_t slice, busy_ps;
};

struct event {
	int64_t time, sequence, what;	/* STEP_END of a CPU, or a finished bio */
};

#define STEP_END (-1)
#define BLOCK 64
#define SLICE_PS 3000000000

struct world {
	struct parameters p;
	const int64_t *cost, *draws;
	int64_t count[COUNTERS];
	int64_t step_cost, now, last_done;
	int64_t ios_left, ios_out, tags_free, units_free, pinned_pages;
	struct page *page;
	struct dio *dio;
	struct bio *bio, *free_bio, *device_head, *device_tail;
	struct task *task, *woken_head, *woken_tail;
	struct cpu *cpu;
	struct event *heap, first;
	int64_t heap_n, sequence, has_first, tasks;
	int32_t *kicks;
	int64_t kicked;
	int64_t slept[REASONS][2], device_busy;
	int64_t samples, sample_next, sample_period, sample[SAMPLES][4];
	struct outcome *out;
};

static inline void tally(struct world *w, enum counter c, int64_t n)
{
	w->count[c] += n;
	w->step_cost += n * w->cost[c];
}

static inline void record(struct world *w, enum histogram h, int64_t value)
{
	int64_t bucket = value;

	if (value >> SUB_BITS) {
		int shift = 64 - __builtin_clzll(value >> SUB_BITS);

		bucket = ((int64_t)shift << SUB_BITS) + (value >> (shift - 1)) - (1 << SUB_BITS);
	}
	w->out->buckets[h][bucket]++;
	w->out->sums[h] += value;
}

/* ---- events */

static inline int before(const struct event *a, const struct event *b)
{
	return a->time < b->time || (a->time == b->time && a->sequence < b->sequence);
}

static void heap_push(struct world *w, struct event e)
{
	int64_t i = w->heap_n++;

	while (i > 0 && before(&e, &w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = e;
}

static struct event heap_pop(struct world *w)
{
	struct event top = w->heap[0], e = w->heap[--w->heap_n];
	int64_t i = 0, child;

	while ((child = 2 * i + 1) < w->heap_n) {
		if (child + 1 < w->heap_n && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!before(&w->heap[child], &e))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = e;
	return top;
}

/* The earliest event stands apart: the next step of a CPU is mostly that. */
static void push_event(struct world *w, int64_t time, int64_t kind, int64_t what)
{
	struct event e = { time, ++w->sequence, kind == STEP_END ? -1 - what : what };

	if (!w->has_first) {
		if (w->heap_n == 0 || time < w->heap[0].time) {
			w->first = e;
			w->has_first = 1;
			return;
		}
	} else if (time < w->first.time) {
		heap_push(w, w->first);
		w->first = e;
		return;
	}
	heap_push(w, e);
}

/* ---- tasks */

static inline void kick(struct world *w, int32_t c)
{
	if (!w->cpu[c].kicked) {
		w->cpu[c].kicked = 1;
		w->kicks[w->kicked++] = c;
	}
}

static void enqueue(struct world *w, struct task *t, int front)
{
	struct cpu *cpu = &w->cpu[t->cpu];
	struct task **head = &cpu->head[t->rank], **tail = &cpu->tail[t->rank];

	t->run_next = NULL;
	if (!*head) {
		*head = *tail = t;
	} else if (front) {
		t->run_next = *head;
		*head = t;
	} else {
		(*tail)->run_next = t;
		*tail = t;
	}
}

static struct task *dequeue(struct cpu *cpu)
{
	for (int rank = 0; rank < RANKS; rank++) {
		struct task *t = cpu->head[rank];

		if (t) {
			cpu->head[rank] = t->run_next;
			return t;
		}
	}
	return NULL;
}

static inline void wait_for(struct task *t, enum reason reason)
{
	t->state = WAITING;
	t->reason = reason;
}

static inline void wake(struct world *w, struct task *t, enum reason reason)
{
	if (t->reason != reason)
		return;
	t->reason = NOTHING;
	if (t->state != WAITING)
		return;
	t->state = RUNNABLE;
	t->woken_next = NULL;
	if (w->woken_head)
		w->woken_tail->woken_next = t;
	else
		w->woken_head = t;
	w->woken_tail = t;
}

static inline void wake_all(struct world *w, enum reason reason)
{
	for (int64_t t = 0; t < w->tasks; t++)
		wake(w, &w->task[t], reason);
}

static void make_runnable(struct world *w, struct task *t)
{
	if (t->slept_for != NOTHING) {
		w->slept[t->slept_for][0] += w->now - t->slept_since;
		w->slept[t->slept_for][1]++;
		t->slept_for = NOTHING;
	}
	if (w->cpu[t->cpu].current != t) {
		enqueue(w, t, 0);
		kick(w, t->cpu);
	}
}

/* ---- lists of bios */

static inline void push_bio(struct task *t, struct bio *b)
{
	b->next = NULL;
	if (t->list_head)
		t->list_tail->next = b;
	else
		t->list_head = b;
	t->list_tail = b;
}

/* Who waits for a bio has found none, and none has come back since. */
static void free_bio(struct world *w, struct bio *b)
{
	int awaited = !w->free_bio;

	while (b) {
		struct bio *after = b->run_next;

		b->nr_pages = 0;
		b->next = w->free_bio;
		w->free_bio = b;
		b = after;
	}
	if (awaited)
		wake_all(w, FOR_BIO);
}

/* ---- in flight */

/* Places have run out: those in flight get the first ones, and there are twice as many as are needed. */
static void renumber(struct task *t)
{
	memset(t->in_block, 0, t->places / BLOCK * sizeof(*t->in_block));
	t->next_place = 0;
	for (struct dio *d = t->flight_head; d; d = d->next) {
		d->place = t->next_place++;
		t->in_block[d->place / BLOCK]++;
	}
	t->places = (2 * (t->next_place + 1) + BLOCK - 1) / BLOCK * BLOCK;
}

static inline void enter_flight(struct task *t, struct dio *d)
{
	if (t->in_block) {
		if (t->next_place == t->places)
			renumber(t);
		d->place = t->next_place++;
		t->in_block[d->place / BLOCK]++;
	}
	d->next = NULL;
	d->prev = t->flight_tail;
	if (t->flight_tail)
		t->flight_tail->next = d;
	else
		t->flight_head = d;
	t->flight_tail = d;
}

/* Returns how many that began earlier are still in flight. */
static inline int64_t leave_flight(struct task *t, struct dio *d)
{
	struct dio *other = d->prev;
	int64_t earlier = 0;

	if (d->next)
		d->next->prev = d->prev;
	else
		t->flight_tail = d->prev;
	if (d->prev)
		d->prev->next = d->next;
	else
		t->flight_head = d->next;
	if (t->in_block) {
		uint32_t block = d->place / BLOCK;

		t->in_block[block]--;
		for (uint32_t i = 0; i < block; i++)
			earlier += t->in_block[i];
		for (; other && other->place / BLOCK == block; other = other->prev)
			earlier++;
		return earlier;
	}
	for (; other; other = other->prev)
		earlier++;
	return earlier;
}

/* ---- the submitter */

static void start_bio(struct world *w, struct dio *d)
{
	int64_t left = d->nr_pages - d->built;

	d->bio_left = left < w->p.bio_pages ? left : w->p.bio_pages;
}

static void getevents(struct world *w, struct task *t)
{
	if (!t->free_dio) {
		wait_for(t, FOR_DIO);
		return;
	}
	tally(w, REAP, 1);
	t->pc = IO_SUBMIT;
}

static void io_submit(struct world *w, struct task *t)
{
	struct dio *d = t->free_dio;

	if (w->ios_left == 0) {
		t->state = DEAD;
		return;
	}
	w->ios_left--;
	w->ios_out++;
	t->free_dio = d->next;
	t->dio = d;
	t->bio = NULL;
	d->page = d->home;
	d->nr_pages = w->p.io_pages;
	d->got = d->built = 0;
	d->holds = 1;
	d->began = w->now;
	enter_flight(t, d);
	start_bio(w, d);
	tally(w, SUBMIT_IO, 1);
	t->pc = GUP;
}

static void gup_call(struct world *w, struct task *t)
{
	struct dio *d = t->dio;
	int64_t left = d->nr_pages - d->got;

	t->first = d->page + d->got;
	t->last = t->first + (left < w->p.gup_batch ? left : w->p.gup_batch) - 1;
	tally(w, GUP_CALL, 1);
	t->pc = GUP_PAGES;
}

static void gup_pages(struct world *w, struct task *t)
{
	int32_t needed = w->p.read ? PTE_PRESENT | PTE_WRITE : PTE_PRESENT;
	int32_t bias = w->p.bias;
	int64_t n = t->last - t->first + 1;

	for (int32_t p = t->first; p <= t->last; p++) {
		struct page *page = &w->page[p];

		if ((page->flags & needed) != needed)
			abort();	/* a fault */
		page->refcount++;		/* the reference, */
		page->refcount += bias - 1;	/* and the pin: an atomic each */
		if (page->refcount < 0)
			w->count[COUNT_OVERFLOW]++;
		page->ghost |= EVER_PINNED;
		if (page->true_pins++ == 0)
			w->pinned_pages++;
	}
	w->count[PINS] += n;
	tally(w, GUP_PAGE, n);
	tally(w, ATOMIC, 2 * n);
	t->dio->got += n;
	t->pc = BUILD_BIO;
}

static void build_bio(struct world *w, struct task *t)
{
	struct dio *d = t->dio;
	struct bio *b = w->free_bio;
	int32_t n = d->got - d->built;

	if (!b) {
		wait_for(t, FOR_BIO);
		return;
	}
	w->free_bio = b->next;
	if (n > d->bio_left)
		n = d->bio_left;
	b->page = d->page + d->built;
	b->nr_pages = n;
	b->run_next = NULL;
	b->dio = d;
	b->cpu = t->cpu;
	if (t->bio) {
		t->run->run_next = b;
	} else {
		t->bio = b;
		tally(w, BIO_ALLOC, 1);
	}
	t->run = b;
	tally(w, BIO_PAGE, n);
	d->built += n;
	d->bio_left -= n;
	if (d->bio_left > 0)
		t->pc = GUP;
	else
		t->pc = w->p.read ? SET_PAGES_DIRTY : DO_SUBMIT_BIO;
}

static void bio_set_pages_dirty(struct world *w, struct task *t)
{
	for (struct bio *b = t->bio; b; b = b->run_next) {
		for (int32_t p = b->page; p < b->page + b->nr_pages; p++) {
			struct page *page = &w->page[p];

			if ((page->flags & (LOCKED | CACHED | PRIVATE)) != (CACHED | PRIVATE))
				abort();	/* it would wait, or warn */
			page->flags |= BH_DIRTY | DIRTY | TAG_DIRTY;
		}
		tally(w, PAGE_LOCK, b->nr_pages);
		tally(w, SET_DIRTY, b->nr_pages);
	}
	t->pc = DO_SUBMIT_BIO;
}

static void submit_bio(struct world *w, struct task *t)
{
	struct dio *d = t->dio;

	if (w->tags_free == 0) {
		wait_for(t, FOR_TAG);
		return;
	}
	d->holds++;
	t->bio->next = NULL;
	if (w->device_head)
		w->device_tail->next = t->bio;
	else
		w->device_head = t->bio;
	w->device_tail = t->bio;
	w->tags_free--;
	tally(w, SUBMIT_BIO, 1);
	t->bio = NULL;
	if (d->built < d->nr_pages) {
		start_bio(w, d);
		t->pc = d->built < d->got ? BUILD_BIO : GUP;
		return;
	}
	d->holds--;
	record(w, SUBMIT, w->now + w->step_cost - d->began);
	t->pc = GETEVENTS;
}

/* ---- the device */

static void start_device(struct world *w)
{
	while (w->device_head && w->units_free > 0) {
		struct bio *b = w->device_head;
		int64_t service = *w->draws++;

		w->device_head = b->next;
		w->units_free--;
		for (struct bio *run = b; run; run = run->run_next)
			service += run->nr_pages * w->p.per_page_ps;
		w->device_busy += service;
		push_event(w, w->now + service, 0, b - w->bio);
	}
}

static void device_done(struct world *w, struct bio *b)
{
	if (w->p.read) {
		for (struct bio *run = b; run; run = run->run_next) {
			for (int32_t p = run->page; p < run->page + run->nr_pages; p++) {
				struct page *page = &w->page[p];

				page->ghost |= NEWER_THAN_DISK | NEWER_THAN_COPY;
				if (page->flags & UNDER_WRITEBACK)
					w->count[UNSTABLE_WRITE]++;
				if (!(page->flags & CACHED))
					abort();	/* truncated */
			}
		}
	}
	w->units_free++;
	b->done = w->now;
	if (w->tags_free++ == 0)
		wake_all(w, FOR_TAG);
	push_bio(&w->task[b->cpu], b);
	wake(w, &w->task[b->cpu], FOR_WORK);
}

/* ---- the interrupt */

static void take_bio(struct world *w, struct task *t)
{
	struct bio *b = t->list_head;

	if (!b) {
		wait_for(t, FOR_WORK);
		return;
	}
	t->list_head = b->next;
	t->bio = b;
	t->dio = b->dio;
	tally(w, INTERRUPT, 1);
	tally(w, BIO_ENDIO, 1);
	w->count[BIOS]++;
	t->pc = CHECK_DIRTY;
}

static void check_pages_dirty(struct world *w, struct task *t)
{
	if (w->p.read) {
		int clean = 0;

		for (struct bio *b = t->bio; b; b = b->run_next) {
			tally(w, SET_DIRTY, b->nr_pages);
			for (int32_t p = b->page; p < b->page + b->nr_pages; p++)
				clean |= !(w->page[p].flags & DIRTY);
		}
		if (clean)
			abort();	/* for a kworker */
	}
	t->pc = RELEASE_PAGES;
}

static void release_pages(struct world *w, struct task *t)
{
	int32_t bias = w->p.bias;

	for (struct bio *b = t->bio; b; b = b->run_next) {
		for (int32_t p = b->page; p < b->page + b->nr_pages; p++) {
			struct page *page = &w->page[p];

			page->refcount -= bias - 1;
			if (--page->true_pins == 0)
				w->pinned_pages--;
			if (--page->refcount == 0 || page->flags & WAITERS)
				abort();	/* freed, or somebody waits for it */
		}
		w->count[UNPINS] += b->nr_pages;
		tally(w, ATOMIC, b->nr_pages);
		tally(w, PUT_PAGE, b->nr_pages);
	}
	record(w, RELEASE, w->now - t->bio->done);
	free_bio(w, t->bio);
	t->bio = NULL;
	t->pc = BIO_COMPLETE;
}

static void dio_bio_complete(struct world *w, struct task *t)
{
	struct dio *d = t->dio;
	struct task *owner = d->task;

	t->pc = TAKE_BIO;
	if (--d->holds > 0)
		return;
	record(w, LATENCY, w->now - d->began);
	record(w, OVERTAKES, leave_flight(owner, d));
	d->next = owner->free_dio;
	owner->free_dio = d;
	tally(w, DIO_COMPLETE, 1);
	w->count[DIOS]++;
	w->ios_out--;
	w->last_done = w->now;
	wake(w, owner, FOR_DIO);
}

/* ---- the clock */

static inline void run_step(struct world *w, struct task *t)
{
	switch (t->pc) {
	case GETEVENTS:		getevents(w, t); break;
	case IO_SUBMIT:		io_submit(w, t); break;
	case GUP:		gup_call(w, t); break;
	case GUP_PAGES:		gup_pages(w, t); break;
	case BUILD_BIO:		build_bio(w, t); break;
	case SET_PAGES_DIRTY:	bio_set_pages_dirty(w, t); break;
	case DO_SUBMIT_BIO:	submit_bio(w, t); break;
	case TAKE_BIO:		take_bio(w, t); break;
	case CHECK_DIRTY:	check_pages_dirty(w, t); break;
	case RELEASE_PAGES:	release_pages(w, t); break;
	case BIO_COMPLETE:	dio_bio_complete(w, t); break;
	}
}

static inline void settle(struct world *w)
{
	start_device(w);
	while (w->woken_head) {
		struct task *t = w->woken_head;

		w->woken_head = t->woken_next;
		make_runnable(w, t);
	}
}

static void start_cpu(struct world *w, int32_t c)
{
	struct cpu *cpu = &w->cpu[c];
	struct task *t;

	cpu->kicked = 0;
	if (cpu->busy)
		return;
	if (!cpu->current) {
		cpu->current = dequeue(cpu);
		if (!cpu->current)
			return;
		cpu->slice = w->now;
	}
	t = cpu->current;
	cpu->busy = 1;
	w->step_cost = 0;
	if (t->rank != IRQ && cpu->last != t) {
		tally(w, SWITCH, 1);
		cpu->last = t;
	}
	run_step(w, t);
	cpu->busy_ps += w->step_cost;
	push_event(w, w->now + w->step_cost, STEP_END, c);
	settle(w);
}

/* The slice of a thread is looked at, as in the package; with one thread on a CPU it is never over for anybody. */
static void end_step(struct world *w, int32_t c)
{
	struct cpu *cpu = &w->cpu[c];
	struct task *t = cpu->current;

	cpu->busy = 0;
	if (t->state == RUNNABLE) {
		int slice_over = t->rank == THREAD && w->now - cpu->slice >= SLICE_PS && cpu->head[THREAD];

		if ((t->rank > IRQ && cpu->head[IRQ]) || slice_over) {
			enqueue(w, t, !slice_over);
			cpu->current = NULL;
		}
	} else {
		cpu->current = NULL;
		if (t->state == WAITING) {
			t->slept_since = w->now;
			t->slept_for = t->reason;
		}
	}
	kick(w, c);
}

/* The time series: when it is full every second sample goes, and the period doubles. */
static void take_sample(struct world *w, int64_t time)
{
	while (w->sample_next <= time) {
		int64_t *row;

		if (w->samples == SAMPLES) {
			w->samples = (SAMPLES + 1) / 2;
			for (int64_t i = 1; i < w->samples; i++)
				memcpy(w->sample[i], w->sample[2 * i], sizeof(w->sample[i]));
			w->sample_period *= 2;
			w->sample_next = w->sample[w->samples - 1][0] + w->sample_period;
		}
		row = w->sample[w->samples++];
		row[0] = w->sample_next;
		row[1] = w->pinned_pages;
		row[2] = w->ios_out;
		row[3] = w->tags_free;
		w->sample_next += w->sample_period;
	}
}

static void run(struct world *w)
{
	for (;;) {
		struct event e;

		while (w->kicked > 0) {
			int32_t c = w->kicks[0];

			w->kicked--;
			memmove(w->kicks, w->kicks + 1, w->kicked * sizeof(*w->kicks));
			start_cpu(w, c);
		}
		if (w->has_first) {
			e = w->first;
			w->has_first = 0;
		} else if (w->heap_n) {
			e = heap_pop(w);
		} else {
			return;
		}
		if (w->sample_next <= e.time)
			take_sample(w, e.time);
		w->now = e.time;
		if (e.what < 0) {
			end_step(w, -1 - e.what);
		} else {
			device_done(w, &w->bio[e.what]);
			settle(w);
		}
	}
}

/* Large arrays in huge pages, where there are: numpy asks for them too. */
static void *zeroed(size_t n, size_t size)
{
	const size_t huge = 2 << 20;
	void *memory;

	if (posix_memalign(&memory, n * size < 2 * huge ? 64 : huge, n * size))
		abort();
	if (n * size >= 2 * huge)
		madvise(memory, n * size, MADV_HUGEPAGE);
	return memset(memory, 0, n * size);
}

static void lay_out(struct world *w)
{
	int64_t cpus = w->p.cpus, qd = w->p.qd, io_pages = w->p.io_pages;
	int64_t pages = cpus * qd * io_pages, bios = cpus * qd * (io_pages + 1) + 1;

	w->page = zeroed(pages, sizeof(*w->page));
	for (int64_t p = 0; p < pages; p++) {
		w->page[p].flags = CACHED | ON_LRU | PRIVATE | DIRTY | TAG_DIRTY | BH_DIRTY | PTE_PRESENT | PTE_WRITE | PTE_DIRTY;
		w->page[p].refcount = 3;	/* page cache, PTE, buffers */
		w->page[p].ghost = NEWER_THAN_DISK;
	}
	w->bio = zeroed(bios, sizeof(*w->bio));
	for (int64_t b = 0; b < bios - 1; b++)
		w->bio[b].next = &w->bio[b + 1];
	w->free_bio = w->bio;
	w->tasks = 2 * cpus;
	w->task = zeroed(w->tasks, sizeof(*w->task));
	w->dio = zeroed(cpus * qd, sizeof(*w->dio));
	w->cpu = zeroed(cpus, sizeof(*w->cpu));
	w->kicks = zeroed(cpus + 2, sizeof(*w->kicks));
	w->heap = zeroed(cpus + w->tasks + w->p.tags + 16, sizeof(*w->heap));
	w->ios_left = w->p.ios;
	w->tags_free = w->p.tags;
	w->units_free = w->p.units;
	w->sample_period = 1000000;
	for (int64_t c = 0; c < cpus; c++) {
		struct task *irq = &w->task[c], *thread = &w->task[cpus + c];

		irq->pc = TAKE_BIO;
		irq->cpu = thread->cpu = c;
		wait_for(irq, FOR_WORK);
		thread->rank = THREAD;
		for (int64_t d = c * qd; d < (c + 1) * qd; d++) {
			w->dio[d].task = thread;
			w->dio[d].home = d * io_pages;
			w->dio[d].next = d + 1 < (c + 1) * qd ? &w->dio[d + 1] : NULL;
		}
		thread->free_dio = &w->dio[c * qd];
		if (qd > BLOCK)
			thread->in_block = zeroed(2 * qd / BLOCK + 1, sizeof(*thread->in_block));
	}
	for (int64_t c = 0; c < cpus; c++)
		make_runnable(w, &w->task[cpus + c]);
}

/* Run one simulation to its end. `cost` has a unit cost [ps] for each counter, `draws` a service time [ps] per bio. */
EXPORT void direct_io(const struct parameters *p, const int64_t *cost, const int64_t *draws, struct outcome *out)
{
	struct world *w = zeroed(1, sizeof(*w));

	memset(out, 0, sizeof(*out));
	w->p = *p;
	w->cost = cost;
	w->draws = draws;
	w->out = out;
	lay_out(w);
	run(w);
	memcpy(out->counters, w->count, sizeof(w->count));
	out->now = w->now;
	out->last_done = w->last_done;
	out->events = w->sequence;
	for (int64_t c = 0; c < w->p.cpus; c++)
		out->busy_ps += w->cpu[c].busy_ps;
	for (int64_t n = 0; n < p->cpus * p->qd * p->io_pages; n++) {
		out->pins_left += w->page[n].true_pins;
		out->references += w->page[n].refcount;
	}
	for (int64_t t = 0; t < w->tasks; t++)
		free(w->task[t].in_block);
	free(w->page);
	free(w->bio);
	free(w->task);
	free(w->dio);
	free(w->cpu);
	free(w->kicks);
	free(w->heap);
	free(w);
}
