"""Explorers and player without a browser: what controls say is what is simulated, drawn and copied."""

import html
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import ipywidgets
import numpy as np
import pytest
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

from workbench import charts, cli, simulate
from workbench.errors import UsageError
from workbench.lab import PromptConnection
from workbench.results import UNITS
from workbench.scenarios import ALL
from workbench.scenarios.base import Parameter
from workbench.sweep import spec
from workbench.tables import number
from workbench.verdict import HazardVerdict, TraceStep, Verdict
from workbench.widgets import explorer, player, sketch
from workbench.widgets.controls import control, steps, value_of
from workbench.widgets.views import SCENES, Picture, publish

BIAS = "tracker=bias,cleaning=skip/wait"
SMALL = {
    "direct-io": {"ios": 40, "qd": 4, "size_kib": 16},
    "rdma-longterm": {"pages": 2048, "duration_s": 20.0, "sync_s": 5.0},
    "virtual-vma": {"ranges": 20, "ops": 20},
}
DESIGNS = {
    "direct-io": [BIAS],
    "rdma-longterm": [BIAS, "v6.12"],
    "virtual-vma": ["tracker=bias", "tracker=vma-common:release=count"],
}


@pytest.fixture
def direct(tmp_path):
    made = explorer("direct-io", [BIAS], folder=tmp_path, **SMALL["direct-io"])
    made.update()
    return made


def status(shown):
    return html.unescape(re.sub("<[^>]*>", "", shown._status.value))


# ---- the server


def test_the_server_of_make_lab_sends_at_once(monkeypatch):
    said = []
    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "connect", lambda _: "connected")
    monkeypatch.setattr(PromptConnection, "websocket_handler", SimpleNamespace(set_nodelay=said.append))
    assert PromptConnection.__new__(PromptConnection).connect() == "connected"
    assert said == [True]
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    assert f"workbench.lab.{PromptConnection.__name__}" in makefile and "--ip 127.0.0.1" in makefile
    assert not re.search("token|password|allow_unauthenticated|allow_origin|disable_check_xsrf", makefile, re.I)


# ---- controls


@pytest.mark.parametrize(("scenario", "name"), [(s, p.name) for s in SCENES for p in ALL[s].PARAMETERS])
def test_every_parameter_has_a_control_that_gives_its_default(scenario, name):
    parameter = next(p for p in ALL[scenario].PARAMETERS if p.name == name)
    made = control(parameter)
    value = value_of(parameter, made)
    assert value == parameter.default and type(value) is type(parameter.default)
    assert parameter.help in made.tooltip
    if isinstance(made, ipywidgets.SelectionSlider):
        places = [place for _, place in made.options]
        assert places == sorted(set(places)) and len(places) > 5
        assert (places[0], places[-1]) == (parameter.low, parameter.high)
        assert [parameter.check(place) for place in places] == places
        assert all(parameter.unit in ("1", *text.split(" ", 1)) for text, _ in made.options if parameter.unit)


