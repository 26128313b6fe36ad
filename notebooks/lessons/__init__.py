"""What the lessons have in common: plots, the simulation and its explorer, the layers, the style."""
