"""Figures: the same bytes each time, provenance inside, text siblings for a mail, and a style per design."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from PIL import Image
from verdicts import CRASH

from workbench import charts, tables
from workbench.charts import files, layout, over_time, paper, style, tails
from workbench.counterexample import as_columns
from workbench.provenance import provenance

CAPTION = charts.caption("model", {"name": "published-4.20", "provenance": "published"}, "One thread.")
DESIGNS = list(charts.STYLES)


VERDICTS = pd.DataFrame(
    {"flusher first": ["BUG_ON; pin missed", "never written"], "reclaim first": ["intact", "something else"]},
    index=["v4.17", "bias"],
)

_HAZARDS = [f"hazard-{k}" for k in range(13)]
FOUND = pd.DataFrame([["reachable", *["unreachable"] * 12]] * 2, index=["v4.17", "a design " * 9], columns=_HAZARDS)
FOUND_TEXTS = pd.DataFrame([["23g*", *[""] * 12]] * 2, index=FOUND.index, columns=_HAZARDS)


def points(designs=("none", "bias", "vma-full:release=split")):
    return pd.DataFrame(
        [
            {"design": d, "qd": q, "iops": 194e3 * q / (q + 8) - k, "low": 1e3, "high": 2e5, "splits": k * q}
            for k, d in enumerate(designs)
            for q in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        ]
    )


def against(**options):
    curve = points().assign(formula=lambda df: df.iops * 1.01)
    df = pd.concat([curve, curve.assign(iops=None, qd=curve.qd * 1.5)])
    return charts.against(df, "qd", "iops", "formula", ends=("low", "high"), caption=CAPTION, **options)


def latencies():
    rng = np.random.default_rng(3)
    return {d: rng.gamma(4, 80e3, 20000).astype(np.int64) + 1 for d in ("none", "bias")}


def changes():
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.integers(1, 1000, 5000))
    return pd.DataFrame({"design": "bias", "time": times, "ranges": rng.integers(0, 64, 5000)})


EVENTS = [
    {"time": 0, "actor": "DIO read", "step": "get_user_pages_fast()", "state": "dirty, buffers"},
    {"time": 2500, "actor": "flusher", "step": "clear_page_dirty_for_io(): page_mkclean", "state": "clean"},
    {"time": 9e6, "actor": "kswapd", "step": "try_to_release_page", "state": "clean, no buffers"},
]


def figures():
    """Draw one of each."""
    df = points()
    yield (
        "lines",
        *charts.lines(df, "qd", "iops", band=("low", "high"), caption=CAPTION, logx=True, title="T"),
    )
    yield "narrow", *charts.lines(points(DESIGNS), "qd", "splits", caption=CAPTION, logy=True, size="one")
    yield "steps", *charts.steps(changes(), "time", "ranges", caption=CAPTION)
    yield "ccdf", *charts.ccdf(latencies(), caption=CAPTION, size="one")
    yield "bars", *charts.bars(df[df.qd < 4], "qd", "iops", band=("low", "high"), caption=CAPTION)
    one = points(DESIGNS).query("qd == 1")
    yield "lying", *charts.bars(one, "design", "iops", caption=CAPTION, size="one")
    yield "against", against(logx=True, title="T"), CAPTION
    yield "events", *charts.space_time(EVENTS, caption=CAPTION, title="A crash")
    yield "crash", *charts.space_time(CRASH, caption=CAPTION, title="A crash")
    yield "narrow-matrix", *charts.matrix(FOUND, charts.FOUND, texts=FOUND_TEXTS, caption=CAPTION, title="T")
    yield "matrix", *charts.matrix(VERDICTS, charts.VERDICTS, caption=CAPTION, corner="design", size="one")


def save_all(folder):
    made_by = provenance(scenario="direct-io", parameters={"qd": 64, "path": "a (b) \\ 'ü'"}, seed=1)
    made_by["source_hash"] = "0" * 16  # someone may edit the sources while the tests run
    for name, fig, text in figures():
        charts.save(fig, name, folder, text, made_by, sources=["Kara 2018-06-25"])


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def other_process(folder, tmp_path, **environment):
    settings_ = tmp_path / "settings"
    settings_.mkdir()
    (settings_ / "matplotlibrc").write_text(
        "font.family: serif\nlines.linewidth: 9\naxes.facecolor: red\nsavefig.dpi: 33\nsvg.fonttype: none\n"
    )
    root = Path(charts.__file__).parent.parent.parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "MPLCONFIGDIR": str(settings_),
        "PYTHONHASHSEED": "7",
        **environment,
    }
    code = "import sys, test_charts; test_charts.save_all(sys.argv[1])"
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], check=True, env=environment)


def test_same_bytes_in_this_process_and_in_another(tmp_path):
    save_all(tmp_path / "a")
    with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 20, "axes.grid": False}):
        save_all(tmp_path / "b")
    first = contents(tmp_path / "a")
    assert len(first) == 4 * 11 + 3 * 4  # four are wide, and fit one column too
    assert contents(tmp_path / "b") == first
    strange = {
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "1",
        "MPLBACKEND": "svg",
        "DISPLAY": "",
    }
    other_process(tmp_path / "c", tmp_path, **strange)
    other = contents(tmp_path / "c")
    assert [name for name in first if other[name] != first[name]] == []


def test_saving_twice_changes_nothing(tmp_path):
    fig, text = charts.lines(points(), "qd", "iops", caption=CAPTION)
    charts.save(fig, "f", tmp_path / "a", text, provenance())
    charts.save(fig, "f", tmp_path / "b", text, provenance())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_provenance_is_read_back(tmp_path):
    made_by = provenance(
        scenario="direct-io",
        design="bias",
        parameters={"odd": "a (b) \\ \"c\" <&> 'ü' ))", "qd": 64},
        seed=3,
        costs={"name": "published-4.20", "provenance": "published"},
        trace_sha256="ab" * 32,
    )
    fig, text = charts.lines(points(), "qd", "iops", caption=CAPTION)
    paths = charts.save(fig, "f", tmp_path, text, made_by, sources=["data/x.csv"])
    names = ["f.svg", "f.pdf", "f.png", "f.txt"]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [*names, *(f"one-column/{n}" for n in names[:3])]
    wanted = {**{k: v for k, v in made_by.items() if k != "python"}, "sources": ["data/x.csv"]}
    for path in paths[:3] + paths[4:]:
        assert charts.read_provenance(path) == wanted
    bare = tmp_path / "bare.png"
    Image.new("L", (1, 1)).save(bare)
    with pytest.raises(ValueError, match="carries no provenance"):
        charts.read_provenance(bare)


def test_files_hold_no_date_and_no_foreign_font(tmp_path):
    save_all(tmp_path)
    for path in tmp_path.glob("*.svg"):
        assert "dc:date" not in path.read_text()
    for path in tmp_path.glob("*.pdf"):
        content = path.read_bytes()
        assert b"CreationDate" not in content
        fonts = re.findall(rb"/FontName /[A-Z]+\+(\S+)", content)
        assert fonts and {*fonts} <= {b"DejaVuSans", b"DejaVuSans-Bold"}
    for bold in (False, True):
        used = Path(font_manager.findfont(layout._properties(bold)))
        assert used.is_relative_to(matplotlib.get_data_path())  # not one that the system brings


def test_text_siblings_fit_a_mail(tmp_path):
    save_all(tmp_path)
    for path in tmp_path.glob("*.txt"):
        text = path.read_text()
        assert max(map(len, text.split("\n"))) <= 72
        assert "Model; cost table published-4.20 (published)." in text
        assert "Made by gup-pin-workbench" in text and text.endswith("\n")


def test_a_long_line_is_refused_before_anything_is_written(tmp_path):
    fig, text = charts.lines(points(), "qd", "iops", caption=CAPTION)
    with pytest.raises(ValueError, match="line 2 has 73 columns"):
        charts.save(fig, "f", tmp_path / "out", "x" * 72 + "\n" + "y" * 73, provenance())
    with pytest.raises(ValueError, match="figure name"):
        charts.save(fig, "../f", tmp_path / "out", text, provenance())
    assert not (tmp_path / "out").exists()


def test_a_wide_figure_comes_in_one_column_too(tmp_path):
    """From the same data, the panels below each other; where it can't be so narrow, no old one stays."""
    df = pd.concat([points().assign(size=size) for size in (4, 64)])
    fig, text = charts.lines(df, "qd", "iops", panels="size", caption=CAPTION)
    charts.save(fig, "f", tmp_path, text, provenance())
    with Image.open(tmp_path / "f.png") as wide, Image.open(tmp_path / "one-column" / "f.png") as narrow:
        assert (wide.width, narrow.width) == (1440, 700)
        assert narrow.height > wide.height
    upper, lower = fig.narrow().axes
    assert upper.get_position().y0 > lower.get_position().y1 and upper.get_position().x0 == lower.get_position().x0
    many = [{"actor": f"actor {k}", "step": "s", "state": "clean"} for k in range(8)]
    fig, text = charts.space_time(many, caption=CAPTION)
    charts.save(fig, "f", tmp_path, text, provenance())
    assert [path.name for path in tmp_path.rglob("*")].count("f.svg") == 1


