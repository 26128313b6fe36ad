"""What make runs: the tour, the refresh of the notebooks' outputs, the set-up."""
