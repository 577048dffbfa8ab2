"""Trackers: one file for each answer to "is this page pinned?", behind the protocol of protocol.py."""
