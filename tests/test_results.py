"""Rows of results: what goes into a Parquet file comes out of it, or a reason why not."""

import json
import subprocess

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench import provenance as made_by
from workbench.errors import UsageError
from workbench.mm.registers import COUNTERS
from workbench.results import KEY, SCHEMA, UNITS, banded, load, row, with_parameters, write

COSTS = {"name": "published-4.20", "provenance": "published"}


def one(design="bias", seed=1, parameters=None, **metrics):
    source = made_by.provenance(
        scenario="direct-io", design=design, parameters=parameters or {"qd": 64}, seed=seed, costs=COSTS
    )
    return row(source, design.partition(":")[0], metrics)


def test_rows_come_back(tmp_path):
    rows = [
        one("none", iops=194e3, splits=0),
        one("bias", iops=193e3),
        one("bias", 2, iops=np.float64(192e3)),
    ]
    path = write(rows, tmp_path / "deep" / "rows.parquet")
    frame = load(path)
    assert list(frame.columns) == SCHEMA.names
    assert frame["design"].tolist() == ["bias", "bias", "none"]  # in the order of the keys
    assert frame["seed"].tolist() == [1, 2, 1]
    assert frame["iops"].tolist() == [193e3, 192e3, 194e3]
    assert frame["splits"].isna().tolist() == [True, True, False]
    assert frame["cost_table"].unique().tolist() == ["published-4.20 (published)"]
    assert frame["source_hash"].unique().tolist() == [made_by.source_hash()]
    assert [p.name for p in path.parent.iterdir()] == ["rows.parquet"]


def test_units_stand_in_the_file(tmp_path):
    schema = pq.read_schema(write([one(iops=1.0)], tmp_path / "rows.parquet"))
    for name, metric in UNITS.items():
        field = schema.field(name)
        assert field.metadata == {b"unit": metric.unit.encode(), b"description": metric.text.encode()}
        assert field.type == (pa.int64() if metric.integer else pa.float64())


def test_metric_names_agree_with_units():
    for name, metric in UNITS.items():
        assert ("ns" in name.split("_")) == (metric.unit == "ns"), name
        assert ("ps" in name.split("_")) == (metric.unit == "ps"), name
        assert metric.text and len(metric.text) <= 100


def test_every_counter_has_a_column(tmp_path):
    counters = {name: k for k, name in enumerate(COUNTERS)}
    source = made_by.provenance(scenario="direct-io", design="bias", seed=1)
    frame = load(write([row(source, "bias", {"iops": 1.0}, counters)], tmp_path / "rows.parquet"))
    assert [frame[name.lower()][0] for name in COUNTERS] == list(range(len(COUNTERS)))


def test_duckdb_needs_nothing_of_ours(tmp_path):
    write([one(iops=1.0)], tmp_path / "a.parquet")
    found = duckdb.sql(f"select design, iops from '{tmp_path}/*.parquet'").fetchall()
    assert found == [("bias", 1.0)]


def test_same_rows_same_bytes(tmp_path):
    rows = [one("none", parameters={"a": 1, "b": 2}), one("bias")]
    turned = [one("bias"), one("none", parameters={"b": 2, "a": 1})]
    assert write(rows, tmp_path / "a").read_bytes() == write(turned, tmp_path / "b").read_bytes()


def test_files_join_and_old_ones_lack_columns(tmp_path):
    write([one("none")], tmp_path / "b.parquet")
    old = pq.read_table(write([one("bias", iops=5.0)], tmp_path / "a.parquet")).select([*KEY, "iops"])
    pq.write_table(old, tmp_path / "a.parquet")
    frame = load(tmp_path / "*.parquet")
    assert frame["design"].tolist() == ["bias", "none"]
    assert list(frame.columns) == SCHEMA.names