def test_a_failed_save_leaves_the_old_files(tmp_path, monkeypatch):
    fig, text = charts.lines(points(), "qd", "iops", caption=CAPTION)
    charts.save(fig, "f", tmp_path, text, provenance())
    before = contents(tmp_path)
    broken = paper.render

    def fails(fig, kind, *rest):
        if kind == "png":
            raise OSError("disk full")
        return broken(fig, kind, *rest)

    monkeypatch.setattr(files, "render", fails)
    with pytest.raises(OSError):
        charts.save(fig, "f", tmp_path, "another", provenance())
    assert contents(tmp_path) == before


def test_every_design_has_a_style_of_its_own():
    for cue in (lambda s: s[:3], lambda s: s.marker, lambda s: (s.colour, s.hatch)):
        assert len({cue(style) for style in charts.STYLES.values()}) == 11
    everything = [*charts.STYLES.values(), *style._FURTHER]
    assert len({(s.colour, s.marker, str(s.line)) for s in everything}) == len(everything)
    assert len({charts.label(d) for d in DESIGNS}) == 11


def test_styles_do_not_depend_on_the_company():
    alone = {d: charts.styles([d])[d] for d in [*DESIGNS, "v6.12", "hubbard-v1"]}
    together = charts.styles(reversed(list(alone)))
    assert together == alone
    assert list(together)[:11] == DESIGNS
    assert charts.styles(["tracker=bias,cleaning=skip"])["tracker=bias,cleaning=skip"] == charts.STYLES["bias"]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=8), max_size=40))
