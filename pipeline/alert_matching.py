"""Which alerts are meant: the `match` of silences, overrides and exporters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

from pipeline.alerts import Alert, Severity
from pipeline.config import Config
from pipeline.config.values import listed

Patterns: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(listed)]
"""Texts of which one must fit: `*` stands for any characters, `?` for one. In the YAML a text or a list."""


class Match(Config):
    """The alerts that fit every key that is given; without keys all of them."""

    name: Patterns = ()
    """The kind of trouble, such as `FailureCluster`."""

    severity: Annotated[tuple[Severity, ...], BeforeValidator(listed)] = ()
    """One of these."""

    subject: Patterns = ()
    """What has the trouble."""

    labels: Mapping[str, Patterns] = {}
    """For each label what its value must fit; a label that an alert does not have is the empty text."""

    def fits(self, alert: Alert) -> bool:
        """Tell whether the alert is meant."""
        return (
            _fits(self.name, alert.name)
            and (not self.severity or alert.severity in self.severity)
            and _fits(self.subject, alert.subject)
            and all(_fits(patterns, alert.labels.get(label, "")) for label, patterns in self.labels.items())
        )


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    return not patterns or any(_compiled(pattern).fullmatch(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
