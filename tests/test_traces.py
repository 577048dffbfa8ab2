"""Recorded traces: what is read from them, what is dropped, and what is refused."""

import gzip
import json
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench import traces
from workbench.errors import UsageError
from workbench.traces import direct_io
from workbench.traces.blkparse import LOWER

RECORDED = Path(__file__).parent.parent / "data" / "traces"
FILES = sorted(path.name for path in RECORDED.glob("*.gz"))
DIO = "dio-512k-qd8-fragmented"
HEADER = "io,op,offset_bytes,size_bytes,submit_ns,complete_ns\n"


def load_text(folder, text, name="t.txt", **options):
    path = folder / name
    path.write_text(text if "\n" not in text[:1] else dedent(text).lstrip("\n"))
    return traces.load(path, **options)


# --- recorded files -------------------------------------------------------------------------------------


def test_all_recorded_files_are_there():
    assert len(FILES) == 11


# out_of_order_share, mean, p90, p99 and max of overtakes, as published for other runs of the same
# configurations (five runs each); the recorded run may differ by as much as the runs among themselves.
PUBLISHED = {
    "r4k-qd1.csv.gz": (0, 0, 0, 0, 0),
    "r4k-qd8.csv.gz": (0.574, 1.53, 4, 7, 7),
    "r4k-qd32.csv.gz": (0.836, 7.46, 18, 27, 31),
    "r4k-qd128.csv.gz": (0.820, 6.81, 17, 27, 46),
    "w4k-qd32.csv.gz": (0.835, 7.47, 18, 27, 31),
    "r64k-qd32.csv.gz": (0.736, 3.67, 9, 15, 31),
    "read-4k-qd32.ftrace.gz": (0.836, 7.46, 18, 27, 31),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recorded_order_is_near_the_published_one(name):
    summary = traces.summarise(traces.load(RECORDED / name))
    share, mean, p90, p99, largest = PUBLISHED[name]
    over = summary["overtakes"]
    assert summary["out_of_order_share"] == pytest.approx(share, abs=0.035)
    assert over["mean"] == pytest.approx(mean, rel=0.16)
    assert over["p90"] == pytest.approx(p90, abs=1) and over["p99"] == pytest.approx(p99, abs=3)
    assert over["max"] == pytest.approx(largest, abs=5)
    assert summary["dropped"] in ({}, {"foreign bio (RA)": 1})


def test_each_fragmented_direct_io_is_eight_bios():
    trace = traces.load(RECORDED / f"{DIO}.ftrace.gz")
    assert trace.format == "ftrace" and trace.source == f"{DIO}.ftrace.gz"
    assert (trace.bios.groupby("io").size() == 8).all() and len(trace.ios) == 300
    assert (trace.bios["size_bytes"] == 65536).all()
    assert trace.requeues == 126
    assert trace.merges == 88  # 78 requests of two bios and 5 of three
    assert trace.dropped == {"foreign bio (RA)": 3}
    last_bio = trace.bios.groupby("io")["complete_ns"].max()
    assert (last_bio <= trace.ios["complete_ns"]).all()
    assert (trace.ios["complete_ns"] - last_bio < 20_000).all()  # ends with its last bio, in the same IRQ
    assert sorted(trace.bios["complete_order"]) == list(range(2400))


def test_kernel_and_user_space_saw_the_same_ios():
    kernel = traces.load(RECORDED / f"{DIO}.ftrace.gz")
    user = traces.load(RECORDED / f"{DIO}.csv.gz")
    assert kernel.ios["offset_bytes"].equals(user.ios["offset_bytes"])
    assert kernel.ios["size_bytes"].equals(user.ios["size_bytes"])
    over = [traces.overtakes(t.ios["complete_order"]) for t in (kernel, user)]
    assert (over[0] == over[1]).all()
    ours, theirs = ((t.ios["complete_ns"] - t.ios["submit_ns"]).to_numpy() for t in (kernel, user))
    # User space counts from before io_uring_enter to the reaped completion: always longer, by little.
    assert (theirs > ours).all()
    assert np.median(theirs - ours) < 150_000


def test_fio_percentiles_are_those_that_fio_printed():
    path = RECORDED / "fio-randread-4k-qd64.json.gz"
    summary = traces.summarise(traces.load(path))
    printed = json.loads(gzip.decompress(path.read_bytes()))["jobs"][0]["read"]["clat_ns"]["percentile"]
    for ours, theirs in (("p50", "50"), ("p90", "90"), ("p99", "99"), ("p999", "99.9")):
        assert summary["latency_ns"][ours] == printed[f"{float(theirs):.6f}"]
    assert summary["ios"] == 243959
    assert summary["out_of_order_share"] is None and summary["bios_per_io"] == {"mean": None, "max": None}


def test_summary_has_what_is_promised_and_is_json():
    for name in (f"{DIO}.ftrace.gz", "r4k-qd1.csv.gz", "fio-randread-4k-qd64.json.gz"):
        summary = traces.summarise(traces.load(RECORDED / name))
        assert set(summary["overtakes"]) == {"mean", "p50", "p90", "p99", "max"}
        assert set(summary["latency_ns"]) == {"p50", "p90", "p99", "p999"}
        assert json.loads(json.dumps(summary)) == summary
    assert len(summary["sha256"]) == 64


# --- overtakes ------------------------------------------------------------------------------------------


def overtakes_naive(order):
    return [sum(earlier > order[i] for earlier in order[:i]) for i in range(len(order))]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_overtakes_agree_with_counting_all_pairs(order):
    assert traces.overtakes(order).tolist() == overtakes_naive(order)


def test_ios_of_the_same_time_do_not_overtake_each_other():
    assert traces.overtakes([5, 5, 3, 5]).tolist() == [0, 0, 2, 0]


def test_quantiles_are_values_that_occur(tmp_path):
    rows = "".join(f"{i},read,0,4096,{i},{i + latency}\n" for i, latency in enumerate([10, 20, 30, 40]))
    latency = traces.summarise(load_text(tmp_path, HEADER + rows))["latency_ns"]
    assert latency == {"p50": 20, "p90": 40, "p99": 40, "p999": 40}


# --- ftrace, written by hand ----------------------------------------------------------------------------


def line(us, event, task="fio-7", cpu=0):
    return f"{task}  [{cpu:03d}] .....  1.{us:06d}: {event}"


def begin(us, offset, length=4096, task="fio-7", flags="DIRECT", cpu=0):
    what = f"offset {offset:#x} length {length:#x} done_before 0x0 flags {flags} dio_flags  aio 1"
    return line(us, f"iomap_dio_rw_begin: dev 8:0 ino 0x1 size 0x100000 {what}", task, cpu)


def done(us, behind, ret=4096, error=0):
    what = f"offset {behind:#x} flags DIRECT aio 1 error {error} ret {ret}"
    return line(us, f"iomap_dio_complete: dev 8:0 ino 0x1 size 0x100000 {what}", "<idle>-0", 1)


def queue(us, sector, sectors=8, rwbs="R", task="fio-7", cpu=0, device="8,0"):
    return line(us, f"block_bio_queue: {device} {rwbs} {sector} + {sectors} [fio]", task, cpu)


def request(us, sector, sectors=8, rwbs="R", event="block_rq_complete"):
    return line(us, f"{event}: 8,0 {rwbs} () {sector} + {sectors} be,0,4 [0]", "<idle>-0", 1)


def ftrace(folder, *lines):
    return load_text(folder, "\n".join(["# tracer: nop", *lines]) + "\n", "t.ftrace")


def simple(us, offset, sector):
    """One whole IO of one bio, from `us` to `us` + 9."""
    return [
        begin(us, offset),
        queue(us + 1, sector),
        request(us + 8, sector),
        done(us + 9, offset + 4096),
    ]


def test_one_io(tmp_path):
    trace = ftrace(tmp_path, *simple(100, 0x3000, 800))
    assert trace.ios.iloc[0].tolist() == [0, "read", 0x3000, 4096, 0, 9000, 0]
    assert trace.bios.iloc[0].tolist() == [0, 0, 800, 4096, 1000, 8000, 0]
    assert trace.dropped == {}


def test_trace_cmd_report_without_flags_and_with_nanoseconds(tmp_path):
    text = "\n".join(event.replace(" .....", "").replace(": ", "000: ", 1) for event in simple(100, 0x3000, 800))
    trace = load_text(tmp_path, "version = 6\ncpus=2\n" + text)
    assert trace.format == "ftrace"
    assert trace.ios["complete_ns"].tolist() == [9000]


def test_a_requeued_request_is_counted_and_completes_once(tmp_path):
    lines = simple(100, 0, 800)
    lines.insert(2, request(105, 800, event="block_rq_requeue"))
    trace = ftrace(tmp_path, *lines)
    assert (trace.requeues, len(trace.ios), len(trace.bios), trace.dropped) == (1, 1, 1, {})


def test_merged_bios_complete_with_their_request_in_the_order_of_sectors(tmp_path):
    events = [
        begin(0, 0, 8192),
        queue(1, 808),
        queue(2, 800),
        request(9, 800, 16),
        done(9, 8192, 8192),
    ]
    trace = ftrace(tmp_path, *events)
    assert trace.bios["complete_ns"].tolist() == [9000, 9000]
    assert trace.bios["complete_order"].tolist() == [1, 0]
    assert trace.merges == 1
    told = line(3, "block_bio_frontmerge: 8,0 R 800 + 8 [fio]")
    assert ftrace(tmp_path, *events[:3], told, told, *events[3:]).merges == 2  # told rather than seen


@pytest.mark.parametrize("pieces", [[(800, 8), (808, 24)], [(808, 24), (800, 8)]])
def test_a_split_bio_is_done_with_its_last_sector(tmp_path, pieces):
    trace = ftrace(
        tmp_path,
        begin(0, 0, 16384),
        queue(1, 800, 32),
        line(2, "block_split: 8,0 R 800 / 808 [fio]"),
        request(5, *pieces[0]),
        request(7, *pieces[1]),
        done(8, 16384, 16384),
    )
    assert trace.bios[["size_bytes", "complete_ns"]].to_numpy().tolist() == [[16384, 7000]]
    assert (trace.merges, trace.dropped) == (0, {})


def test_a_request_may_begin_with_a_bio_that_was_queued_before_the_trace(tmp_path):
    trace = ftrace(tmp_path, begin(0, 0), queue(1, 808), request(5, 792, 32), done(6, 4096))
    assert trace.bios["complete_ns"].tolist() == [5000] and trace.dropped == {}


def test_lost_events_are_counted_and_what_they_spoil_is_dropped(tmp_path):
    spoilt = [begin(0, 0, 8192), queue(1, 800), "CPU:1 [LOST 5 EVENTS]", request(8, 800), done(9, 8192, 8192)]
    trace = ftrace(tmp_path, *spoilt, *simple(20, 0x3000, 900))
    assert len(trace.ios) == len(trace.bios) == 1
    assert trace.dropped == {
        direct_io.LOST_EVENTS: 5,
        direct_io.LOST_MEANWHILE: 1,
        direct_io.THEIR_BIOS: 1,
    }


def test_an_io_that_is_covered_by_its_bios_survives_a_loss(tmp_path):
    lines = simple(0, 0, 800)
    trace = ftrace(tmp_path, *lines[:2], "CPU:0 [3 EVENTS DROPPED]", *lines[2:], "CPU:1 [LOST EVENTS]")
    assert len(trace.ios) == 1 and trace.dropped == {direct_io.LOST_EVENTS: 4}


def test_a_loss_reaches_back_to_the_last_line_of_its_cpu(tmp_path):
    # CPU 1 wrote line 2 and then nothing: what it lost may belong to the IO that ended before the notice.
    other = line(0, "sched_switch: x", "sh-3", 1)
    first = [begin(1, 0, 8192), queue(2, 800), request(8, 800).replace("001", "000")]
    end = done(9, 8192, 8192).replace("[001]", "[000]")
    trace = ftrace(tmp_path, other, *first, end, "CPU:1 [LOST 1 EVENTS]", *simple(20, 0, 900))
    assert trace.dropped[direct_io.LOST_MEANWHILE] == 1 and len(trace.ios) == 1


def test_a_loss_does_not_reach_behind_the_last_line_of_its_cpu(tmp_path):
    with_hole = [begin(0, 0, 8192), queue(1, 800), request(8, 800), done(9, 8192, 8192)]
    trace = ftrace(tmp_path, *with_hole, line(10, "x: y", "sh-3", 0), "CPU:0 [LOST 1 EVENTS]")
    assert len(trace.ios) == 1 and trace.dropped == {direct_io.LOST_EVENTS: 1}


def test_a_lost_completion_does_not_make_its_twin_wait(tmp_path):
    stale = [begin(0, 0), queue(1, 800), request(2, 800), "CPU:1 [LOST 1 EVENTS]"]
    trace = ftrace(tmp_path, *stale, *simple(1000, 0, 800))
    assert (trace.ios["complete_ns"] - trace.ios["submit_ns"]).tolist() == [9000]
    assert trace.dropped[direct_io.NO_DONE] == 1


def test_a_lost_request_does_not_shift_the_next_of_its_sectors(tmp_path):
    stale = [begin(0, 0), queue(1, 800), "CPU:1 [LOST 1 EVENTS]", done(9, 4096)]
    trace = ftrace(tmp_path, *stale, *simple(1000, 0x3000, 800))
    assert trace.bios["complete_ns"].tolist() == [8000]
    assert trace.dropped[direct_io.BIO_NOT_DONE] == 1


def test_overwritten_entries_count_as_lost(tmp_path):
    lines = simple(0, 0, 800)
    trace = ftrace(tmp_path, "# entries-in-buffer/entries-written: 4/11   #P:2", *lines)
    assert trace.dropped == {direct_io.LOST_EVENTS: 7}


def test_foreign_requests_are_dropped_and_counted(tmp_path):
    trace = ftrace(
        tmp_path,
        queue(0, 10, task="sh-3"),
        begin(1, 0),
        queue(2, 20, rwbs="RA"),
        queue(3, 30, rwbs="RSM"),
        queue(4, 40, rwbs="WS"),
        queue(5, 800),
        queue(6, 50),
        queue(6, 60, task="jbd2-4", rwbs="WS"),
        queue(6, 18446744073709551615, 0, rwbs="FF"),
        request(7, 10),
        request(7, 20, rwbs="RA"),
        request(7, 999),
        request(8, 800),
        done(9, 4096),
        queue(10, 70),
    )
    assert trace.bios["sector"].tolist() == [800]
    assert trace.dropped == {
        "foreign bio (FF)": 1,
        "foreign bio (RA)": 1,
        "foreign bio (RSM)": 1,
        "foreign bio (its task has no direct IO begun)": 3,
        "foreign bio (of another direction, a lower device, or beyond the IO)": 2,
        direct_io.NO_QUEUE: 1,
    }


def test_identical_sectors_in_flight_match_in_order(tmp_path):
    trace = ftrace(
        tmp_path,
        *(begin(0, 0), queue(1, 800), begin(2, 0), queue(3, 800)),
        *(request(10, 800), done(11, 4096), request(20, 800), done(21, 4096)),
    )
    assert trace.bios["complete_ns"].tolist() == [10_000, 20_000]
    assert trace.ios["complete_ns"].tolist() == [11_000, 21_000]


def test_twins_of_another_length_are_told_apart(tmp_path):
    trace = ftrace(
        tmp_path,
        *(begin(0, 0, 8192), queue(1, 800, 16), begin(2, 0), queue(3, 800)),
        *(request(10, 800), done(11, 4096), request(20, 800, 16), done(21, 8192, 8192)),
    )
    assert trace.bios["complete_ns"].tolist() == [20_000, 10_000]
    assert trace.ios["complete_ns"].tolist() == [21_000, 11_000]


def test_twins_of_another_length_are_told_apart_when_the_worker_completes_them(tmp_path):
    trace = ftrace(
        tmp_path,
        *(begin(0, 0, 8192), queue(1, 800, 16), begin(2, 0), queue(3, 800)),
        *(request(10, 800), request(10, 800, 16), done(11, 4096), done(21, 8192, 8192)),
    )
    assert trace.ios["complete_ns"].tolist() == [21_000, 11_000]


def test_the_position_behind_an_io_is_not_taken_for_that_of_its_neighbour(tmp_path):
    first, second = simple(0, 0, 800), simple(1, 4096, 900)
    trace = ftrace(tmp_path, first[0], first[1], second[0], second[1], first[2], first[3], second[2], second[3])
    assert trace.ios["complete_ns"].tolist() == [9000, 10_000]


def test_text_with_the_ios_own_position_is_understood(tmp_path):
    first, second = simple(0, 0, 800), simple(20, 0x9000, 900)
    first[3], second[3] = done(9, 0), done(29, 0x9000)
    assert len(ftrace(tmp_path, *first, *second).ios) == 2


def test_ios_without_an_end_or_a_begin_or_that_failed_are_dropped(tmp_path):
    trace = ftrace(
        tmp_path,
        done(0, 0x8000),
        *simple(10, 0, 800),
        *(begin(30, 0x3000), queue(31, 900), request(32, 900), done(33, 0x3000, -5, -5)),
        *(begin(40, 0x5000), done(41, 0x6000)),
        *(begin(50, 0x7000), queue(51, 910)),
    )
    assert len(trace.ios) == 1
    assert trace.dropped == {
        direct_io.NO_BEGIN: 1,
        direct_io.FAILED: 1,
        direct_io.NO_BIO: 1,
        direct_io.NO_DONE: 1,
        direct_io.THEIR_BIOS: 2,
    }


def test_a_nonblocking_attempt_without_bios_leaves_the_completion_to_the_retry(tmp_path):
    retry = [event.replace("fio-7", "iou-wrk-8") for event in simple(5, 0, 800)]
    trace = ftrace(tmp_path, begin(0, 0, flags="NOWAIT|DIRECT"), *retry)
    assert len(trace.ios) == 1 and trace.dropped == {direct_io.NO_DONE: 1}


def test_bios_of_several_tasks_stay_with_their_tasks(tmp_path):
    trace = ftrace(
        tmp_path,
        *(begin(0, 0, 8192), begin(1, 0x8000, task="b-9"), queue(2, 800), queue(3, 900, task="b-9")),
        *(
            queue(4, 850),
            request(5, 900),
            done(6, 0x9000),
            request(7, 850),
            request(7, 800),
            done(8, 8192, 8192),
        ),
    )
    assert trace.bios[["io", "sector"]].to_numpy().tolist() == [[0, 800], [0, 850], [1, 900]]
    assert trace.bios["complete_order"].tolist() == [2, 1, 0]
    assert traces.overtakes(trace.ios["complete_order"]).tolist() == [0, 1]
    assert traces.summarise(trace)["bios_out_of_order_share"] == pytest.approx(1 / 3)


def test_lines_decide_where_the_clock_cannot(tmp_path):
    first = simple(0, 0, 800)
    second = [event.replace("fio-7", "b-9") for event in simple(0, 0x8000, 900)]
    both = [event.replace("1.000009", "1.000008") for event in (*first, *second)]
    order = [both[i] for i in (0, 4, 1, 5, 6, 7, 2, 3)]
    trace = ftrace(tmp_path, *order)
    assert trace.ios["complete_ns"].tolist() == [8000, 8000]
    assert traces.overtakes(trace.ios["complete_order"]).tolist() == [0, 1]


def test_a_write(tmp_path):
    trace = ftrace(
        tmp_path,
        begin(0, 0, flags="WRITE|DIRECT"),
        queue(1, 800, rwbs="WFS"),
        request(2, 800, rwbs="WFS"),
        done(3, 4096),
    )
    assert trace.ios["op"].tolist() == ["write"]


def test_where_no_flag_tells_the_bios_tell(tmp_path):
    """A write by pwrite(2) has no flag WRITE; a read may be preceded by the dirty page cache of its range."""
    write = [event.replace(" R ", " WS ") for event in simple(0, 0, 800)]
    read = [*simple(20, 0x8000, 900)]
    read.insert(1, queue(21, 950, rwbs="WS"))
    trace = ftrace(tmp_path, *write, *read)
    assert trace.ios["op"].tolist() == ["write", "read"] and trace.bios["sector"].tolist() == [800, 900]
    assert trace.dropped == {direct_io.OTHER_BIO: 1}


def test_bios_of_a_partition_complete_with_requests_of_the_disk(tmp_path):
    trace = ftrace(tmp_path, begin(0, 0), queue(1, 800, device="8,2"), request(2, 800), done(3, 4096))
    assert len(trace.bios) == 1 and trace.dropped == {}


def test_without_requests_the_bios_themselves_tell(tmp_path):
    end = line(2, "block_bio_complete: 252,0 R 800 + 8 [0]", "<idle>-0")
    trace = ftrace(tmp_path, begin(0, 0), queue(1, 800, device="252,0"), end, done(3, 4096))
    assert trace.bios["complete_ns"].tolist() == [2000]


# --- blkparse, written by hand --------------------------------------------------------------------------

BLKPARSE = """
  8,0    1        1     0.000000000   697  A  RS 800 + 8 <- (8,1) 792
  8,0    1        2     0.000000100   697  Q  RS 800 + 8 [fio]
  8,0    1        3     0.000000200   697  G  RS 800 + 8 [fio]
  8,0    1        4     0.000000300   697  P   N [fio]
  8,0    1        5     0.000000400   697  Q  RS 808 + 8 [fio]
  8,0    1        6     0.000000500   697  M  RS 808 + 8 [fio]
  8,0    0        1     0.000000600   698  Q   R 900 + 32 [fio]
  8,0    0        2     0.000000650   698  X   R 900 / 908 [fio]
  8,0    1        7     0.000000700   697  U   N [fio] 1
  8,0    1        8     0.000000800   697  D  RS 800 + 16 [fio]
  8,0    1        9     0.000000900   697  R  RS 800 + 16 [0]
  8,0    0        3     0.000001000   698  Q  RA 950 + 8 [cat]
  8,0    0        4     0.000001100   698  Q FWS [jbd2]
  8,0    0        0     0.000001150     0  m   N cfq698 dispatch
  8,0    0        5     0.000002000     0  C   R 908 + 24 [0]
  8,0    0        6     0.000003000     0  C  RS 800 + 16 [0]
  8,0    0        7     0.000004000     0  C   R 900 + 8 [0]
  8,0    0        8     0.000005000     0  C   W 77 + 8 [0]
  8,0    1       10     0.000006000   697  Q  WS 500 + 8 [fio]
CPU0 (8,0):
 Reads Queued:           3,       24KiB	 Writes Queued:           0,        0KiB
Events (8,0): 17 entries
Skips: 2 forward (10 -  37.0%)
"""


def test_blkparse(tmp_path):
    trace = load_text(tmp_path, BLKPARSE)
    assert trace.format == "blkparse"
    assert trace.ios[["offset_bytes", "size_bytes", "submit_ns", "complete_ns"]].to_numpy().tolist() == [
        [800 * 512, 4096, 0, 2900],
        [808 * 512, 4096, 300, 2900],
        [900 * 512, 16384, 500, 3900],
    ]
    assert trace.ios["complete_order"].tolist() == [0, 1, 2]
    assert trace.bios["io"].tolist() == [0, 1, 2]
    assert (trace.requeues, trace.merges) == (1, 1)
    assert trace.dropped == {
        "foreign bio (RA)": 1,
        "foreign bio (FWS)": 1,
        "IO queued, not completed in the trace": 1,
        "completed request whose bios are not in the trace": 1,
        "event skipped by blkparse": 2,
    }


def test_blkparse_counts_only_the_upper_one_of_stacked_devices(tmp_path):
    trace = load_text(
        tmp_path,
        """
        253,0 1 1 0.000000000 9 Q R 8 + 8 [fio]
        8,0 1 2 0.000000100 9 A R 2056 + 8 <- (253,0) 8
        8,0 1 3 0.000000200 9 Q R 2056 + 8 [fio]
        8,0 1 4 0.000000300 0 C R 2056 + 8 [0]
        253,0 1 5 0.000000400 0 C R 8 + 8 [0]
        """,
    )
    assert trace.ios["offset_bytes"].tolist() == [4096] and trace.dropped == {LOWER: 1}


# --- CSV and fio, written by hand -----------------------------------------------------------------------


def test_csv_is_sorted_by_submission_and_counted_from_it(tmp_path):
    rows = "7,write,0,512,1005,1009\n3,read,4096,4096,1000,1009\n"
    trace = load_text(tmp_path, HEADER + rows)
    assert trace.ios.to_numpy().tolist() == [[0, "read", 4096, 4096, 0, 9, 0], [1, "write", 0, 512, 5, 9, 0]]


def test_fio_messages_and_several_jobs(tmp_path):
    job = {"read": {"clat_ns": {"bins": {"100": 2, "50": 1}}}, "write": {"lat_ns": {"bins": {"7": 1}}}}
    report = "fio: a message\n" + json.dumps({"jobs": [job, job]}, indent=1)
    trace = load_text(tmp_path, report)
    assert trace.histogram.to_numpy().tolist() == [
        ["read", "clat", 50, 2],
        ["read", "clat", 100, 4],
        ["write", "lat", 7, 2],
    ]
    latency, share = traces.latency_sampler_table(trace)
    assert latency.tolist() == [50, 100] and share.tolist() == pytest.approx([1 / 3, 1])


# --- replay ---------------------------------------------------------------------------------------------


def test_replay_of_bios():
    replay = traces.replay(traces.load(RECORDED / f"{DIO}.ftrace.gz"))
    assert (replay.pages == 128).all() and (replay.bio_pages == 16).all()
    assert (replay.bio_count == 8).all() and replay.first_bio.tolist() == list(range(0, 2400, 8))
    assert (np.diff(replay.bio_complete_ns[np.argsort(replay.bio_order)]) >= 0).all()
    assert all(array.dtype == np.int64 for array in replay[:-1]) and replay.rounded == 0


def test_replay_without_bios_has_one_per_io_and_rounds_up(tmp_path):
    replay = traces.replay(load_text(tmp_path, HEADER + "0,read,0,4097,0,9\n1,write,0,4096,1,5\n"))
    assert replay.pages.tolist() == replay.bio_pages.tolist() == [2, 1]
    assert replay.op.tolist() == [0, 1] and replay.bio_complete_ns.tolist() == [9, 5]
    assert replay.bio_order.tolist() == [1, 0] and replay.rounded == 1


def test_sampler_table_of_single_ios():
    latency, share = traces.latency_sampler_table(traces.load(RECORDED / "r4k-qd8.csv.gz"))
    assert (np.diff(latency) > 0).all() and share[-1] == 1.0
    assert latency[np.searchsorted(share, 0.5)] == 140319


def test_a_histogram_cannot_be_replayed():
    with pytest.raises(UsageError, match="no IO to replay"):
        traces.replay(traces.load(RECORDED / "fio-randread-4k-qd64.json.gz"))


# --- Parquet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{DIO}.ftrace.gz", "r4k-qd1.csv.gz", "fio-randread-4k-qd64.json.gz"])
def test_parquet_reads_back_equal(tmp_path, name):
    trace = traces.load(RECORDED / name)
    for path in (tmp_path / "a.parquet", tmp_path / "b.parquet"):
        traces.write_parquet(trace, path)
    again = traces.load(tmp_path / "a.parquet")
    assert again == trace and again.ios.dtypes.equals(trace.ios.dtypes)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_an_empty_trace_survives_parquet(tmp_path):
    trace = ftrace(tmp_path, begin(0, 0))
    assert trace.ios.empty and trace.dropped == {direct_io.NO_DONE: 1}
    traces.write_parquet(trace, tmp_path / "o")
    assert traces.load(tmp_path / "o") == trace
    assert traces.summarise(trace)["latency_ns"]["p50"] is None


def test_traces_that_differ_are_not_equal(tmp_path):
    one = load_text(tmp_path, HEADER + "0,read,0,4096,0,9\n")
    other = load_text(tmp_path, HEADER + "0,read,0,4096,0,8\n")
    assert one != other and one != "a trace"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    trace = load_text(tmp_path, HEADER + "0,read,0,4096,0,9\n")
    target = tmp_path / "o.parquet"
    target.write_text("old")

    def fail(table, where, **options):
        Path(where).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", fail)
    with pytest.raises(UsageError, match="o.parquet: No space left on device; "):
        traces.write_parquet(trace, target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match="No such file or directory"):
        traces.write_parquet(trace, tmp_path / "missing" / "o.parquet")


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("complete_ns", 1, -1), ("submit_ns", 0, 7), ("op", 0, "trim"), ("io", 1, 0)],
)
def test_parquet_with_values_that_no_trace_has_is_refused(tmp_path, column, row, value):
    trace = load_text(tmp_path, HEADER + "0,read,0,4096,0,9\n1,read,0,4096,5,9\n")
    trace.ios.loc[row, column] = value
    traces.write_parquet(trace, tmp_path / "o")
    with pytest.raises(UsageError, match="o:1: damaged Parquet .values that no trace has.; "):
        traces.load(tmp_path / "o")


