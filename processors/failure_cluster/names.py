"""The texts of hashes, which records have in their place, and what resources say."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np

from pipeline.arrays import Column, unnest
from pipeline.columns import any_value_text
from pipeline.hashing import Hashes, combined, mixed, text_hashes


class Names:
    """Bounded: what nobody refers to any more is swept out."""

    def __init__(self, attributes: tuple[str, ...]) -> None:
        self._patterns = attributes
        self._wanted: dict[str, bool] = {}
        self.texts: dict[int, str] = {}
        self.resources: dict[int, tuple[tuple[str, str], ...]] = {}

    def hashes(self, texts: Column) -> Hashes:
        """Return the hash of each text, 0 for null and ""; new ones are remembered."""
        encoded = texts.dictionary_encode(null_encoding="encode")
        values = encoded.dictionary
        hashes = text_hashes(values)
        for place, number in enumerate(hashes.tolist()):
            if number not in self.texts:
                text = values[place].as_py()
                if not text:
                    hashes[place] = 0
                else:
                    self.texts[number] = text
        return hashes[encoded.indices.to_numpy()] if len(hashes) else np.zeros(len(texts), np.uint64)

    def text(self, number: int) -> str:
        return self.texts.get(number, "")

    def resource_hashes(self, attributes: Column) -> Hashes:
        """Return the hash of each resource's attributes; those of new resources that may be causes are remembered."""
        offsets, items = unnest(attributes)
        keys, values = items.field("key"), any_value_text(items.field("value"))
        totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(combined(text_hashes(keys), text_hashes(values)))])
        # sums of 64 bits may run over: differences are right all the same
        hashes = mixed(totals[offsets[1:]] - totals[offsets[:-1]])
        for row, number in enumerate(hashes.tolist()):
            if number not in self.resources:
                span = slice(int(offsets[row]), int(offsets[row + 1]))
                pairs = zip(keys[span].to_pylist(), values[span].to_pylist(), strict=True)
                self.resources[number] = tuple(sorted((key, value) for key, value in pairs if self._may_be(key, value)))
        return hashes

    def _may_be(self, key: str, value: str) -> bool:
        wanted = self._wanted.get(key)
        if wanted is None:
            if len(self._wanted) > 10_000:
                self._wanted.clear()
            wanted = self._wanted[key] = any(fnmatchcase(key, pattern) for pattern in self._patterns)
        return wanted and value != ""

    def sweep(self, texts: set[int], resources: set[int]) -> None:
        """Forget all but these."""
        self.texts = {number: text for number, text in self.texts.items() if number in texts}
        self.resources = {number: pairs for number, pairs in self.resources.items() if number in resources}
