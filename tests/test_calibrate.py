"""A cost table measured here: its arithmetic on figures made up, its structure on this kernel, never its times."""

import errno
import json
import math
import os
import platform
from pathlib import Path

import pytest

from workbench import cli, cost_files, costs
from workbench.accelerate import JIT_ENABLED
from workbench.errors import UsageError
from workbench.kernel import calibrate, calls, measure
from workbench.kernel.needs import Refused, Unavailable

TINY = measure.Scale(repeats=3, pages=(1, 2, 4), huge=(1, 2), fork_pages=16, file_pages=4, vmas=(3, 20))
SHIPPED = Path(__file__).parent.parent / "data" / "costs_linux_6.18.json"
MADE_UP = {
    "locked add": 5.0,
    "vmsplice, 4 KiB pages": 41.3,
    "io_uring unregister, 4 KiB pages": 18.2,
    "re-dirty fault, ext4": 1375.0,
    "sync_file_range, dirty ext4": 860.0,
    "fork, pinned": 1126.0,
    "mmap, no merge, 100 VMAs": 1310.0,
}


def made_up(*factors: float, **changes: float):
    """Runs in which everything took so many times as long; a changed one alone."""
    rows = iter([{name: ns * f for name, ns in (MADE_UP | changes).items()} for f in factors])
    return lambda scale: (next(rows), {"huge_pins": "needs transparent huge pages"})


def told(*factors: float, **changes: float) -> calibrate.Calibration:
    return calibrate.calibrate(len(factors), measure=made_up(*factors, **changes))


# ---- arithmetic


@pytest.mark.parametrize(
    ("sizes", "times", "gives"),
    [
        ((1, 2), (10, 13), 3),
        ((16, 64, 256), (700, 1180, 3100), 10),
        ((1, 2, 3), (5, 5, 5), 0),
        ((0, 1, 2), (0, 9, 6), 3),
    ],
)
def test_a_slope_leaves_the_call_itself_out(sizes, times, gives):
    assert measure.slope(sizes, times) == pytest.approx(gives)


@pytest.mark.parametrize(
    ("values", "median", "spread"),
    [
        ([1, 2, 3, 4, 5], 3, 2 / 3),
        ([100, 100, 100], 100, 0),
        ([1000, 100, 101, 99, 100], 100, 0.01),  # one disturbed run of five does not show
        ([1000, 100, 1000, 100, 100], 100, 9),
        ([-1, 0, 1], 0, None),
        ([-3, -2, -1], -2, None),
    ],
)
def test_median_and_spread(values, median, spread):
    got = calibrate.figure(values)
    assert got.ns == median and (got.spread is spread if spread is None else got.spread == pytest.approx(spread))


def test_entries_are_medians_less_what_the_model_counts_besides():
    made = told(1.0, 0.99, 1.01, 1.0, 1.02)
    entries, base = made.entries, costs.DEFAULT.entries
    assert made.measured == ["ATOMIC", "GUP_PAGE", "PUT_PAGE", "FAULT", "WRITEPAGE"]
    assert entries["ATOMIC"]["ns"] == 5
    assert entries["GUP_PAGE"]["ns"] == pytest.approx(41.3 - 5) and entries["PUT_PAGE"]["ns"] == pytest.approx(13.2)
    assert entries["FAULT"]["ns"] == 1375 - 15 - 6 - 6 and entries["WRITEPAGE"]["ns"] == 860 - 201
    assert entries["GUP_PAGE"]["spread"] == pytest.approx(41.3 * 0.01 / 36.3, rel=1e-3)
    assert entries["GUP_PAGE"]["source"] == "vmsplice, 4 KiB pages: 41.3 ns, less ATOMIC"
    assert {e["provenance"] for n, e in entries.items() if n in made.measured} == {"calibrated"}
    others = {name: entry for name, entry in entries.items() if name not in made.measured}
    assert others == {name: cost._asdict() for name, cost in base.items() if name not in made.measured}


def test_the_default_table_is_made_by_the_same_rules():
    """Its published measurements (data/README.md), with an atomic that is assumed, give its own entries."""
    measured = {name: value for name, value in MADE_UP.items() if name != "locked add"}
    made = calibrate.calibrate(3, measure=lambda _: (measured, {"atomic": "needs compiled code"}))
    assert made.entries["ATOMIC"] == costs.DEFAULT.entries["ATOMIC"]._asdict()
    for name in ("GUP_PAGE", "PUT_PAGE", "FAULT"):
        assert made.entries[name]["ns"] == pytest.approx(costs.DEFAULT.entries[name].ns)
    assert made.entries["WRITEPAGE"]["ns"] == pytest.approx(costs.DEFAULT.entries["WRITEPAGE"].ns, rel=0.02)


def test_measurements_are_rows():
    rows = {row.pop("name"): row for row in told(1.0, 1.1, 0.9).measurements}
    assert rows["fork, pinned"] == {"value": 1126, "unit": "ns/page", "spread": 0.1, "runs": 3}
    assert rows["mmap, no merge, 100 VMAs"]["unit"] == rows["locked add"]["unit"] == "ns"
    assert set(rows) == set(MADE_UP)