def test_foreign_parquet_is_refused(tmp_path):
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="x.parquet:1: Parquet, but not of a trace; "):
        traces.load(tmp_path / "x.parquet")


# --- what is refused ------------------------------------------------------------------------------------

GOOD = "0,read,0,4096,0,9\n"
WHOLE = "\n".join(simple(0, 0, 800)) + "\n"
REFUSED = {
    "empty": ("", 1, "the file is empty"),
    "blank": ("\n\n", 1, "no text"),
    "prose": ("\nhello\n", 2, "unknown format"),
    "missing column": ("io,op,submit_ns\n", 1, "no column offset_bytes, size_bytes, complete_ns"),
    "header alone": (HEADER, 1, "no IO below"),
    "short row": (HEADER + GOOD + "1,read,0\n", 3, "3 cells"),
    "text in a number": (HEADER + GOOD + "1,read,0,big,0,9\n", 3, "size_bytes is 'big'"),
    "fraction": (HEADER + "0,read,0,4096,0.5,9\n", 2, "submit_ns is '0.5'"),
    "underscore": (HEADER + "0,read,0,4_096,0,9\n", 2, "size_bytes is '4_096'"),
    "negative": (HEADER + "0,read,-8,4096,0,9\n", 2, "offset_bytes is '-8'"),
    "huge": (HEADER + f"0,read,{2**62},4096,0,9\n", 2, "offset_bytes is"),
    "operation": (HEADER + "0,trim,0,4096,0,9\n", 2, "op is 'trim'"),
    "no size": (HEADER + "0,read,0,0,0,9\n", 2, "size_bytes is 0"),
    "negative latency": (HEADER + GOOD + "1,read,0,4096,9,8\n", 3, "complete_ns 8 is before submit_ns 9"),
    "twice": (HEADER + GOOD + GOOD, 3, "io 0 is there twice"),
    "json cut": ('{"jobs": [\n{"read": {\n', 2, "not JSON"),
    "json without bins": ('{"jobs": []}\n', 1, "no latency bins"),
    "json bin": ('{"jobs": [{"read": {"clat_ns":\n {"bins": {"12":\n "x"}}}}]}', 2, "bin '12': '\"x\"'"),
    "json deep": ('{"jobs":' + "[" * 100_000, 1, "fio never writes"),
    "ftrace cut": (WHOLE + "<idle>-0  [001] .....  1.0000", 5, "not a line of ftrace"),
    "ftrace cut payload": (WHOLE + line(50, "block_rq_complete: 8,0 R () 80"), 5, "block_rq_complete with"),
    "ftrace backwards": (WHOLE + begin(1, 0) + "\n", 5, "time 1.000001 is before that of line 4"),
    "ftrace entries": (f"# entries-in-buffer/entries-written: 5/5\n{WHOLE}", 5, "after 4 of the 5 entries"),
    "ftrace range": (begin(0, 2**63), 1, "offset + length is"),
    "ftrace sector": (queue(0, 2**60), 1, "the end of the sectors in bytes is"),
    "ftrace no direct IO": (queue(0, 8) + "\n", 1, "no iomap_dio_rw_begin"),
    "blkparse cut": (dedent(BLKPARSE).lstrip("\n")[:100], 2, "not a line of blkparse"),
    "blkparse payload": ("8,0 1 1 0.000000000 9 Q R 8 + [fio]\n", 1, "Q R with '8 + [fio]'"),
    "blkparse no Q": ("8,0 1 1 0.000000000 9 C R 8 + 8 [0]\n", 1, "no Q (queued) event"),
    "blkparse backwards": (
        "8,0 1 1 0.000000009 9 Q R 8 + 8 [fio]\n8,0 1 2 0.000000008 0 C R 8 + 8 [0]\n",
        2,
        "completed at 8 ns, before it was queued at 9 ns",
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_line_and_reason(tmp_path, case, packed):
    text, number, reason = REFUSED[case]
    path = tmp_path / "bad.txt"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    with pytest.raises(UsageError) as refusal:
        traces.load(path)
    message = str(refusal.value)
    if case == "empty" and packed:
        reason = "no text"
    assert message.startswith(f"{path}:{number}: ") and reason in message and "; " in message
    assert message.isprintable()


def test_binary_is_refused_with_its_line(tmp_path):
    path = tmp_path / "b"
    for data, number in (
        (b"\x7fELF\0\0", 1),
        (HEADER.encode() + b"0,\0", 2),
        (HEADER.encode() + b"\xff,", 2),
    ):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=f"b:{number}: binary data"):
            traces.load(path)


def test_truncated_gzip_names_the_line_reached(tmp_path):
    whole = (RECORDED / "r4k-qd1.csv.gz").read_bytes()
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut.gz:(\d+): the gzip data end too early; ") as refusal:
        traces.load(path)
    assert 1000 < int(str(refusal.value).split(":")[-2]) < 4000


def test_damaged_gzip_is_refused(tmp_path):
    whole = bytearray((RECORDED / "r4k-qd1.csv.gz").read_bytes())
    whole[-8] ^= 1  # in the checksum
    (tmp_path / "bad.gz").write_bytes(whole)
    with pytest.raises(UsageError, match="bad.gz:5002: damaged gzip data"):
        traces.load(tmp_path / "bad.gz")


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b" " * (8 << 20)))
    with pytest.raises(UsageError, match="bomb.gz:1: a line of more than"):
        traces.load(path)


