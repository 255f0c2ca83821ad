"""Which topics are read, and which signal each of them carries. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from pipeline.errors import StartError
from pipeline.kinds import Signal
from receivers.kafka.config import KafkaReceiverConfig, SignalTopics


@dataclass(frozen=True, slots=True)
class Wanted:
    """The topics of some signals."""

    named: dict[str, Signal]
    """Topics that are written out."""

    patterns: tuple[tuple[re.Pattern[str], tuple[re.Pattern[str], ...], Signal], ...]
    """What finds topics, what excludes some of them, and the signal they carry."""

    @classmethod
    def of(cls, config: KafkaReceiverConfig, signals: Iterable[Signal]) -> Wanted:
        """Return what the pipelines' signals need. Raises StartError where a topic would carry two signals."""
        chosen = sorted(signals)
        for one, other in combinations(chosen, 2):
            shared = sorted({*config.topics_of(one)} & {*config.topics_of(other)})
            if shared:
                raise StartError(f'{one}.topics, {other}.topics: both have "{shared[0]}"; a topic carries one signal')
        named = {entry: signal for signal in chosen for entry in config.topics_of(signal) if not entry.startswith("^")}
        patterns = tuple(
            (re.compile(entry), _compiled(getattr(config, signal)), signal)
            for signal in chosen
            for entry in config.topics_of(signal)
            if entry.startswith("^")
        )
        return cls(named, patterns)

    def signal(self, topic: str) -> Signal | None:
        """Return what a topic carries; None for one that is not wanted."""
        if topic in self.named:
            return self.named[topic]
        return next(
            (
                signal
                for found, excluded, signal in self.patterns
                if found.search(topic) and not any(pattern.search(topic) for pattern in excluded)
            ),
            None,
        )

    def subscription(self) -> dict[str, object]:
        """Return the arguments of aiokafka's `subscribe`: topics, or one pattern that finds what `signal` knows."""
        if not self.patterns:
            return {"topics": sorted(self.named)}
        return {"pattern": "|".join(self._alternatives())}

    def _alternatives(self) -> Iterator[str]:
        for topic in sorted(self.named):
            yield f"(?:{re.escape(topic)}$)"
        for found, excluded, _ in self.patterns:
            # A lookahead that may begin anywhere, because what excludes is searched for, not matched from the start.
            without = "".join(f"(?!.*(?:{pattern.pattern}))" for pattern in excluded)
            yield f"(?:{without}(?:{found.pattern}))"


def _compiled(section: SignalTopics) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, section.exclude_topics))
