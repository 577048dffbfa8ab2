"""Published measurements that the model is held against, and whether each sets the model or tests it.

All are fio runs of 4 KiB O_DIRECT reads (libaio, one job, depth 64) on a Samsung 970 EVO, and one of gup_test.
An anchor that *sets* an entry of `workbench.costs` or a device parameter is met as far as the model's own
interrupts and queues let it; the others are predictions. They were printed rounded: 193 k and 194 k IOPS are
known to 0.3 % each.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from workbench.costs import (
    BASE_CPU_SHARE,
    BASE_IOPS,
    BASE_SLAT_NS,
    BOUNCED_1M_SYS,
    BOUNCED_4K_MIB_S,
    OFF_LRU_SLAT_NS,
    WRITE_1M_MIB_S,
    WRITE_1M_SYS,
    WRITE_4K_MIB_S,
    CostTable,
    in_use,
)
from workbench.sizes import size_of
from workbench.tables import number

# What is run for each of them: Kara's fio job, legacy direct IO, the device set to saturate at 194 k IOPS.
PARAMETERS: dict[str, Any] = {"dio": "legacy", "op": "read", "size_kib": 4, "qd": 64, "cpus": 1}
BASE, OFF_LRU, BIAS = "none", "lru-count", "bias"
OFF_LRU_RUNS = "Hubbard 2018-11-29, f5ad7210-05e0-3dc4-02df-01ce5346e198@nvidia, 4.20-rc3"
BIAS_RUNS = "Hubbard 2019-02-05, 80d503f5-038b-7f0b-90d5-e5b9537ae1df@nvidia, 5.0-rc5"
MARTINS = "Martins 2021-02-12, gup_test -m 16384 -n 512 -w"


class Anchor(NamedTuple):
    """One published figure.

    Attributes
    ----------
    name : str
    tracker : str
        Tracker whose run it is compared with.
    metric : str
        Name in `workbench.results.UNITS`.
    against : str
        ``""``: the value itself; ``difference``: to the run of `BASE`; ``ratio``: to it, less 1.
    published : float
    unit : str
        Of `published`, as in `workbench.results.UNITS`; ``%`` of the base; ``pp`` of one CPU's time.
    sets : str
        What it sets in the model; empty for a prediction.
    source : str
    note : str
        What makes the comparison less than exact.
    """

    name: str
    tracker: str
    metric: str
    against: str
    published: float
    unit: str
    sets: str
    source: str
    note: str = ""


ANCHORS = (
    Anchor("IOPS without tracking", BASE, "iops", "", BASE_IOPS, "1/s",
           "device: 16 units, 82 us and 0.3 us per page", OFF_LRU_RUNS),
    Anchor("slat without tracking", BASE, "slat_ns", "", BASE_SLAT_NS, "ns", "SUBMIT_IO", OFF_LRU_RUNS),
    Anchor("CPU time without tracking", BASE, "cpu_utilisation", "", 100 * BASE_CPU_SHARE, "pp", "REAP",
           OFF_LRU_RUNS, "usr 18.2 % and sys 44.8 %"),
    Anchor("slat, off-LRU", OFF_LRU, "slat_ns", "difference", OFF_LRU_SLAT_NS - BASE_SLAT_NS, "ns", "LRU_ISOLATE",
           OFF_LRU_RUNS),
    Anchor("IOPS, off-LRU", OFF_LRU, "iops", "ratio", -0.5, "%", "", OFF_LRU_RUNS,
           "the device saturates: this hides CPU time"),
    Anchor("sys time, off-LRU", OFF_LRU, "cpu_utilisation", "difference", 3.3, "pp", "", OFF_LRU_RUNS,
           "the model has no usr time apart"),
    Anchor("usr and sys time, off-LRU", OFF_LRU, "cpu_utilisation", "difference", 1.4, "pp", "", OFF_LRU_RUNS,
           "usr fell by 1.9 pp, which no mechanism explains"),
    Anchor("slat, bias", BIAS, "slat_ns", "difference", 12.0, "ns", "", BIAS_RUNS,
           "within the noise of the measurement (sd 535 ns)"),
    Anchor("sys time, bias", BIAS, "cpu_utilisation", "difference", 0.22, "pp", "", BIAS_RUNS),
    Anchor("IOPS, bias", BIAS, "iops", "ratio", 0.0, "%", "", BIAS_RUNS, "193 k in both, as printed"),
    Anchor("release of a page, bias", BIAS, "put_ns", "", 20.9, "ns", "", MARTINS,
           "one by one; held against the calibrated PUT_PAGE and an atomic, not against a run"),
)  # fmt: skip


class Overflow(NamedTuple):
    """A published or derived overflow of a folio's counts.

    Attributes
    ----------
    name : str
    tracker : str
    subpages : int
        Pages of the folio.
    count_max : int
        Greatest value of a count.
    at : int
        The pin of the whole folio at which a count runs over.
    source : str
    """

    name: str
    tracker: str
    subpages: int
    count_max: int
    at: int
    source: str


SIGNED, UNSIGNED = 2**31 - 1, 2**32 - 1  # of an atomic_t, read as int or as unsigned int
OVERFLOWS = (
    Overflow("4 KiB page", BIAS, 1, SIGNED, 2**21, "21 bits: v6.12 Documentation/core-api/pin_user_pages.rst"),
    Overflow("4 KiB page, unsigned", BIAS, 1, UNSIGNED, 2**22, "about 4M: Hubbard 2019-02-03, "
             "20190204052135.25784-1-jhubbard"),
    Overflow("2 MiB folio, no exact count", BIAS, 512, SIGNED, 4096, "derived: 512 x 1024 = 2^19 for each pin; met by "
             "Romanovsky 2019-12-19, 20191219132607.GA410823@unreal"),
    Overflow("1 GiB folio, no exact count", BIAS, 512 * 512, SIGNED, 8, "about 8 references: Hubbard 2019-12-16, "
             "FOLL_PIN v11, pin_user_pages.rst"),
)  # fmt: skip


def held_against(metrics: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Compare runs with what was published.

    Parameters
    ----------
    metrics : mapping
        By tracker (`BASE`, `OFF_LRU`, `BIAS`), the metrics of a run with `PARAMETERS`, and ``put_ns``: what
        releasing a page costs.

    Returns
    -------
    DataFrame
        A row for each anchor: ``anchor``, ``published``, ``model``, ``off`` (model less published, all three
        in `unit`), ``unit``, ``sets``, ``source``, ``note``.
    """
    rows = []
    for anchor in ANCHORS:
        model = float(metrics[anchor.tracker][anchor.metric])
        base = float(metrics[BASE][anchor.metric]) if anchor.against else 0.0
        if anchor.against == "ratio":
            model = 100 * (model / base - 1)
        else:
            model = (model - base) * (100 if anchor.unit == "pp" else 1)
        rows.append(
            {
                "anchor": anchor.name,
                "published": anchor.published,
                "model": model,
                "off": model - anchor.published,
                **{name: getattr(anchor, name) for name in ("unit", "sets", "source", "note")},
            }
        )
    return pd.DataFrame(rows)


