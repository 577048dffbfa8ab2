"""Memory at scale: up to 2**28 pages in bitmaps, run by run, for worlds that are too large to go page by page.

What happens, exactly, is docs/model.md §12. ``setup`` lays a world out, ``tick`` drives it, ``run`` makes a result.
"""
