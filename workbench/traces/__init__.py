"""Completions recorded on a real kernel: read them, sum them up, hand them to a replay."""

from workbench.traces.loading import load
from workbench.traces.parquet import write_parquet
from workbench.traces.replaying import ReplayInput, latency_sampler_table, replay
from workbench.traces.summary import overtakes, summarise
from workbench.traces.trace import FORMATS, Trace

__all__ = [
    "FORMATS",
    "ReplayInput",
    "Trace",
    "latency_sampler_table",
    "load",
    "overtakes",
    "replay",
    "summarise",
    "write_parquet",
]
