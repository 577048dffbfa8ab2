"""The store of a batch: whatever happens in the middle, what is in it is whole, and in the end the same."""

import errno
import json
import os
import random
import zlib

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench import cli, provenance, results
from workbench.errors import BatchError, UsageError
from workbench.sweep import listing
from workbench.sweep.store import RESULTS, Store

ALL = 12


def row(n, iops=None):
    """Row of point `n`, which is named by its key."""
    source = provenance.provenance(scenario="direct-io", design="bias", parameters={"qd": n}, seed=1)
    return results.row(source, "bias", {"iops": float(n) if iops is None else iops}, commit="c") | {
        "point": f"{n:032x}"
    }


def files(folder):
    """Content of every file by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def points(folder):
    return [int(key, 16) for key in results.load(folder)["point"]]


def kill(store):
    """Leave a store as SIGKILL does: the lock of its journal goes with the descriptor, and nothing else happens."""
    os.close(store._descriptor)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with Store(folder) as store:
        store.keep_batch("b", {"name": "b", "points": [f"{n:032x}" for n in range(ALL)]})
        store.add(row(n) for n in range(ALL))
    return files(folder)


def go_on(folder, rng):
    """Another batch with the same points, in any order and in handfuls of any size."""
    with Store(folder) as store:
        store.keep_batch("b", {"name": "b", "points": [f"{n:032x}" for n in range(ALL)]})
        left = [n for n in range(ALL) if f"{n:032x}" not in store.done]
        rng.shuffle(left)
        while left:
            store.add(row(left.pop()) for _ in range(min(len(left), rng.randint(1, 4))))


def test_rows_are_read_while_the_batch_runs_and_afterwards(tmp_path):
    store = Store(tmp_path)
    store.add([row(2), row(1)])
    assert points(tmp_path) == [1, 2]
    store.add([row(0)])
    assert points(tmp_path) == [0, 1, 2] and not (tmp_path / RESULTS).exists()
    with store:
        pass
    assert points(tmp_path) == [0, 1, 2] and set(files(tmp_path)) == {".lock", RESULTS}


def test_duckdb_and_pandas_read_it_with_units(tmp_path):
    with Store(tmp_path) as store:
        store.add([row(1), row(3)])
    found = duckdb.sql(f"select point, iops from '{tmp_path}/{RESULTS}' where iops > 2").fetchall()
    assert found == [(f"{3:032x}", 3.0)]
    assert pd.read_parquet(tmp_path / RESULTS)["iops"].tolist() == [1.0, 3.0]
    schema = pq.read_schema(tmp_path / RESULTS)
    assert schema.field("iops").metadata[b"unit"] == b"1/s" and schema.names == results.SCHEMA.names


@pytest.mark.parametrize("seed", range(8))
def test_killed_anywhere_it_ends_up_the_same(tmp_path, undisturbed, seed):
    """The last line of the journal is torn at any byte; what is aside is left there; then others go on."""
    rng = random.Random(seed)
    for _ in range(3):
        store = Store(tmp_path)
        before = set(store.done)
        left = [n for n in range(ALL) if f"{n:032x}" not in before]
        for n in rng.sample(left, min(2, len(left))):
            store.add([row(n)])
        size = os.fstat(store._descriptor).st_size
        os.ftruncate(store._descriptor, rng.randint(0, size))
        kill(store)
        aside = tmp_path / ".aside"
        aside.mkdir()
        (aside / RESULTS).write_bytes(b"half of it")
        assert before <= set(results.load(tmp_path)["point"])
    go_on(tmp_path, rng)
    assert files(tmp_path) == undisturbed


def test_a_kill_between_the_new_file_and_the_end_of_its_journals(tmp_path, undisturbed, monkeypatch):
    store = Store(tmp_path)
    store.add([row(1), row(2)])

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    monkeypatch.setattr(Store, "_forget_failures", die)
    monkeypatch.setattr("pathlib.Path.unlink", die)
    with pytest.raises(Killed):
        store.merge()
    monkeypatch.undo()
    kill(store)
    assert (tmp_path / RESULTS).exists() and len(list((tmp_path / ".journal").iterdir())) == 1
    assert points(tmp_path) == [1, 2]
    go_on(tmp_path, random.Random(1))
    assert files(tmp_path) == undisturbed


def test_two_batches_at_once(tmp_path, undisturbed):
    """They have some points in common; who ends first leaves the other's journal alone."""
    first, second = Store(tmp_path), Store(tmp_path)
    first.keep_batch("b", {"name": "b", "points": [f"{n:032x}" for n in range(ALL)]})
    first.add(row(n) for n in range(8))
    second.add(row(n) for n in range(5, 10))
    with first:
        pass
    assert points(tmp_path) == list(range(10))
    assert pq.read_table(tmp_path / RESULTS).num_rows == 8
    second.add(row(n) for n in range(10, ALL))
    with second:
        pass
    assert files(tmp_path) == undisturbed