def test_what_was_measured_in_some_runs_only_is_left_out():
    rows = iter([MADE_UP, MADE_UP, {"locked add": 5.0}])
    made = calibrate.calibrate(3, measure=lambda _: (next(rows), {"fork": "too late"}))
    assert (
        [row["name"] for row in made.measurements] == ["locked add"] == [calibrate.RULES[n][0] for n in made.measured]
    )
    assert made.skipped == {"fork": "too late"}


# ---- written, or refused


def test_the_table_is_written_and_read(tmp_path):
    made = told(1.0, 0.99, 1.01)
    path = calibrate.write(made, tmp_path / "mine.json")
    found = cost_files.read(path)
    assert found.about == made.about and found.measurements == made.measurements
    assert "5 calibrated, 5 derived" in found.table.provenance
    assert set(found.spread) == set(made.measured) and found.table.entries["GUP_PAGE"].ns == pytest.approx(36.3)


@pytest.mark.parametrize(
    ("entry", "name", "bad", "says"),
    [
        ("GUP_PAGE", "vmsplice, 4 KiB pages", (41.3, 60.0, 80.0), r"GUP_PAGE: 55 ns with a spread of 35.2 % .* 15 %"),
        ("FAULT", "re-dirty fault, ext4", (1375.0, 900.0, 2000.0), r"FAULT: 1.35e\+03 ns with a spread of 40.8 %"),
        ("PUT_PAGE", "io_uring unregister, 4 KiB pages", (5.0, 5.0, 4.0), "PUT_PAGE comes out as 0 ns, which nothing"),
        ("ATOMIC", "locked add", (5.0, 3.0, 9.0), "ATOMIC: 5 ns with a spread of 60.0 %"),
    ],
)
def test_too_wide_a_spread_is_refused_and_nothing_written(tmp_path, entry, name, bad, says):
    path = tmp_path / "mine.json"
    path.write_text("before")
    rows = iter([MADE_UP | {name: value} for value in bad])
    made = calibrate.calibrate(3, measure=lambda _: (next(rows), {}))
    with pytest.raises(Refused, match=says) as refused:
        calibrate.write(made, path)
    assert f"entry {entry}" in str(refused.value) and str(refused.value).isprintable()
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_the_limit_itself_is_not_too_wide():
    rows = iter([{"locked add": value} for value in (92.5, 100.0, 107.5)])
    made = calibrate.calibrate(3, measure=lambda _: (next(rows), {}))
    assert made.entries["ATOMIC"]["spread"] == 0.075
    made.check()
    with pytest.raises(Refused, match="spread of 7.5 % over the runs, more than 7 %"):
        made.check(0.07)


def test_wide_measurements_that_are_no_entries_are_kept():
    rows = iter([MADE_UP | {"fork, pinned": value} for value in (1.0, 1000.0, 5000.0)])
    made = calibrate.calibrate(3, measure=lambda _: (next(rows), {}))
    made.check()
    assert next(row["spread"] for row in made.measurements if row["name"] == "fork, pinned") > 1


def test_nothing_to_measure():
    with pytest.raises(Unavailable, match="needs Linux"):
        calibrate.calibrate(3, measure=lambda _: ({}, {"pins": "needs Linux"}))
    with pytest.raises(Refused, match="no entry could be measured: pins needs io_uring"):
        calibrate.calibrate(3, measure=lambda _: ({"munlock": 1.0}, {"pins": "needs io_uring"})).check()
    with pytest.raises(ValueError, match="runs=2: at least 3"):
        calibrate.calibrate(2)


# ---- the command


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(calibrate, "one_run", made_up(1.0, 1.0, 1.01))


def test_the_command_prints_and_writes(measured, tmp_path, capsys):
    path = tmp_path / "new" / "mine.json"
    assert cli.main(["kernel", "calibrate", "--runs", "3", "--out", str(path)]) == 0
    text = capsys.readouterr().out
    for line in ("GUP_PAGE       36.3 ns", "RB_VISITED     10 ns", "skipped: huge_pins: needs transparent huge pages"):
        assert line in text
    assert costs.load(path).entries["GUP_PAGE"].provenance == "calibrated"
    assert max(map(len, text.splitlines())) <= 140


