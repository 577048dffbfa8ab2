"""Specs of batches: what is right becomes points, what is wrong one line that says where, and nothing is run."""

import json
import tomllib

import jupytext
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import costs, designs
from workbench.batch import NOTEBOOKS
from workbench.errors import UsageError
from workbench.scenarios import ALL
from workbench.sweep import lines, spec
from workbench.sweep.points import KEY_DIGITS
from workbench.sweep.units import in_unit

HEAD = 'scenario = "direct-io"\ndesigns = ["v4.17", "v6.12"]\n'
NOTEBOOK = """# %% tags=["parameters"]
quick: bool = False  # less
figures_dir = "../figures"  # where
latency: float = 80  # of the device [us]
depths: list[int] = [1]  # in flight
seed: int = 1  # of the random numbers
"""


@pytest.fixture
def write(tmp_path):
    def text(content: str):
        path = tmp_path / "s.toml"
        path.write_text(content)
        return path

    return text


def keys(batch):
    return [point.key for point in batch.points]


def test_points_of_a_spec(write):
    batch = spec.read(
        write(
            HEAD + 'name = "n"\nseeds = [3, 4]\ntime_limit = "2 min"\nretries = 2\n[set]\nios = 50\n'
            '[[grid]]\nqd = [1, 8]\nsize_kib = ["4 KiB", "1 MiB"]\n[[grid]]\nlatency_us = ["0.1 ms"]\n'
            "[[points]]\nqd = 1024\n"
        )
    )
    assert (batch.name, batch.time_limit_s, batch.retries) == ("n", 120.0, 2)
    assert len(batch.points) == len(set(keys(batch))) == (4 + 1 + 1) * 2 * 2
    first, last = batch.points[0], batch.points[-1]
    assert (first.design, first.seed, first.given) == ("v4.17", 3, {"ios": 50, "qd": 1, "size_kib": 4})
    assert (last.design, last.seed, last.given) == ("v6.12", 4, {"ios": 50, "qd": 1024})
    assert {p.given.get("size_kib") for p in batch.points} == {4, 1024, None}
    assert {p.given.get("latency_us") for p in batch.points} == {100.0, None}
    assert all(len(key) == KEY_DIGITS for key in keys(batch))


def test_one_point_is_listed_once(write):
    batch = spec.read(write(HEAD + "[grid]\nqd = [1, 8, 1]\n[[points]]\nqd = 8\n[[points]]\nqd = 64\n"))
    assert [p.given["qd"] for p in batch.points if p.design == "v4.17"] == [1, 8, 64]


