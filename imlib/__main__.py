"""``python -m imlib``: the command line where the console script is not on the PATH."""

import sys

from imlib.cli import main

sys.exit(main())