def test_what_control_fits_what_range():
    depth = Parameter("qd", 64, "direct IOs", "in flight", 1, 1024)
    assert steps(depth, 100) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 384, 512, 768, 1024]
    size = Parameter("extent_kib", 0, "KiB", "size", 0, 128)
    assert steps(size, 0) == [0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    time = Parameter("us", 82.0, "us", "time", 0.1, 100.0)
    assert steps(time, 82.0)[:7] == [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0] and 82.0 in steps(time, 82.0)
    away = Parameter("away_s", 1.0, "s", "time", -1.0, 1e3)
    assert steps(away, 1.0)[:3] == [-1.0, 0.0, 0.01]
    share = control(Parameter("share", 0.5, "1", "of all", 0.0, 0.95))
    assert (type(share), share.step, share.readout_format) == (ipywidgets.FloatSlider, 0.01, ".2f")
    assert type(control(Parameter("few", 3, "", "of them", 0, 15))) is ipywidgets.IntSlider
    assert type(control(Parameter("flag", 1, "", "on", 0, 1))) is ipywidgets.Checkbox
    assert type(control(Parameter("file", "", "", "name"))) is ipywidgets.Text
    with pytest.raises(UsageError, match="qd: 0 is out of range"):
        control(depth, 0)


def test_sliders_that_add_up_small_steps_give_round_values():
    share = Parameter("share", 0.5, "1", "of all", 0.0, 0.95)
    made = control(share)
    made.value = 0.1 + 0.2
    assert value_of(share, made) == 0.3


# ---- explorer


@pytest.mark.parametrize("scenario", SCENES)
def test_what_is_shown_is_what_simulate_gives(scenario, tmp_path):
    shown = explorer(scenario, DESIGNS[scenario], folder=tmp_path, **SMALL[scenario])
    shown.update()
    expected = {d: simulate(scenario, d, **(SCENES[scenario].start | SMALL[scenario])) for d in DESIGNS[scenario]}
    assert list(shown.results) == list(expected)
    for design, result in expected.items():
        assert shown.results[design].metrics == pytest.approx(result.metrics, nan_ok=True)
    for name in SCENES[scenario].metrics:
        unit = UNITS[name].unit
        cells = "".join(
            f'<td style="text-align:right;padding:1px 6px">{number(r.metrics[name], unit)}</td>'
            for r in expected.values()
        )
        assert cells in shown._table.value, name
    for name in SCENES[scenario].views:
        shown._view.value = name
        picture = shown.view.picture(shown.results)
        drawn = shown._picture.value
        assert ElementTree.fromstring(drawn.replace("<wbr>", "")) is not None
        if picture.empty:
            assert picture.note in drawn
            with pytest.raises(UsageError, match="nothing to draw"):
                shown.figure()
        else:
            assert f'aria-label="{shown.view.title}"' in drawn
            figure, text = shown.figure()
            assert shown.view.title in text.replace("\n", " ")


def test_a_move_simulates_draws_and_counts_again(direct):
    drawn, table = direct._picture.value, direct._table.value
    direct.controls["qd"].value = 8
    assert direct._picture.value != drawn and direct._table.value != table
    assert direct.results[BIAS].parameters["qd"] == 8
    assert "qd=8" in status(direct)
    assert direct.given == {"ios": 40, "qd": 8, "size_kib": 16}


def test_pictures_have_the_units_that_their_axes_say(direct):
    views, result = SCENES["direct-io"].views, direct.results[BIAS]
    latency = views["latency"].picture(direct.results)
    assert charts.percentile(*latency.curves[BIAS], 5000) == pytest.approx(result.metrics["latency_p50_ns"])
    assert latency.xunit == "ns"
    times, pinned = views["pinned"].picture(direct.results).curves[BIAS]
    assert times.max() <= result.metrics["simulated_ps"] and pinned.max() == 4 * 4


def test_the_same_values_are_run_once(direct, monkeypatch):
    ran = []
    monkeypatch.setattr(
        "workbench.widgets.explorers.run", lambda *a, **k: (ran.append((a[1], k["seed"])), simulate(*a, **k))[1]
    )
    direct._view.value = "pinned"
    assert ran == []
    direct.picks["v6.12"].value = True
    assert ran == [("v6.12", 1)]
    direct._seed.value = 2
    assert ran[1:] == [(BIAS, 2), ("v6.12", 2)]
    direct.picks[BIAS].value = False
    assert list(direct.results) == ["v6.12"] and len(ran) == 3


def test_what_can_not_be_is_one_line_and_the_figure_stays(direct):
    drawn = direct._picture.value
    direct.controls["threads"].value = 2
    assert status(direct) == "parameter threads: 2 are more than there are CPUs (1)"
    assert direct._picture.value == drawn and "color:var(--jp-error" in direct._status.value
    direct.controls["threads"].value = 0
    assert status(direct).startswith("Model;")
    direct.controls["latencies"].value = "none.csv"
    assert "none.csv" in status(direct) and "\n" not in status(direct)
    direct.controls["latencies"].value = ""
    direct.picks[BIAS].value = False
    assert status(direct) == "no design is picked"
    assert direct.command_line.endswith("--set qd=4 size_kib=16 ios=40")


def test_a_failure_is_one_line_too(direct, monkeypatch):
    def fails(*_, **__):
        raise MemoryError("too\nlarge")

    monkeypatch.setattr("workbench.widgets.explorers.run", fails)
    direct.controls["qd"].value = 8
    assert status(direct) == "MemoryError: too large"


def test_designs_can_be_typed_in(direct):
    direct._typed.value = "v5.7"
    assert direct.designs == [BIAS, "v5.7"] and direct._typed.value == ""
    assert list(direct.results) == [BIAS, "v5.7"]
    direct._typed.value = "v5.8"
    assert status(direct).startswith("design 'v5.8': did you mean")
    direct._typed.value = BIAS
    assert direct.designs == [BIAS, "v5.7"]


def test_compiling_is_announced(monkeypatch, tmp_path):
    said = []
    shown = explorer("direct-io", [BIAS], folder=tmp_path, **SMALL["direct-io"])
    monkeypatch.setattr("workbench.widgets.explorers._compiled", set())
    shown._status.observe(lambda change: said.append(change["new"]), "value")
    shown.update()
    assert [f"compiling the engine for {BIAS}" in text for text in said] == [True, False]
    shown._slow = True
    shown.controls["qd"].value = 8
    assert f"running {BIAS}" in said[2] and len(said) == 4


def test_it_runs_when_it_is_shown(tmp_path):
    shown = explorer("direct-io", [BIAS], folder=tmp_path, **SMALL["direct-io"])
    shown.controls["qd"].value = 8
    assert shown._picture.value == ""
    assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()
    assert "<svg" in shown._picture.value
    assert repr(shown) == f"explorer of direct-io: {BIAS}"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: explorer("golden-race"), "scenario 'golden-race' has no explorer"),
        (lambda: explorer("direct-io", ["v4.18"]), "design 'v4.18': did you mean"),
        (lambda: explorer("direct-io", qdd=1), "no parameter 'qdd': did you mean 'qd'"),
        (lambda: explorer("direct-io", qd=0), "parameter qd: 0 is out of range"),
        (lambda: explorer("direct-io", view="latencies"), "view 'latencies': did you mean 'latency'"),
    ],
)
def test_wrong_calls(call, says):
    with pytest.raises(UsageError, match=says):
        call()


