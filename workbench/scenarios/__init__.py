"""Scenarios: one file each, with its actors and its parameters."""