@pytest.mark.parametrize("where", ["nowhere", ".", "a\0b"])
def test_what_is_no_file_is_refused(tmp_path, where):
    with pytest.raises(UsageError, match="give the path of a recorded trace"):
        traces.load(f"{tmp_path}/{where}")


def test_a_wrong_format_gets_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="format is 'ftracer'; did you mean 'ftrace'"):
        traces.load(RECORDED / FILES[0], format="ftracer")
    with pytest.raises(UsageError, match=":1: no column"):
        traces.load(RECORDED / f"{DIO}.ftrace.gz", format="csv")


# --- fuzz -----------------------------------------------------------------------------------------------


def _head(name, lines):
    return b"".join(gzip.decompress((RECORDED / name).read_bytes()).splitlines(keepends=True)[:lines])


SEEDS = {
    "csv": _head("r4k-qd8.csv.gz", 30),
    "ftrace": _head(f"{DIO}.ftrace.gz", 400)[800:],
    "fio": json.dumps({"jobs": [{"read": {"clat_ns": {"bins": {"100": 2}}}}]}, indent=1).encode(),
    "blkparse": dedent(BLKPARSE).lstrip("\n").encode(),
    "gzip": gzip.compress(_head("r4k-qd8.csv.gz", 30), mtime=0),
}
SEEDS["ftrace"] = SEEDS["ftrace"].partition(b"\n")[2]  # from a whole line on, without the header