PAGES_IN_BATCH = 512  # gup_test -n 512: pages of one call, all of one huge page
STREAM_GB_PER_S = (16.0, 8.0)  # assumed: what one core reads from memory in order; the machine is not told


def batched_release(costs: CostTable | None = None) -> pd.DataFrame:
    """Predict what releasing a page costs, one by one and by runs of one folio, and hold it against `MARTINS`.

    One by one each page costs ``PUT_PAGE`` and an ``ATOMIC``, as every release of the model does; both are known from
    another machine and kernel. By runs these two come once in `PAGES_IN_BATCH` pages, and what is left per page is the
    loop that looks for the end of the run (v5.13 mm/gup.c compound_next): it reads the array's pointer and the
    ``struct page``, whose 16 GiB have 256 MiB of them, more than a cache. So its cost is taken as these bytes at the
    rate `STREAM_GB_PER_S`, which is an assumption and makes a range. Nothing is fitted to the figures compared.

    Parameters
    ----------
    costs : CostTable, optional
        `costs.in_use` by default.

    Returns
    -------
    DataFrame
        A row for each figure: ``release``, ``low`` and ``high`` (the model), ``published`` [ns per 4 KiB page], and
        ``from``: what it rests on. The row of ``only the atomic`` is what would be left if batching saved nothing else.
    """
    entries = (in_use() if costs is None else costs).entries
    put, atomic = entries["PUT_PAGE"].ns, entries["ATOMIC"].ns
    once = (put + atomic) / PAGES_IN_BATCH
    low, high = (once + (size_of("struct page") + size_of("pointer")) / rate for rate in STREAM_GB_PER_S)
    unbatched = put + atomic / PAGES_IN_BATCH
    rows = [
        ("one by one", put + atomic, put + atomic, 20.9, "PUT_PAGE calibrated, ATOMIC assumed"),
        ("by runs, THP", low, high, 5.5, "memory bandwidth assumed"),
        ("by runs, 1 GiB hugetlb", low, high, 6.6, "memory bandwidth assumed"),
        ("by runs, only the atomic saved", unbatched, unbatched, 5.5, "PUT_PAGE calibrated, ATOMIC assumed"),
    ]
    return pd.DataFrame(rows, columns=["release", "low", "high", "published", "from"])


