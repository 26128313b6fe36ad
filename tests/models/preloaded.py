"""What a fork server imports once: a deployment, connected before the server forks a child."""

from __future__ import annotations

import json
import os

from tests.models.processes import join, use

__all__ = ["use"]

# pytest imports every module of the tests.
if "IMLIB_TEST_URLS" in os.environ:
    join(*json.loads(os.environ["IMLIB_TEST_URLS"]))
