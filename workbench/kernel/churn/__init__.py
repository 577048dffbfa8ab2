"""Churn: the places in a kernel's sources that a tracker makes one touch, counted in parsed C."""