def test_no_two_designs_of_a_figure_look_alike(names):
    variants = {f"tracker=bias,cleaning={name}" for name in names}
    found = charts.styles(names | variants | {"bias"})
    assert len(set(map(str, found.values()))) == len(found)
    assert found["bias"] == charts.STYLES["bias"]


def test_captions_say_where_numbers_come_from():
    for wrong in ("Direct IO.", "", "the model"):
        with pytest.raises(ValueError, match="must begin with 'model' or 'measured'"):
            charts.lines(points(), "qd", "iops", caption=wrong)
    assert charts.caption("measured", None, "Linux 6.12.") == "Measured; no cost table. Linux 6.12."
    assert charts.caption("model") == "Model; exact counts, no cost table."
    with pytest.raises(ValueError):
        charts.caption("guessed")


def shown(fig):
    return [t.get_text() for t in fig.texts] + [t.get_text() for ax in fig.axes for t in ax.texts]


def test_lines_name_their_band_and_what_a_log_axis_hides():
    fig, text = charts.lines(points(), "qd", "splits", caption=CAPTION, logy=True, band=("low", "high"))
    for said in (text.replace("\n", " "), " ".join(shown(fig)).replace("\n", " ")):
        assert "Band: low to high." in said
        assert "Being 0, not on the log axis: 9 points of none (v4.17)." in said