# ---- what can be copied and saved


@pytest.mark.parametrize(
    ("scenario", "moves"),
    [
        ("direct-io", {"jitter": 0.3, "latency_us": 1.5, "dio": "iomap", "overlap": 0.25}),
        ("rdma-longterm", {"pinned_share": 0.31, "away_s": -1.0, "mlocked": "yes"}),
        ("virtual-vma", {"placement": "random", "node_ns": 0.15}),
    ],
)
def test_copied_texts_make_the_same_results(scenario, moves, tmp_path, monkeypatch):
    seen = []
    shown = explorer(scenario, DESIGNS[scenario], seed=3, folder=tmp_path, **(SMALL[scenario] | moves))
    shown.update()
    monkeypatch.setattr(cli, "_print_results", lambda results, _walk: seen.extend(results))
    words = shlex.split(shown.command_line)
    assert words[0] == "workbench" and cli.main(words[1:]) == 0
    assert [r.design for r in seen] == DESIGNS[scenario]
    for result in seen:
        mine = shown.results[result.design]
        assert (mine.parameters, mine.seed, mine.counters) == (result.parameters, result.seed, result.counters)
        assert mine.metrics == pytest.approx(result.metrics, nan_ok=True)
    path = tmp_path / "s.toml"
    path.write_text(shown.sweep_spec)
    batch = spec.read(path)
    assert [(p.scenario, p.design, p.seed, p.given) for p in batch.points] == [
        (scenario, design, 3, shown.given) for design in DESIGNS[scenario]
    ]
    assert shown.command_line.replace("'", "&#x27;").replace("&#x27;", "") in re.sub(
        "&#x27;", "", shown._texts.value
    ).replace("'", "")


def test_a_cost_table_of_ones_own_is_in_the_command(direct, monkeypatch):
    assert "--costs" not in direct.command_line
    monkeypatch.setenv("WORKBENCH_COSTS", "my own.json")
    assert direct.command_line.endswith("--costs 'my own.json'")


def test_texts_are_quoted():
    from workbench.widgets.texts import boxes, command_line, sweep_spec

    assert shlex.split(command_line("s", ["tracker=a b.py:T"], {"trace": 'x"y'}, 1))[-1] == 'trace=x"y'
    assert 'trace = ["x\\"y"]' in sweep_spec("s", ["d"], {"trace": 'x"y', "a": 3.0, "b": 2, "c": 1e300}, 1)
    assert "<script>" not in boxes("<script>", "</textarea><script>")