mutation = st.tuples(
    st.sampled_from(["byte", "cut", "drop", "twice", "swap", "digits"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)


def mutate(data, what, where, value):
    at = int(where * len(data))
    if what == "byte":
        return data[:at] + bytes([value]) + data[at + 1 :]
    if what == "cut":
        return data[:at]
    lines = data.splitlines(keepends=True)
    i = int(where * len(lines))
    if what == "drop":
        return b"".join(lines[:i] + lines[i + 1 :])
    if what == "twice":
        return b"".join(lines[: i + 1] + lines[i:])
    if what == "swap":
        lines[i], lines[value % len(lines)] = lines[value % len(lines)], lines[i]
        return b"".join(lines)
    return data[:at] + b"9" * value + data[at:]


def load_or_refuse(path):
    try:
        trace = traces.load(path)
    except UsageError as refusal:
        assert str(refusal).startswith(f"{path}:") and str(refusal).isprintable()
        return
    json.dumps(traces.summarise(trace))
    assert (trace.ios["complete_ns"] >= trace.ios["submit_ns"]).all()
    if len(trace.ios):
        replay = traces.replay(trace)
        assert replay.bio_count.min() >= 1 and replay.bio_count.sum() == len(replay.bio_pages)


fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", SEEDS)
@fuzz
@given(changes=st.lists(mutation, min_size=1, max_size=4))
def test_mutated_files_are_read_or_refused(tmp_path, kind, changes):
    data = SEEDS[kind]
    for change in changes:
        data = mutate(data, *change) or b"x"
    path = tmp_path / "fuzz"
    path.write_bytes(data)
    load_or_refuse(path)


@fuzz
@given(changes=st.lists(mutation, min_size=1, max_size=3))
def test_mutated_parquet_is_read_or_refused(tmp_path, changes):
    whole = tmp_path / "whole.parquet"
    if not whole.exists():
        traces.write_parquet(ftrace(tmp_path, *simple(0, 0, 800)), whole)
    data = whole.read_bytes()
    for change in changes:
        data = mutate(data, *change) or b"x"
    path = tmp_path / "fuzz"
    path.write_bytes(data)
    load_or_refuse(path)


@fuzz
@given(data=st.binary(max_size=200), form=st.sampled_from(traces.FORMATS))
def test_any_bytes_as_any_format_are_read_or_refused(tmp_path, data, form):
    path = tmp_path / "any"
    path.write_bytes(data)
    try:
        traces.load(path, format=form)
    except UsageError as refusal:
        assert str(refusal).startswith(f"{path}:1: ") or str(refusal).startswith(f"{path}:")