def test_lines_text_holds_every_point():
    _, text = charts.lines(points(), "qd", "iops", caption=CAPTION)
    for value in points()["iops"]:
        assert tables.number(value) in text
    with pytest.raises(ValueError, match="more than one iops at the same qd and design"):
        charts.lines(pd.concat([points(), points()]), "qd", "iops", caption=CAPTION)
    with pytest.raises(ValueError, match="no column 'depth'"):
        charts.lines(points(), "depth", "iops", caption=CAPTION)


def test_against_draws_the_formula_between_the_points():
    drawn = against().axes[0]
    curves = [line for line in drawn.lines if line.get_linestyle() != "None"]
    assert [len(line.get_xdata()) for line in curves] == [9, 9, 9], "a curve per design, from rows without a point"
    assert [len(bars.lines[0].get_xdata()) for bars in drawn.containers] == [9, 9, 9]
    (ends,) = drawn.containers[0].lines[2]
    assert [segment[:, 1].tolist() for segment in ends.get_segments()] == [[1e3, 2e5]] * 9
    with pytest.raises(ValueError, match="no column 'theory'"):
        charts.against(points(), "qd", "iops", "theory", ends=("low", "high"), caption=CAPTION)


def test_panels_share_their_scale():
    df = pd.concat([points().assign(dio="legacy"), points().assign(dio="iomap", iops=5.0)])
    fig, text = charts.lines(df, "qd", "iops", panels="dio", caption=CAPTION)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["legacy", "iomap"]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    assert len({tuple(ax.get_yticks()) for ax in fig.axes}) == 1
    assert "legacy: " in text and "iomap: " in text
    numbered = points().assign(size=64), points().assign(size=4)
    fig, _ = charts.lines(pd.concat(numbered), "qd", "iops", panels="size", caption=CAPTION)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["4", "64"]


def test_nothing_overlaps_or_leaves_the_paper():
    for name, fig, _ in figures():
        fig.draw_without_rendering()
        paper = fig.bbox
        parts = [t for t in fig.texts if t.get_text()] + list(fig.legends)
        boxes = [p.get_window_extent() for p in parts] + [ax.get_tightbbox() for ax in fig.axes]
        for k, box in enumerate(boxes):
            assert box.x0 >= paper.x0 - 1 and box.x1 <= paper.x1 + 1, (name, k)
            assert box.y0 >= paper.y0 - 1 and box.y1 <= paper.y1 + 1, (name, k)
            for other in boxes[:k]:
                apart = box.x0 >= other.x1 or box.x1 <= other.x0 or box.y0 >= other.y1 - 1 or box.y1 <= other.y0 + 1
                assert apart, (name, k)
        assert fig.get_figwidth() in charts.WIDTHS.values()


def test_tick_labels_do_not_run_into_each_other():
    for name, fig, _ in figures():
        fig.draw_without_rendering()
        for ax in fig.axes:
            low, high = sorted(ax.get_xlim())
            labels = [t for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high and t.get_text()]
            boxes = sorted((t.get_window_extent() for t in labels), key=lambda box: box.x0)
            assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False)), name


def test_percentiles_agree_with_numpy_and_know_their_limits():
    sample = np.random.default_rng(5).integers(1, 10**6, 20000)
    values, counts = np.unique(sample, return_counts=True)
    for share in (5000, 9900, 9990, 9999):
        wanted = np.quantile(sample, share / 1e4, method="inverted_cdf")
        assert charts.percentile(values, counts, share) == wanted
    assert math.isnan(charts.percentile(values, np.minimum(counts, 1)[:9999], 9999))
    assert charts.percentile(np.array([7]), np.array([10000]), 9999) == 7