def test_a_saved_figure_says_what_made_it(direct, tmp_path):
    direct._shown(direct._save)
    paths = sorted(tmp_path.iterdir())
    (picture,) = (p for p in paths if p.suffix == ".svg")
    assert status(direct) == f"saved {picture}, and beside it .pdf, .png, .txt"
    made_by = charts.read_provenance(picture)
    assert made_by["parameters"] == direct.results[BIAS].parameters and made_by["design"] == BIAS
    assert made_by["sources"] == [direct.command_line]
    before = {p: p.read_bytes() for p in tmp_path.glob("*.*")}
    direct.save()
    assert {p: p.read_bytes() for p in tmp_path.glob("*.*")} == before
    direct.controls["qd"].value = 8
    direct.save()
    assert len(list(tmp_path.glob("*.svg"))) == 2


def test_a_folder_that_can_not_be_written(direct, tmp_path):
    (tmp_path / "file").touch()
    direct.folder = tmp_path / "file"
    direct._shown(direct._save)
    assert str(tmp_path / "file") in status(direct) and "\n" not in status(direct)


# ---- the live figure


def points_of(path):
    """Corners of a path of H and V."""
    x, y = (float(v) for v in re.match(r"M([\d.]+) ([\d.]+)", path).groups())
    found = [(x, y)]
    for a, b in re.findall(r"H([\d.]+)V([\d.]+)", path):
        found.append((float(a), float(b)))
    return found


def test_steps_are_drawn_where_they_are():
    times, values = np.array([0.0, 10.0, 40.0]), np.array([0.0, 20.0, 5.0])
    drawn = sketch.draw(Picture("steps", {"bias": (times, values)}, "time", "pages", "ps"))
    (line,) = re.findall(r'd="([^"]*)" fill="none" stroke="#CC79A7"', drawn.split("</svg>")[0])
    x0, x1 = sketch.LEFT, sketch.WIDTH - sketch.RIGHT
    y0, y1 = sketch.HEIGHT - sketch.BOTTOM, sketch.TOP
    expected = [(x0 + (x1 - x0) * t / 40, y0 + (y1 - y0) * v / 21) for t, v in zip(times, values, strict=True)]
    assert points_of(line)[-3:] == [pytest.approx(p, abs=0.06) for p in expected]


def test_shares_above_are_drawn_where_they_are():
    drawn = sketch.draw(Picture("ccdf", {"bias": (np.array([100.0, 1000.0]), np.array([9, 1]))}, "t", "share", "ns"))
    (line,) = re.findall(r'd="([^"]*)" fill="none" stroke="#CC79A7"', drawn.split("</svg>")[0])
    bottom, top = sketch.HEIGHT - sketch.BOTTOM, sketch.TOP
    above, tail = sketch.Axis(0.07, 1.3, bottom, top, True, "share").place(np.array([1.0, 0.1]))
    left, right = sketch._spread(100.0, 1000.0, "ns").place(np.array([100.0, 1000.0]))
    expected = [(left, above), (left, tail), (right, bottom)]
    assert [p for p in points_of(line) if p != points_of(line)[0]] == [pytest.approx(p, abs=0.06) for p in expected[1:]]
    assert points_of(line)[0] == pytest.approx(expected[0], abs=0.06)


def test_bars_have_their_heights_and_gaps():
    curves = {"bias": (np.arange(2), np.array([10.0, np.nan])), "none": (np.arange(2), np.array([5.0, 0.0]))}
    drawn = sketch.draw(Picture("bars", curves, "", "time", yunit="ns", groups=("pin", "unpin")))
    bars = re.findall(r'<rect [^>]*height="([\d.]+)" fill="(#\w+)"', drawn)
    whole = (sketch.HEIGHT - sketch.BOTTOM - sketch.TOP) / 1.12
    assert [(colour, float(tall)) for tall, colour in bars] == [
        ("#000000", pytest.approx(whole / 2, abs=0.06)),
        ("#CC79A7", pytest.approx(whole, abs=0.06)),
        ("#000000", 0.0),
    ]


@pytest.mark.parametrize(
    ("low", "high", "log", "unit", "expected"),
    [
        (0.0, 100.0, False, "1", [0, 20, 40, 60, 80, 100]),
        (0.0, 100.0 * 2**20, False, "B", [k * 32 * 2**20 for k in range(4)]),
        (50.0, 400.0, True, "ns", [50, 100, 200]),
        (1.0, 1e8, True, "ns", [10.0**k for k in range(0, 9)]),
        (0.002, 1.3, True, "share", [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]),
        (100.0, 120.0, True, "ns", [100, 105, 110, 115, 120]),
    ],
)
def test_ticks_are_round(low, high, log, unit, expected):
    assert sketch.Axis(low, high, 0, 1, log, unit).ticks() == pytest.approx(expected)


