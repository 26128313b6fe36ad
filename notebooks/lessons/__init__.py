"""What the lessons have in common: the course's plots, its simulation, the explorer, the style."""