def test_ccdf_takes_arrays_and_histograms_alike():
    sample = latencies()
    histograms = {d: np.unique(x, return_counts=True) for d, x in sample.items()}
    (fig, text), (other, same) = (charts.ccdf(s, caption=CAPTION) for s in (sample, histograms))
    assert text == same
    for a, b in zip(fig.axes[0].lines, other.axes[0].lines, strict=True):
        np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())
    for bad in ([], [0, 1]):
        with pytest.raises(ValueError):
            charts.ccdf({"none": bad}, caption=CAPTION)


def test_thinning_keeps_the_curve():
    sample = np.sort(latencies()["none"])
    x, above = tails._above(*np.unique(sample, return_counts=True))
    assert len(x) < 2000 and x[0] == sample[0] and x[-1] == sample[-1] and above[-1] == 0
    for value, share in zip(x[1:], above[1:], strict=True):
        assert share == pytest.approx((sample > value).mean())
    times, values = np.arange(10**5), np.random.default_rng(6).integers(0, 10**6, 10**5)
    kept, shown_ = over_time._thin(times, values)
    assert len(kept) <= 2800 and (shown_.min(), shown_.max()) == (values.min(), values.max())
    np.testing.assert_array_equal(values[kept], shown_)
    assert (kept[0], kept[-1]) == (0, 10**5 - 1)


def test_steps_text_weighs_by_time():
    df = pd.DataFrame({"design": "bias", "time": [0, 900, 1000], "ranges": [10, 100, 0]})
    _, text = charts.steps(df, "time", "ranges", caption=CAPTION)
    assert text.split("bias")[1].split()[:4] == ["10", "19", "100", "0"]


def test_space_time_colours_states_and_lists_all():
    fig, text = charts.space_time(EVENTS, caption=CAPTION)
    colours = charts.state_colours(e["state"] for e in EVENTS)
    assert len(set(colours.values())) == 3
    assert colours["clean, no buffers"] == charts.STATES["no buffers"]
    for event in EVENTS:
        assert event["actor"] in text and event["state"] in text
    assert {"DIO read", "2.5 µs", "try_to_release_page"} <= {t.replace("_\n", "_") for t in shown(fig)}
    with pytest.raises(ValueError, match="do not fit"):
        charts.space_time(EVENTS, caption=CAPTION, actors=[str(k) for k in range(20)], size="one")


def test_space_time_takes_a_trace_and_marks_its_hazard():
    fig, text = charts.space_time(CRASH, caption=CAPTION)
    words = {t.replace("\n", "") for t in shown(fig)}
    assert {"bufferless-dirty", "set_page_dirty_lock()", "clean, no buffers,newer than disk"} <= words
    edges = [matplotlib.colors.to_hex(p.get_edgecolor()).upper() for p in fig.axes[0].patches]
    assert edges.count(style.HAZARD) == 1
    assert "set_page_dirty_lock() <-- bufferless-dirty" in text and as_columns(CRASH) in text
    with pytest.raises(ValueError, match="no events"):
        charts.space_time([], caption=CAPTION)


def test_a_matrix_of_short_words_is_narrow():
    fig, text = charts.matrix(FOUND, charts.FOUND, texts=FOUND_TEXTS, caption=CAPTION, corner="design")
    upright = [t.get_text() for t in fig.axes[0].texts if t.get_rotation() == 90]
    assert upright == _HAZARDS and shown(fig).count("23g*") == 2
    colours = [matplotlib.colors.to_hex(patch.get_facecolor()).upper() for patch in fig.axes[0].patches]
    assert colours[:2] == [charts.FOUND["reachable"], charts.FOUND["unreachable"]]
    lines = text.splitlines()
    assert max(map(len, lines)) <= 72 and lines[0].split() == ["design", *"ABCDEFGHIJKLM"]
    assert lines[2].split() == ["v4.17", "23g*"]
    assert "A hazard-0, B hazard-1" in text and text.split().count("design") == 10
    with pytest.raises(ValueError, match="do not fit"):
        charts.matrix(FOUND, charts.FOUND, texts=FOUND_TEXTS, caption=CAPTION, size="one")