def test_a_key_is_all_that_determines_the_result(write, tmp_path, monkeypatch):
    """Each change gives another key; what changes nothing gives the same."""
    trace = tmp_path / "t.csv"
    trace.write_text("io,op,offset_bytes,size_bytes,submit_ns,complete_ns\n0,read,0,4096,0,5000\n")

    def key(text="qd = 1", table=None, scenario="direct-io", design="v4.17", seed=1):
        body = f'scenario = "{scenario}"\ndesigns = ["{design}"]\nseeds = [{seed}]\n[set]\n{text}\n'
        (point,) = spec.read(write(body), cost_file=table).points
        return point.key

    assert key() == key("qd = 1\nsize_kib = 64") == key('qd = 1\nsize_kib = "64 KiB"')  # 64 is the default
    dearer, moved = tmp_path / "dearer.json", tmp_path / "moved.json"
    table = {"name": "dearer", "kernel": "Linux", "cpu": "a CPU", "provenance": "5 runs"}
    atomic = {"ns": 6.0, "provenance": "assumed", "source": "why"}
    dearer.write_text(json.dumps(table | {"entries": {"ATOMIC": atomic}}))
    moved.write_bytes(dearer.read_bytes())
    assert key(table=dearer) == key(table=moved)
    monkeypatch.setenv(costs.VARIABLE, str(moved))
    assert key() == key(table=dearer)
    monkeypatch.delenv(costs.VARIABLE)
    replay = f'trace = "{trace}"'
    different = [key(), key("qd = 2"), key(design="v6.12"), key(seed=2), key("", scenario="golden-race")]
    different += [key(table=dearer), key(replay)]
    trace.write_text(trace.read_text().replace("5000", "6000"))
    different.append(key(replay))
    monkeypatch.setattr("workbench.sweep.points.source_hash", lambda: "another")
    different.append(key())
    assert len(set(different)) == len(different)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nme = 1\n", "line 3: no entry 'nme': did you mean 'name'"),
        ("[grid]\nqdd = [1]\n", "line 4: scenario direct-io has no parameter 'qdd': did you mean 'qd'"),
        (
            "[grid]\nqd = [\n1,\n2000]\n",
            "line 6: parameter qd: 2000 is out of range; it goes from 1 to 1024 direct IOs",
        ),
        ("[grid]\nqd = 1\n", r"line 4: qd: a list of values is needed, such as \[1\]"),
        ("[grid]\nqd = []\n", "line 4: qd: a list"),
        ("[set]\nqd = 1.5\n", "line 4: parameter qd: 1.5 is not a whole number"),
        ("[set]\nqd = true\n", "line 4: parameter qd: True is not a number"),
        ("[set]\nqd = 2020-01-01\n", "line 4: parameter qd: .* is not a number"),
        ("[set]\njitter = nan\n", "line 4: parameter jitter: nan is out of range"),
        ("[set]\nop = 1\n", "line 4: parameter op: 1 is not text; put it in quotes"),
        ("[set]\nop = 'raed'\n", "line 4: parameter op: 'raed': did you mean 'read'"),
        ("[set]\nsize_kib = '64'\n", "line 4: parameter size_kib: '64' is text without a unit; units that fit: B, KiB"),
        ("[set]\nsize_kib = '64 us'\n", "line 4: parameter size_kib: '64 us' is a time, but it is in KiB; units that"),
        ("[set]\nsize_kib = '1 B'\n", "line 4: parameter size_kib: .* is not a whole number"),
        ("[set]\nsize_kib = '2 GiB'\n", "line 4: parameter size_kib: 2097152 is out of range"),
        ("[set]\nlatency_us = '5 KiB'\n", "line 4: parameter latency_us: '5 KiB' is a size, but it is in us"),
        ("[set]\nunits = '5 pages'\n", "unit 'pages', but it is in bios; the unit that fits: bios"),
        ("[set]\njitter = '1 s'\n", "line 4: parameter jitter: '1 s': it has no unit, 's' is not for it"),
        ("[set]\nqd = 1\n[grid]\nqd = [2]\n", r"line 6: parameter qd: it is in \[set\] too"),
        ("[set]\ncpus = 1\nthreads = 2\n", "line 3: parameter threads: 2 are more than there are CPUs"),
        (
            "[[points]]\nqd = 1\n[[points]]\nsize_kib = 5\n",
            "line 5: parameter size_kib: 5 KiB is not a whole number of",
        ),
        ("[set]\ntrace = 'none.csv'\n", "line 4: parameter trace: .*none.csv"),
        ("points = 3\n", "line 3: points: a table"),
        ("set = 3\n", "line 3: set: a table"),
        ("name = '../x'\n", "line 3: name '../x': up to 100 letters"),
        ("name = 3\n", "line 3: name: text in quotes"),
        ("seeds = [1, -1]\n", "line 3: seed -1: a whole number from 0"),
        ("seeds = [1]\nreplications = 2\n", "line 4: seeds names each one"),
        ("replications = 0\n", "line 3: replications: a whole number from 1"),
        ("retries = 1000\n", "line 3: retries: a whole number from 0 to 100"),
        ("time_limit = '5 KiB'\n", "line 3: time_limit: '5 KiB' is a size"),
        ("time_limit = -1\n", "line 3: time_limit: seconds, or text"),
        ("replications = 999999\n[grid]\nqd = [1, 2]\n", "line 4: 3999996 points; at most 1000000"),
        ("x = = 1", "not TOML: .*line 3"),
        ("x = " + "[" * 5000, "not TOML"),
        (".".join("a" * 3000) + " = 1", "line 3: nested too deeply"),
        (f"seeds = [{'9' * 5000}]\n", "not TOML: Exceeds the limit"),
        (f"seeds = [0x{'f' * 5000}]\n", "line 3: seeds: a whole number of more than 64 bits"),
        (f"[grid]\nqd = [1,\n{2**63}]\n", "line 5: qd: a whole number of more than 64 bits"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_place(write, text, says):
    with pytest.raises(UsageError, match=says) as caught:
        spec.read(write(HEAD + text))
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{write(HEAD + text)}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one of scenario and notebook is needed"),
        ('scenario = "a"\nnotebook = "b"\n', "line 2: one of scenario and notebook"),
        ('scenario = "direct_io"\n', "line 1: no scenario 'direct_io': did you mean 'direct-io'"),
        ('scenario = "direct-io"\n', "designs are needed"),
        ('scenario = "direct-io"\ndesigns = [3]\n', "line 2: design 3: text"),
        ('scenario = "direct-io"\ndesigns = [\n"v4.17",\n"v4.17"]\n', "line 4: design v4.17: given twice"),
        ('scenario = "direct-io"\ndesigns = ["v4.18"]\n', "line 2: design 'v4.18': did you mean 'v4.17'"),
        ('scenario = "direct-io"\ndesigns = ["tracker=~nobody-at-all/a.py:X"]\n', "line 2: tracker file .* is code"),
        ('scenario = "direct-io"\ndesigns = ["tracker=a\\u0000.py:X"]\n', "line 2: tracker file .* is code"),
        ('notebook = "01_golden"\n', "line 1: there is no notebook"),
        (f'notebook = "{"n" * 5000}.ipynb"\n', "line 1: there is no notebook"),
        ('notebook = "01_golden_race"\ndesigns = ["v4.17"]\n', "line 2: notebook 01_golden_race has no parameter"),
        ('notebook = "04_counterexamples"\nseeds = [1]\n', "line 2: .* no parameter 'seed'"),
        ('notebook = "01_golden_race"\n[set]\nfigures_dir = "x"\n', "line 3: .* no parameter 'figures_dir'"),
        ('notebook = "01_golden_race"\n[set]\nseed = 1\n', r"line 3: parameter seed: give seeds"),
        ('notebook = "01_golden_race"\n[set]\nread_us = "1 KiB"\n', "line 3: .* is a size, but it is in us"),
        ('notebook = "01_golden_race"\n[set]\nquick = 1\n', "line 3: parameter quick: it takes bool, got 1"),
    ],
)
def test_wrong_heads(write, text, says):
    with pytest.raises(UsageError, match=says):
        spec.read(write(text))


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        spec.read(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        spec.read(tmp_path / "b.toml")


def test_a_mapping_is_a_spec_without_lines():
    batch = spec.read({"scenario": "golden-race", "designs": ["v4.17"], "grid": {"fsync_us": [0, "1 ms"]}})
    assert [p.given["fsync_us"] for p in batch.points] == [0.0, 1000.0]
    with pytest.raises(UsageError, match="^spec: scenario golden-race has no parameter 'x'"):
        spec.read({"scenario": "golden-race", "designs": ["v4.17"], "set": {"x": 1}})


def test_code_that_a_spec_names_runs_only_if_it_is_allowed(write, tmp_path):
    """Neither a tracker file nor a notebook of the user's is run, or even opened as one, unless named elsewhere."""
    tracker = tmp_path / "mine.py"
    ran = tmp_path / "ran"
    tracker.write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    path = write(f'scenario = "golden-race"\ndesigns = ["tracker={tracker}:Mine"]\n')
    with pytest.raises(UsageError, match=r"line 2: tracker file .*mine.py is code.* --allow"):
        spec.read(path)
    assert not ran.exists()
    with pytest.raises(UsageError, match="it has no NamedTuple"):
        spec.read(path, allow=[tracker])
    assert ran.exists()
    book = tmp_path / "own.ipynb"
    book.write_text(jupytext.writes(jupytext.reads(NOTEBOOK, "py:percent"), "ipynb"))
    path = write(f'notebook = "{book}"\n[grid]\nlatency = ["1 ms", 3]\ndepths = [[1, 2]]\n')
    with pytest.raises(UsageError, match="line 1: notebook .*own.ipynb is code"):
        spec.read(path)
    batch = spec.read(path, allow=[book])
    assert [p.given for p in batch.points] == [{"latency": v, "depths": [1, 2]} for v in (1000.0, 3)]
    batch = spec.read(write(f'notebook = "{book}"\nseeds = [5, 6]\n'), allow=[book])
    assert [p.given for p in batch.points] == [{"seed": 5}, {"seed": 6}]
    before = keys(batch)
    book.write_text(book.read_text().replace("less", "more"))
    assert set(keys(spec.read(write(f'notebook = "{book}"\nseeds = [5, 6]\n'), allow=[book]))).isdisjoint(before)


def test_a_tracker_that_a_notebook_is_to_run_has_to_be_allowed_too(write, tmp_path):
    """Whatever the parameter is called; and what is in the file is part of the key."""
    tracker = tmp_path / "mine.py"
    tracker.write_text("first")
    for text in (str(tracker), f"{tracker}:Mine", f"tracker={tracker}:Mine,cleaning=skip"):
        path = write(f'notebook = "09_write_your_own"\n[grid]\nyours = ["", "{text}"]\n')
        with pytest.raises(UsageError, match=r"line 3: tracker file .*mine.py is code.* --allow"):
            spec.read(path)
        before = keys(spec.read(path, allow=[tracker]))
        tracker.write_text(tracker.read_text() + text)
        after = keys(spec.read(path, allow=[tracker]))
        assert before[0] == after[0] and before[1] != after[1]
    path = write('notebook = "09_write_your_own"\n[set]\nyours = "mine.py:Mine"\n')
    with pytest.raises(UsageError, match="notebooks/mine.py is code"):  # where the notebook would look for it
        spec.read(path, allow=[tracker])
    with pytest.raises(UsageError, match="notebooks/mine.py: No such file"):
        spec.read(path, allow=[NOTEBOOKS / "mine.py"])


def test_data_that_a_notebook_of_the_package_reads_are_part_of_its_key(write, tmp_path):
    path = write(f'notebook = "02_direct_io"\n[set]\ntraces_dir = "{tmp_path / "traces"}"\n')
    seen = [keys(spec.read(path))]
    (tmp_path / "traces").mkdir()
    for name, text in (("a.csv", "1"), ("a.csv", "2"), ("b.csv", "2"), ("c.csv", "")):
        (tmp_path / "traces" / name).write_text(text)
        seen.append(keys(spec.read(path)))
    assert len({key for (key,) in seen}) == 5 and keys(spec.read(path)) == seen[-1]
    for where in ("/proc", "/dev/zero", "a\\u0000", "n" * 5000):  # whatever is read of these ends
        assert spec.read(write(f'notebook = "02_direct_io"\n[set]\ntraces_dir = "{where}"\n')).points


def test_text_parameters_that_name_files():
    """Parameters of scenarios that are free text are files, whose content goes into the key."""
    free = {p.name for s in ALL.values() for p in s.PARAMETERS if isinstance(p.default, str) and not p.choices}
    assert free == set(spec.FILES)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("64 KiB", "KiB", 64),
        ("1MiB", "KiB", 1024),
        ("1_000 B/s", "kB/s", 1),
        ("5 us", "ms", 0.005),
        ("5 µs", "us", 5),
        ("1.5e3 ns", "us", 1.5),
        ("2 h", "s", 7200),
        ("16 bios", "bios", 16),
        ("2 direct IOs", "direct IOs", 2),
        ("10 %", "%", 10),
    ],
)
def test_units(text, unit, value):
    assert float(in_unit(text, unit)) == value


