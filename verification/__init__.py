"""Analytic checks: the drivers of the workbench against formulas that others have proved.

``make verify`` or ``python -m verification`` runs them all. A file per check, each with its formula, where that comes
from, what is simulated so that the formula holds, and what is compared: `littles_law`, `device_queue`, `lock_queue`,
`false_pins`, `dirty_pages`, `split_ranges`, `batched_release`. `estimates` has the confidence intervals, `stage` the
runs by the clock, `report` the tables and figures.
"""