def test_matrix_colours_verdicts_and_lists_all():
    fig, text = charts.matrix(VERDICTS, charts.VERDICTS, caption=CAPTION, corner="design")
    for word in ("v4.17", "bias", "flusher first", "BUG_ON; pin missed", "never written", "something else"):
        assert word in text and word in " ".join(shown(fig))
    colours = [matplotlib.colors.to_hex(patch.get_facecolor()).upper() for patch in fig.axes[0].patches]
    wanted = [charts.VERDICTS[word] for word in ("BUG", "intact", "never")]
    assert colours == [*wanted, "#FFFFFF"]
    with pytest.raises(ValueError, match="no verdicts"):
        charts.matrix(VERDICTS.iloc[:0], {}, caption=CAPTION)
    with pytest.raises(ValueError, match="do not fit"):
        charts.matrix(pd.DataFrame([["x"] * 9], index=["bias"]), {}, caption=CAPTION, size="one")


def test_styles_of_one_figure_differ_in_colour():
    names = [f"model, jitter {k}" for k in range(7)]
    assert len({style.colour for style in charts.styles(names).values()}) == 7


def test_figures_show_themselves_in_jupyter():
    fig, _ = charts.lines(points(), "qd", "iops", caption=CAPTION)
    content, told = fig._repr_png_()
    assert content.startswith(b"\x89PNG") and told == {"width": 864}


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (0, "ns", "0"),
        (1538, "ns", "1.538us"),
        (999.96, "ns", "1us"),
        (0.25, "ns", "250ps"),
        (2.5e12, "ps", "2.5s"),
        (200, "B", "200B"),
        (2400, "B", "2400B"),
        (4096, "B", "4KiB"),
        (1 << 40, "B", "1TiB"),
        (3 << 20, "B/s", "3MiB/s"),
        (9999, "1", "9999"),
        (9999.7, "1", "10k"),
        (193456, "1/s", "193.5k"),
        (0.0125, "1", "0.0125"),
        (-15000, "1", "-15k"),
        (math.nan, "ns", "-"),
        (None, "1", "-"),
        (math.inf, "1", "inf"),
    ],
)
def test_numbers(value, unit, text):
    assert tables.number(value, unit) == text


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.text("abc _-=:", max_size=90), min_size=3, max_size=3), max_size=4),
    st.lists(st.text("abc_ ", min_size=1, max_size=80), min_size=3, max_size=3, unique=True),
    st.integers(20, 72),
    st.integers(0, 2),
)
def test_tables_fit_and_cut_nothing_off(rows, heads, width, keys):
    df = pd.DataFrame(rows, columns=heads, dtype=object)
    text = tables.text_table(df, "A title that is longer than that", width, keys=keys)
    assert max(map(len, text.split("\n"))) <= width
    assert all(line == line.rstrip() for line in text.split("\n"))
    for letter in "abc":
        wanted = sum(str(cell).count(letter) for cell in [*heads, *(c for r in rows for c in r)])
        assert text.count(letter) - "A title that is longer than that".count(letter) >= wanted


def test_tables_name_units_and_repeat_keys():
    df = pd.DataFrame({"design": DESIGNS, **{f"metric {k}": np.arange(11) * 10**k for k in range(12)}})
    text = tables.text_table(df.assign(iops=1.5e5), "All", units={"metric 3": "ns"})
    blocks = text.split("\n\n")[1:]
    assert len(blocks) > 1 and all(d in block for d in DESIGNS for block in blocks)
    assert "iops [1/s]" in text and "10us" in text


def test_module_needs_no_display_and_leaves_settings_alone():
    code = (
        "import json, sys, matplotlib; before = dict(matplotlib.rcParams);"
        "import workbench.charts; print(json.dumps([before == dict(matplotlib.rcParams),"
        "'matplotlib.pyplot' in sys.modules, 'seaborn' in sys.modules]))"
    )
    root = Path(charts.__file__).parent.parent.parent
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == [True, False, False]
