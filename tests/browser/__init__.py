"""What a reader holds in hand, opened in chromium: the pages of the tour, and the notebooks in
JupyterLab.
"""
