"""What the lessons have in common: plots, a simulation and its explorer, layers, style."""
