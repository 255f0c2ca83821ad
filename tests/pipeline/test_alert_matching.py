from __future__ import annotations

from typing import Any

import pytest

from pipeline.alert_matching import Match
from pipeline.alerts import Alert, Severity

ALERT = Alert("FailureCluster", Severity.WARNING, "a\nb", "", 0, labels={"queue": "mail.low", "none": ""})


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({}, True),
        ({"name": "FailureCluster"}, True),
        ({"name": "failurecluster"}, False),
        ({"name": "Failure*"}, True),
        ({"name": "Failure"}, False),
        ({"name": ["RetryLoop", "*Cluster"]}, True),
        ({"severity": "warning"}, True),
        ({"severity": ["critical", "info"]}, False),
        ({"subject": "a*"}, True),
        ({"subject": "a?b"}, True),
        ({"subject": "a?"}, False),
        ({"labels": {"queue": "mail.*"}}, True),
        ({"labels": {"queue": "mail?low"}}, True),
        ({"labels": {"queue": "mailxlow"}}, False),
        ({"labels": {"queue": "[m]ail.low"}}, False),
        ({"labels": {"host": ""}}, True),
        ({"labels": {"host": "?*"}}, False),
        ({"labels": {"queue": "*", "host": "*"}}, True),
        ({"name": "Failure*", "severity": "info"}, False),
    ],
)
def test_which_alerts_are_meant(keys: dict[str, Any], fits: bool) -> None:
    """Scenario: matches with texts, stars and question marks. Guarantees: all keys must fit, one of each list."""
    assert Match.model_validate(keys).fits(ALERT) is fits
