"""What a notebook shows and lets one move: the explorers of three scenarios, and a player for counterexamples.

``explorer("direct-io", designs=[...])`` has a slider or menu for each parameter; ``player(verdict, hazard)`` steps
through a trace. Both are ipywidgets, made of native controls, and need a notebook only to be seen. (`workbench.explore`
is the search of every interleaving; these are for looking.)
"""

from workbench.widgets.explorers import Explorer, explorer
from workbench.widgets.players import Player, player

__all__ = ["Explorer", "Player", "explorer", "player"]
