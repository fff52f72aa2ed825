"""A custom fold: counts the words of chat messages and shows the TOP most frequent ones.

A payload is a message, UTF-8. The topic's value is JSON, most frequent first, equals by the
alphabet: [["goal", 312], ["what", 87], ...]. The config is JSON too and may be empty; it names
words that are not worth counting: {"ignore": ["the", "and"]}.

A partition's own value holds all its words, because the most frequent ones of all partitions
need not be among those of any of them. To keep that within bounds, the WORDS_MAX words that
come first in a partition are counted and later ones are not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

from grandstand.fold import CustomEvent

TOP = 20
WORDS_MAX = 400
WORD = re.compile(r"[^\W\d_]{3,}")
WORD_BYTES_MAX = 20


class WordCloud:
    def __init__(self, config: bytes, state: bytes) -> None:
        self._ignored = frozenset(json.loads(config)["ignore"]) if config else frozenset()
        self._counts: Counter[str] = Counter(json.loads(state) if state else {})

    def fold(self, events: Sequence[CustomEvent]) -> None:
        for event in events:
            message = event.payload.decode(errors="replace").lower()
            for word in WORD.findall(message):
                if word in self._ignored or len(word.encode()) > WORD_BYTES_MAX:
                    continue
                if word in self._counts or len(self._counts) < WORDS_MAX:
                    self._counts[word] += 1

    def state(self) -> bytes:
        return json.dumps(self._counts, ensure_ascii=False).encode()

    def value(self) -> bytes:
        return self.state()

    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        total: Counter[str] = Counter()
        for value in values:
            total.update(json.loads(value))
        best = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:TOP]
        return json.dumps(best, ensure_ascii=False).encode()
