"""How improbable a number of failures is, given what a class did before.

Failures of a class with rate r per execution are taken as Poisson with mean r times executions, and r as unknown with a
gamma distribution, whose shape and rate are the discounted failures and executions so far plus a weak prior. The number
of failures to come is then negative binomial: its tail is heavier than Poisson's while little is known, so that a young
class raises no false alarms. Sources: A. Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6 (gamma-Poisson
predictive distribution); A. C. Harvey and C. Fernandes, Time series models for count or qualitative observations,
Journal of Business & Economic Statistics 7 (1989), which discounts the past in the same way.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from typing import Final

PRIOR_FAILURES: Final = 0.5
PRIOR_EXECUTIONS: Final = 10.0
"""What a class is thought to have done before it was ever seen: 5 % failures, held to weakly."""


def tail_probability(failures: int, executions: float, past_failures: float, past_executions: float) -> float:
    """Return an upper bound of the probability of at least `failures` among `executions`, close for small ones.

    1 where `failures` is not above what is to be expected.
    """
    shape = past_failures + PRIOR_FAILURES
    odds = executions / (past_executions + PRIOR_EXECUTIONS)
    if failures <= shape * odds or failures == 0:
        return 1.0
    log_success = log(odds) - log1p(odds)
    log_density = (
        lgamma(failures + shape) - lgamma(failures + 1) - lgamma(shape) - shape * log1p(odds) + failures * log_success
    )
    # each further term is smaller than the one before by at least this factor: the sum is below a geometric one
    success = exp(log_success)
    shrinks = max(success * (failures + shape) / (failures + 1), success)
    if shrinks >= 1:
        return 1.0
    return min(1.0, exp(log_density) / (1 - shrinks))


def limit_for(false_alarms: float, steps_an_hour: float) -> float:
    """Return the probability below which a burst is one.

    A class is judged at most once a step. The probability that any of an hour's judgements is a false alarm is at most
    their sum (Bonferroni); judgements of windows that overlap are alike, so that it is smaller in truth.
    """
    return false_alarms / max(1.0, steps_an_hour)