def test_nothing_to_draw_is_said():
    empty = Picture("ccdf", {"bias": (np.array([]), np.array([], np.int64))}, "t", "share")
    assert empty.note in sketch.draw(empty)
    with pytest.raises(UsageError, match="T: nothing to draw"):
        publish(empty, "T", "model")


# ---- player

TRACE = (
    TraceStep("dio/0", "dio", "gup_pages", 0, "PG_lru PG_cached PTE_present", 3, 0, 1),
    TraceStep("flusher", "flusher", "page_mkclean", 0, "PG_lru PG_cached PG_dirty", 3, 0, 1),
    TraceStep("device", "device", "finish read", 1, "PG_cached", 2, -1, 0, "newer than disk", ("unstable-write",)),
)


def shown_of(played):
    """Step that stands out, and what is said of the world after it."""
    (row,) = re.findall(r'<tr [^>]*aria-current="step">(.*?)</tr>', played._diagram.value)
    return re.sub("<[^>]*>", "|", row), re.sub("<[^>]*>", "|", played._after.value)


def test_player_goes_forwards_and_back():
    played = player(TRACE)
    row, after = shown_of(played)
    assert "gup_pte_range()" in row and "step 1 of 3: dio/0" in after and "dio.gup_pages" in after
    assert "|PTE_present|" in after and "PG_dirty" not in after
    played.buttons["back"].click()
    assert played.place.value == 1
    played.buttons["forward"].click()
    row, after = shown_of(played)
    assert "page_mkclean()" in row and "dirty" in row and "|PG_dirty|" in after
    assert "text-decoration:line-through" in played._after.value  # PTE_present has gone
    played.buttons["last"].click()
    row, after = shown_of(played)
    assert "DMA into the page" in row and "unstable-write" in row and "unstable-write" in after
    assert "page 1" in after and "page 0" in after and "|newer than disk|" in after
    played.buttons["forward"].click()
    assert played.place.value == 3
    played.buttons["first"].click()
    assert played.place.value == 1
    played.place.value = 2
    assert "step 2 of 3" in shown_of(played)[1]


def test_player_has_a_lane_per_actor_and_the_colours_of_the_figure():
    played = player(TRACE, "a title")
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)<', played._diagram.value)
    assert heads == ["dio/0", "flusher", "device", "page is then"]
    colours = charts.state_colours(str(event["state"]) for event in played._events)
    assert set(re.findall(r"background:(#\w+)", played._diagram.value)) == set(colours.values())
    assert "a title" in played._diagram.value and repr(played) == "player of 3 steps: a title"


def test_a_long_trace_is_shown_around_the_present_step():
    played = player(TRACE * 20)
    assert played._diagram.value.count("<tr") == 16 and "45 after these" in played._diagram.value
    played.place.value = 30
    assert "22 before these, 23 after these" in played._diagram.value
    played.buttons["last"].click()
    assert shown_of(played)[0].startswith("|60|") and "45 before these" in played._diagram.value


def verdict(**hazards):
    return Verdict("golden-race", "v4.17", {}, True, False, 1, 1, 1, 0.0, 0.0, hazards)


def test_player_of_a_verdict():
    reached, safe = HazardVerdict("reachable", 3, TRACE), HazardVerdict("unreachable")
    played = player(verdict(stall=reached, deadlock=safe))
    assert played.steps == TRACE and "stall: golden-race under v4.17" in played._diagram.value
    assert player(verdict(stall=reached, deadlock=reached), "deadlock").title.startswith("deadlock")
    assert player(reached, "stall").title == "stall" and player(reached).title == ""
    for call, says in (
        (
            lambda: player(verdict(stall=reached, deadlock=reached)),
            "name a hazard; counterexamples of: stall, deadlock",
        ),
        (lambda: player(verdict(stall=safe)), "name a hazard; counterexamples of: none"),
        (lambda: player(verdict(stall=safe), "stal"), "hazard 'stal': did you mean 'stall'"),
        (lambda: player(verdict(stall=safe), "stall"), "stall in golden-race under v4.17: unreachable"),
        (lambda: player([]), "an empty trace"),
    ):
        with pytest.raises(UsageError, match=says):
            call()
