"""Batches of parameter points: read from a spec, run on Dask, kept in a store that outlives any interruption.

``lines``, ``units``, ``spec``: what is to be run, all of it checked before anything starts. ``points``: what tells one
point from another. ``store``: where results are kept. ``job``: what workers are told and answer. ``child``: the
processes that simulate. ``worker``: what runs on Dask. ``run``: the batch. ``listing``: stores read and compared.
"""
