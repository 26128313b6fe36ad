"""Phones that are one but for a leading +: told while they are read, for they are masked then."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_KEPT = 1_000


class PhoneTwins:
    """Collects users' phones as numbers from which nobody reads them."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int64]] = []
        self._hashes: list[NDArray[np.uint64]] = []

    def add(self, ids: pa.Array, phones: pa.Array) -> None:
        """Take in a batch of ids and phones; where phones are no text none begins with a +."""
        if not (pa.types.is_large_string(phones.type) and pa.types.is_integer(ids.type)):
            return
        told = pc.fill_null(pc.not_equal(phones, ""), fill_value=False)
        bare = pc.utf8_ltrim(phones.filter(told), "+").to_numpy(zero_copy_only=False)
        self._ids.append(ids.filter(told).to_numpy(zero_copy_only=False).astype(np.int64))
        self._hashes.append(pd.util.hash_array(bare.astype(object), categorize=False))

    def pairs(self) -> list[list[int]]:
        """Return the ids of those whose phones are alike, at most 1,000 pairs."""
        if not self._ids:
            return []
        ids, hashes = np.concatenate(self._ids), np.concatenate(self._hashes)
        order = np.lexsort([ids, hashes])
        same = hashes[order][1:] == hashes[order][:-1]
        pairs = np.stack([ids[order][:-1], ids[order][1:]], axis=1)[same]
        return sorted(pairs[pairs[:, 0] != pairs[:, 1]].tolist())[:_KEPT]