def test_parameters_become_columns(tmp_path):
    rows = [one(parameters={"qd": 1}), one(parameters={"qd": 64, "dio": "legacy"})]
    frame = with_parameters(load(write(rows, tmp_path / "rows.parquet")))
    assert frame["set.qd"].tolist() == [64, 1]
    assert frame["set.dio"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda whole: whole[:-300], "magic"),
        (lambda whole: b"", "0 bytes"),
        (lambda whole: b"design,iops\nbias,1\n" * 20, "magic"),
        (lambda whole: whole[:8] + bytes(200) + whole[208:], "not a readable"),
    ],
    ids=["truncated", "empty", "csv", "overwritten"],
)
def test_a_damaged_file_is_one_line(tmp_path, spoil, said):
    path = write([one(iops=float(k), seed=k) for k in range(50)], tmp_path / "rows.parquet")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UsageError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not a readable Parquet file") and said in message
    assert "\n" not in message


def test_another_table_is_refused(tmp_path):
    pq.write_table(pa.table({"scenario": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="lacks the column 'design'"):
        load(tmp_path / "a.parquet")
    wrong = pa.table({"scenario": ["x"], "design": ["x"], "parameters": ["{}"], "seed": ["one"]})
    pq.write_table(wrong, tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="column 'seed' is string; it should be int64"):
        load(tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none-*.parquet")
    with pytest.raises(UsageError):
        load(tmp_path)  # a folder


@pytest.mark.parametrize(
    "rows, said",
    [
        ([{**one(), "iop": 1.0}], "did you mean 'iops'"),
        ([{**one(), "seed": None}], "needs its seed"),
        ([one(iops=1.0), one(iops=2.0)], "two rows for direct-io, bias"),
        ([one(splits=1.5)], "splits is a count, not 1.5"),
    ],
)
def test_wrong_rows_leave_the_old_file(tmp_path, rows, said):
    path = write([one(iops=7.0)], tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=said):
        write(rows, path)
    assert load(path)["iops"].tolist() == [7.0]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]


def test_provenance_is_plain_and_sorted():
    parameters = {"z": np.int64(3), "a": (1, 2.5), "set": {"y", "x"}, "none": None}
    told = made_by.provenance(scenario="s", parameters=parameters, seed=1, costs=COSTS)
    assert json.loads(json.dumps(told)) == told
    assert list(told) == sorted(told) and list(told["parameters"]) == ["a", "none", "set", "z"]
    assert told["parameters"] == {"a": [1, 2.5], "none": None, "set": ["x", "y"], "z": 3}
    with pytest.raises(TypeError, match="object"):
        made_by.provenance(parameters={"x": object()})


def test_git_commit_is_that_of_this_checkout(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "workbench"
    package.mkdir()
    monkeypatch.setattr(made_by, "PACKAGE", package)
    assert made_by.git_commit() is None
    git("init", "-q")
    (package / "file").write_text("1")
    git("add", "workbench/file")
    git("commit", "-q", "-m", "one")
    assert made_by.git_commit() == git("rev-parse", "HEAD")
    (package / "file").write_text("2")
    assert made_by.git_commit() == git("rev-parse", "HEAD") + "-dirty"
    inner = tmp_path / "venv" / "workbench"
    inner.mkdir(parents=True)
    monkeypatch.setattr(made_by, "PACKAGE", inner)
    assert made_by.git_commit() is None  # a checkout that merely encloses the package


def test_load_is_a_frame(tmp_path):
    assert isinstance(load(write([], tmp_path / "rows.parquet")), pd.DataFrame)


def test_banded_is_the_mean_with_its_95_percent_interval():
    frame = pd.DataFrame({"qd": [1, 1, 1, 2], "x": [1.0, 2.0, 3.0, 5.0]})
    one, two = banded(frame, ["qd"], "x").to_dict("records")
    half = 4.303 / 3**0.5  # t for 2 degrees of freedom, standard deviation 1
    assert one["x"] == 2.0 and one["runs"] == 3
    assert (one["low"], one["high"]) == pytest.approx((2 - half, 2 + half))
    assert (two["low"], two["x"], two["high"]) == (5.0, 5.0, 5.0)
    assert banded(frame.assign(x=float("nan")), ["qd"], "x").empty
