"""Every interleaving of a small world: states kept once, breadth first."""