def test_a_full_disk_loses_nothing(tmp_path, undisturbed, monkeypatch):
    """Half of a handful goes to disk, then no more: none of it counts; room is made, and all goes on."""
    write = os.write
    store = Store(tmp_path)
    store.add([row(1)])
    room = [300]

    def full(descriptor, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = write(descriptor, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        BatchError, match=r"\.jsonl: No space left on device; the 1 points that are done are kept"
    ) as told:
        store.add([row(2), row(3)])
    assert "\n" not in str(told.value)
    assert points(tmp_path) == [1]
    monkeypatch.undo()
    store.add([row(4)])
    kill(store)
    go_on(tmp_path, random.Random(2))
    assert files(tmp_path) == undisturbed


def test_a_full_disk_at_the_end_leaves_the_journal(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path)
    store.add([row(1)])
    monkeypatch.setattr(results, "write_table", full)
    with pytest.raises(BatchError, match="results.parquet: No space left"), store:
        pass
    monkeypatch.undo()
    assert points(tmp_path) == [1] and set(files(tmp_path)) >= {".lock"}
    with Store(tmp_path) as again:
        assert len(again.done) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=r"can't be written to \(Permission denied\)"):
        Store(tmp_path / "store")


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: can't be written to"):
        Store(tmp_path / "file")
    with pytest.raises(UsageError, match="/proc/store: can't be written to"):  # root can't either
        Store("/proc/store")
    with pytest.raises(UsageError, match=r"no store: neither results.parquet nor \.journal"):
        results.load(tmp_path)


def test_damage_is_told_and_left(tmp_path):
    """A line in the middle of a journal, a bit of the table, a file that is something else."""
    store = Store(tmp_path)
    store.add([row(1), row(2), row(3)])
    kill(store)
    (journal,) = (tmp_path / ".journal").iterdir()
    good = journal.read_bytes()
    journal.write_bytes(good.replace(b"direct-io", b"direct-oi", 2).replace(b"direct-oi", b"direct-io", 1))
    before = files(tmp_path)
    for read in (Store, results.load):
        with pytest.raises(UsageError, match=r"\.jsonl, line 2: damaged; move the file away"):
            read(tmp_path)
    assert files(tmp_path) == before
    journal.write_bytes(good)
    with Store(tmp_path):
        pass
    table = tmp_path / RESULTS
    whole = table.read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(spoilt) // 20] ^= 1
    for content in (bytes(spoilt), whole[:-50], b"", b"text"):
        table.write_bytes(content)
        with pytest.raises(UsageError, match=r"results.parquet: not a readable Parquet file .* move it away"):
            Store(tmp_path)
        assert table.read_bytes() == content
    pq.write_table(pq.read_table(pa.BufferReader(whole)).drop_columns("point"), table)
    with pytest.raises(UsageError, match="lacks the column 'point'"):
        Store(tmp_path)


@pytest.mark.parametrize("told", [[1], {"point": "p"}, row(1) | {"design": 3}, row(1) | {"seed": "a"}])
def test_lines_of_a_journal_that_are_no_rows(tmp_path, told):
    (tmp_path / ".journal").mkdir()
    text = json.dumps(told).encode()
    (tmp_path / ".journal" / "a.jsonl").write_bytes(b"%08x %b\n" % (zlib.crc32(text), text))
    for read in (Store, results.load):
        with pytest.raises(UsageError, match=r"line 1: no row of a store|\.journal: a row holds what is not of"):
            read(tmp_path)


@pytest.mark.parametrize("text", ["no JSON", "[1]", "[" * 5000])
def test_parameters_that_are_none(tmp_path, text):
    with Store(tmp_path) as store:
        store.add([row(1) | {"parameters": text}])
    with pytest.raises(UsageError, match="not a table of results: the parameters of a row"):
        listing.load(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "3", "{}", '{"points": "abc", "point": 3}', "[" * 100_000, '{"point": {"parameters": [1]}}'),
        '{"points": [{}], "point": {"key": []}}',
    ],
)
def test_files_of_a_store_that_say_something_else(tmp_path, text):
    for name, read in (("batches/b.json", listing.batches), ("failed/k/failure.json", listing.failures)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=f"{name}: damaged"):
            read(str(tmp_path))


def test_every_bit_of_a_table_counts(tmp_path):
    """A flipped bit of the data is noticed, or changes nothing that is read; metadata has no checksum in Parquet."""
    with Store(tmp_path) as store:
        store.add(row(n) for n in range(3))
    table, rng = tmp_path / RESULTS, random.Random(3)
    whole = table.read_bytes()
    frame = results.load(table)
    data = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for _ in range(40):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(data)] ^= 1 << rng.randrange(8)
        table.write_bytes(spoilt)
        try:
            found = results.load(table)
        except UsageError:
            continue
        pd.testing.assert_frame_equal(found, frame)