@given(st.text(max_size=30), st.sampled_from(["", "1", "KiB", "us", "MiB/s", "pages", "%"]))
def test_any_text_is_a_quantity_or_refused(text, unit):
    try:
        in_unit(text, unit)
    except UsageError as error:
        assert str(error)


# ---- lines

_KEYS = st.text("abc_-", min_size=1, max_size=3)
_VALUES = st.recursive(
    st.sampled_from(
        ['"a # ]"', "'b, }'", '"""x\n"y" \\" z"""', "'''u\n'v\n'''", '"\\""', "1", "-2.5e3", "true", "2020-01-01"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: "[ # c ]\n" + ",\n ".join(v) + "]")
        | st.dictionaries(_KEYS, inner, max_size=2).map(
            lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items()) + "}"
        )
    ),
    max_leaves=6,
)
_PAIRS = st.dictionaries(_KEYS, _VALUES, max_size=3)
_TABLES = st.lists(
    st.tuples(st.sampled_from(["[{}]", "[[{}]]"]), st.text("xyz", min_size=1, max_size=2), _PAIRS), max_size=4
)


def _paths(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield (*path, n)
            yield from _paths(inner, (*path, n))


@given(_PAIRS, _TABLES)
def test_every_value_has_its_line(pairs, tables):
    """All that tomllib reads is found, and a key stands on the line that is given for it."""
    text = "# first\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
    for form, name, inner in tables:
        text += form.format(f"T{name}") + "\n" + "".join(f'"{k}" = {v}\n' for k, v in inner.items())
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = lines.positions(text, document)
    assert set(found) == set(_paths(document))
    written = text.split("\n")
    for path, line in found.items():
        assert not isinstance(path[-1], str) or path[-1] in written[line - 1]


def test_dotted_keys_and_carriage_returns():
    text = 'a.b = 1\r\n[x]\r\n"c d".e = [\r\n1,\r\n2]\r\n'
    found = lines.positions(text, tomllib.loads(text))
    assert found[("a", "b")] == 1 and found[("x", "c d", "e", 1)] == 5


# ---- fuzz

_NAMES = st.sampled_from([*spec.ENTRIES, "qd", "size_kib", "trace", "nonsense", "seed", "design"])
_LEAVES = st.sampled_from(
    ["direct-io", "golden-race", "01_golden_race", "v4.17", "64 KiB", "5 us", "1e99 s", "9" * 50, "", 0, 1, -1, 2**70,
     1.5, float("nan"), float("inf"), True, None]
) | st.text(max_size=5)  # fmt: skip
_ANY = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=8
)


@settings(max_examples=300)
@given(st.dictionaries(_NAMES, _ANY, max_size=6), st.booleans())
def test_any_document_is_a_batch_or_one_line(document, headed):
    if headed:
        document = {"scenario": "direct-io", "designs": ["v4.17"]} | document
    try:
        batch = spec.read(document)
    except UsageError as error:
        assert "\n" not in str(error) and str(error).startswith("spec")
    else:
        assert batch.points and all(p.design in designs.PRESETS or p.notebook for p in batch.points)


@given(st.binary(max_size=80))
def test_any_file_is_a_batch_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        spec.read(path)