def test_the_command_prints_json(measured, capsys):
    assert cli.main(["kernel", "calibrate", "--runs", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["entries"]["GUP_PAGE"]["ns"] == pytest.approx(36.3) and len(told["measurements"]) == len(MADE_UP)


def test_the_command_refuses(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(calibrate, "one_run", made_up(1.0, 1.5, 2.0))
    path = tmp_path / "mine.json"
    assert cli.main(["kernel", "calibrate", "--runs", "3", "--out", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("workbench: entry ATOMIC: 7.5 ns with a spread of 33.3 %") and error.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--runs", "2"], "--runs 2: 3 to 1000"),
        (["--runs", "many"], "'many' is not a whole number"),
        (["--out", "/"], "--out /: that is a folder"),
        (["--out", "/proc/mine.json"], "--out /proc/mine.json: No such file or directory; name a file in a folder"),
        (["--cost", "x"], "no option '--cost'"),
    ],
)
def test_wrong_usage(words, says, capsys):
    assert cli.main(["kernel", "calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


# ---- on this kernel


@pytest.fixture
def untouched():
    """Nothing of a measurement is left in this process."""

    def state() -> tuple:
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if ours(int(line.split("-")[0], 16))]
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        pinned = status.get("VmPin", "0").split()[0]
        return maps, sorted(os.listdir("/proc/self/fd")), children, status["VmLck"].split()[0], pinned

    if platform.machine() not in calls.NUMBERS:
        pytest.skip(f"system calls of {platform.machine()} are not known")
    here = measure._far(measure.PAGE)

    def ours(address: int) -> bool:
        return abs(address - here) < measure.TIB // 2

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize("name", measure.ALL)
def test_each_measurement_on_this_kernel(untouched, name):
    try:
        found = measure.ALL[name](TINY)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert found and all(isinstance(ns, float | int) and math.isfinite(ns) for ns in found.values())


def test_a_whole_calibration_on_this_kernel(untouched):
    made = calibrate.calibrate(3, TINY)
    names = [row["name"] for row in made.measurements]
    assert len(names) == len(set(names)) >= 10 and "mprotect, split in 3, 20 VMAs" in names
    assert set(made.entries) == set(costs.DEFAULT.entries) and set(made.about) == set(cost_files.ABOUT)
    wanted = {rule.measured for rule in calibrate.RULES.values()}
    assert wanted - set(names) <= {"locked add"} or made.skipped
    assert JIT_ENABLED == ("locked add" in names)


def test_rules_name_what_is_measured_and_counted():
    assert set(calibrate.RULES) < set(costs.DEFAULT.entries)
    assert {other for rule in calibrate.RULES.values() for other in rule.less} <= set(costs.DEFAULT.entries)


def test_what_is_missing_is_skipped_and_told(untouched, monkeypatch):
    monkeypatch.setattr(measure, "_kind", lambda _: 0x01021994)  # tmpfs
    monkeypatch.setattr(measure, "IO_URING_SETUP", 9999)
    monkeypatch.setattr(measure, "_huge_bytes", lambda: (_ for _ in ()).throw(Unavailable("needs huge pages")))
    found, skipped = measure.one_run(TINY)
    assert skipped["file_pages"] == "needs ext4 in /tmp, /var/tmp or the current folder"
    assert skipped["pins"] == skipped["pinned_fork"] == "needs io_uring: Function not implemented"
    assert skipped["huge_pins"] == skipped["huge_faults"] == "needs huge pages"
    assert {"vmsplice, 4 KiB pages", "fork, unpinned"} <= set(found) and not any("io_uring" in name for name in found)


def test_vmas_stay_below_the_limit_of_the_kernel(untouched):
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    found = measure.vmas(TINY._replace(vmas=(3, limit)))
    assert any(name.endswith(", 3 VMAs") for name in found) and not any(str(limit) in name for name in found)


def test_a_machine_that_is_not_known(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    with pytest.raises(Unavailable, match="system calls of pdp11 are not known here: x86_64"):
        calls.Calls()


def test_calls_in_a_row_are_timed_and_checked(untouched):
    with measure.memory(4) as address:
        program = calls.Calls()
        for _ in range(5):
            program.store(address, measure.PAGE, 4, timed=True)
            program.call("getppid", timed=True)
            program.call("getppid")
        program.fork()
        times = program.run()
        assert times.shape == (11, 1) and (times > 0).all()
        assert measure.libc.call("getppid") == os.getppid()
        failing = calls.Calls()
        failing.call("getppid")
        failing.call("munlock", address, measure.TIB)
        with pytest.raises(OSError, match="munlock: ") as error:
            failing.run()
        assert error.value.errno == errno.ENOMEM


def test_a_failed_measurement_is_skipped(untouched, monkeypatch):
    monkeypatch.setattr(measure, "ALL", {"locked": lambda scale: _fails(), "atomic": measure.ALL["vmsplice"]})
    found, skipped = measure.one_run(TINY)
    assert list(found) == ["vmsplice, 4 KiB pages"] and skipped == {"locked": "Cannot allocate memory"}


def _fails() -> dict:
    raise OSError(12, os.strerror(12))


# ---- the table that is shipped


def test_the_shipped_table_is_fit_to_be_used():
    found = cost_files.read(SHIPPED)
    assert set(found.given) == set(costs.DEFAULT.entries) and set(found.spread) == set(calibrate.RULES)
    assert max(found.spread.values()) <= calibrate.LIMIT
    for name in set(found.given) - set(found.spread):
        assert found.table.entries[name] == costs.DEFAULT.entries[name]
    assert {row["runs"] for row in found.measurements} != {0} and "60000 VMAs" in str(found.measurements)


def test_a_shipped_table_that_was_spoilt_is_told(tmp_path):
    text = SHIPPED.read_text().replace('"GUP_PAGE"', '"GUP_PAGES"')
    (tmp_path / "spoilt.json").write_text(text)
    with pytest.raises(UsageError, match="did you mean 'GUP_PAGE'"):
        costs.load(tmp_path / "spoilt.json")