def test_failures_are_kept_beside_and_go_with_success(tmp_path):
    told = {"point": {"key": f"{1:032x}"}, "error": "e", "traceback": ["a", "b"]}
    good = tmp_path / "notebooks" / f"{2:032x}" / "n.ipynb"
    with Store(tmp_path) as store:
        store.keep_report(f"{2:032x}", {"n.ipynb": b"good", "deep/figure.svg": b"drawn"})
        store.add([row(2)])
        store.keep_failure(told, {"n.ipynb": b"first"})
        store.keep_failure(told, {"n.ipynb": b"second"})
        store.keep_failure(told | {"point": {"key": f"{2:032x}"}}, {"n.ipynb": b"bad"})
        store.keep_report(f"{2:032x}", {"n.ipynb": b"another"})
    assert good.read_bytes() == b"good" and (good.parent / "deep" / "figure.svg").exists()
    failed = tmp_path / "failed" / f"{1:032x}"
    assert (failed / "n.ipynb").read_bytes() == b"second"
    assert json.loads((failed / "failure.json").read_text()) == told
    assert [path.name for path in failed.parent.iterdir()] == [failed.name]
    assert listing.failures(str(tmp_path)) == [told]
    with Store(tmp_path) as store:
        store.add([row(1)])
    assert not failed.parent.exists() and points(tmp_path) == [1, 2]
    (tmp_path / "failed" / "x").mkdir(parents=True)
    (tmp_path / "failed" / "x" / "failure.json").write_text("{}")
    with pytest.raises(UsageError, match="failure.json: damaged"):
        listing.failures(str(tmp_path))


# ---- read


@pytest.fixture
def two(tmp_path):
    """Two stores, of which the second is faster by a tenth where both have a point."""
    old, new = tmp_path / "old", tmp_path / "new"
    with Store(old) as store:
        store.keep_batch("b", {"name": "b", "points": [f"{n:032x}" for n in (1, 2)]})
        store.add(row(n) for n in (1, 2, 3))
    with Store(new) as store:
        store.add(row(n, 1.1 * n) for n in (2, 3, 4))
    return str(old), str(new)


def test_filters(two):
    def found(*where, batch=None):
        return listing.load(two[0], batch, where)["iops"].tolist()

    assert found() == [1.0, 2.0, 3.0] and found(batch="b") == [1.0, 2.0]
    assert found("qd>=2") == [2.0, 3.0] and found("qd != 2", "iops<3") == [1.0] and found("set.qd=2") == [2.0]
    assert found("design=bias", "iops<=1") == [1.0] and found("design!=bias") == [] and found("iops > 2") == [3.0]
    for where, says in [
        ("qq=1", "no column or parameter 'qq'"),
        ("qd", "NAME=VALUE is needed"),
        ("qd=x", "qd is a number"),
        ("design<x", "design is text"),
        ("__import__('os')=1", "NAME=VALUE"),
    ]:
        with pytest.raises(UsageError, match=says):
            found(where)
    with pytest.raises(UsageError, match="no batch 'c': did you mean 'b'|there are: b"):
        found(batch="c")
    with pytest.raises(UsageError, match="it has none"):
        listing.load(two[1], "b")


def test_a_table_shows_what_tells_points_apart(two):
    frame = listing.load(two[0])
    assert list(listing.points(frame).columns) == ["design", "qd", "iops"]
    assert list(listing.points(frame, ["splits", "qd"]).columns) == ["design", "splits", "qd"]


def test_two_batches_compared(two):
    table, counts = listing.compare(listing.load(two[0]), listing.load(two[1]))
    assert counts == {"both": 2, "old": 1, "new": 1}
    (told,) = table.to_dict("records")
    assert (told["metric"], told["unit"], told["design"], told["differ"]) == ("iops", "1/s", "bias", 2)
    assert (told["old"], told["old_stddev"]) == (2.5, 0.5)
    assert told["change_percent"] == pytest.approx(10) and told["new"] == pytest.approx(2.75)
    same, _ = listing.compare(listing.load(two[0]), listing.load(two[0]))
    assert same.empty
    named, _ = listing.compare(listing.load(two[0]), listing.load(two[0]), ["iops"])
    assert named["differ"].tolist() == [0]
    with pytest.raises(UsageError, match="no metric of this name: did you mean 'iops'"):
        listing.compare(listing.load(two[0]), listing.load(two[1]), ["iop"])
    twice = pd.concat([listing.load(two[0])] * 2)
    with pytest.raises(UsageError, match="first batch has several rows for a point"):
        listing.compare(twice, listing.load(two[1]))


def test_compared_with_what_has_no_end(tmp_path, capsys):
    """A sync that has not returned takes for ever; and nothing is a share of nothing."""
    for name, syncs, iops in (("old", [float("inf"), 3.0], 0.0), ("new", [5.0, 3.0], 2.0)):
        with Store(tmp_path / name) as store:
            store.add(row(n, iops) | {"sync_p50_ns": sync} for n, sync in enumerate(syncs))
    assert cli.main(["results", str(tmp_path / "old"), "--against", str(tmp_path / "new")]) == 0
    shown = capsys.readouterr()
    rows = {line.split()[0]: line.split()[1:5] for line in shown.out.splitlines()[3:]}
    assert rows["iops"][3] == rows["sync_p50_ns"][3] == "-" and rows["sync_p50_ns"][:3] == ["inf", "+-", "-"]