# Bounced direct IO, io_uring at depth 16: bytes of an IO, op, throughput [MiB/s] without and with bouncing.
_BOUNCED = (
    (4, "read", 1316, 1081),
    (64, "read", 3370, 3365),
    (1024, "read", 3401, 3400),
    (4, "write", WRITE_4K_MIB_S, BOUNCED_4K_MIB_S),
    (64, "write", 2009, 2007),
    (1024, "write", WRITE_1M_MIB_S, WRITE_1M_MIB_S),
)
_WRITE_64K_SYS = (15.8, 24.7)  # time in the kernel [% of one CPU], without and with bouncing


def bounced(costs: CostTable | None = None) -> pd.DataFrame:
    """Predict what bouncing does to throughput, and hold it against Hellwig's measurements of bounced direct IO.

    One CPU submits, and is what limits IOs of 4 KiB (*assumed*); larger ones the device limits. An IO takes the time
    that was published without bouncing, or what its CPU needs, whichever is more: the time of a 4 KiB IO, which is all
    the CPU's, a ``BIO_PAGE`` for each further page, a ``BOUNCE_COPY`` per page and a ``BOUNCE_BIO``. The last two are
    set by the writes of 4 KiB and 1 MiB; all else is a prediction.

    Parameters
    ----------
    costs : CostTable, optional
        `costs.in_use` by default.

    Returns
    -------
    DataFrame
        A row for each figure: ``size_kib``, ``op``, ``what`` (``throughput`` [% of what it is without bouncing, less
        100] or ``sys`` [pp]), ``published``, ``model``, ``sets`` (the entry of the cost table that it sets, or empty).
    """
    cost = {name: entry.ns for name, entry in (in_use() if costs is None else costs).entries.items()}
    period = {(kib, op): kib / 1024 / rate * 1e9 for kib, op, rate, _ in _BOUNCED}

    def extra(kib: int) -> float:
        return kib / 4 * cost["BOUNCE_COPY"] + cost["BOUNCE_BIO"]

    rows = []
    for kib, op, rate, with_bounce in _BOUNCED:
        busy = period[4, op] + (kib / 4 - 1) * cost["BIO_PAGE"] + extra(kib)
        model = 100 * (period[kib, op] / max(period[kib, op], busy) - 1)
        sets = "BOUNCE_BIO" if (kib, op) == (4, "write") else ""
        rows.append((kib, op, "throughput", 100 * (with_bounce / rate - 1), model, sets))
    published = _WRITE_64K_SYS[1] - _WRITE_64K_SYS[0]
    rows.append((64, "write", "sys", published, 100 * extra(64) / period[64, "write"], ""))
    published = 100 * (BOUNCED_1M_SYS - WRITE_1M_SYS)
    rows.append((1024, "write", "sys", published, 100 * extra(1024) / period[1024, "write"], "BOUNCE_COPY"))
    return pd.DataFrame(rows, columns=["size_kib", "op", "what", "published", "model", "sets"])


def in_words(value: float, unit: str, signed: bool = False) -> str:
    """Write one figure of `held_against` with its unit.

    Parameters
    ----------
    value : float
    unit : str
    signed : bool
        Put a plus before what is positive.
    """
    value = round(value, 2 if unit in ("%", "pp") else 1) + 0.0  # no negative zero
    sign = "+" if signed and value > 0 else ""
    return sign + (f"{value:.2f} {unit}" if unit in ("%", "pp") else number(value, unit))
