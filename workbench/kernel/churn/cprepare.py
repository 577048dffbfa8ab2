"""Idioms of the kernel that the grammar of C does not know, written otherwise before a file is parsed."""

import re

# A macro that stands where a loop does becomes a `while` of the same length, so that its body is a statement's.
_LOOP = re.compile(rb"((?:[;{}):]|\*/|\belse|\\)\s*)(\b\w*for_?each\w*)(?=\s*\()")
# Annotations are blanked: the grammar knows none of them.
_ANNOTATION = re.compile(
    rb"\b(?:__(?:init|exit|user|iomem|rcu|percpu|force|must_check|always_unused|maybe_unused|ref|meminit|initdata|sched"
    rb"|read_mostly|private|randomize_layout|ro_after_init|cold|kprobes|net_init|net_exit|always_inline|acquires\([\w&>.-]*\)"
    rb"|releases\([\w&>.-]*\)|must_hold\([\w&>.-]*\))|asmlinkage|notrace|noinline)(?!\w)"
)
# A type as an argument of a macro: list_entry(p, struct page, lru).
_TYPE_ARGUMENT = re.compile(rb"([(,]\s*)struct(?=\s+\w+\s*,)")


def prepared(text: bytes) -> bytes:
    """Write idioms of the kernel otherwise, without moving a byte.

    Loops by macro become ``while``, annotations and the word ``struct`` of a type argument become blanks.
    """
    text = _LOOP.sub(lambda m: m[1] + (b"while".ljust(len(m[2])) if len(m[2]) >= 5 else m[2]), text)
    text = _ANNOTATION.sub(lambda m: b" " * len(m[0]), text)
    return _TYPE_ARGUMENT.sub(lambda m: m[1] + b"      ", text)
