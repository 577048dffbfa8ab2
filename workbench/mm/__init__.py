"""The kernel's objects and what happens to them, in the kernel's words."""
