"""All policies together: who is asked, who decides, and with which probability a trace like this one is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from processors.tail_sampling.policies import Answers, Counts, Decision, Drop, Policy, Traces, Verdicts
from processors.tail_sampling.spans import Truths


class Evaluation:
    """`policies` as written; those of type `drop` are asked first."""

    def __init__(self, policies: Sequence[Policy], *, first_match: bool) -> None:
        self.policies = sorted(policies, key=lambda policy: not isinstance(policy, Drop))
        self.counts = [Counts() for _ in policies]
        self.has_drops = any(isinstance(policy, Drop) for policy in policies)
        self._first_match = first_match

    def decide(self, traces: Traces) -> Verdicts:
        """Ask every policy: a drop ends it, else the first that samples names the reason."""
        number = len(traces)
        decision = np.zeros(number, np.int8)
        policy = np.full(number, -1, np.int16)
        sub = np.full(number, -1, np.int16)
        asked = np.ones(number, np.bool_)
        chance = _Chance(number)
        for position, one in enumerate(self.policies):
            if one.is_budget() and not asked.any():
                continue
            before = time.perf_counter()
            answers = one.decide(traces, asked)
            self.counts[position].seconds += time.perf_counter() - before
            self.counts[position].add(answers.decision, asked, traces.spans)
            dropped = asked & (answers.decision == Decision.DROPPED)
            first = asked & answers.sampled & (policy < 0)
            policy[first] = position
            if answers.sub is not None:
                sub[first] = answers.sub[first]
            decision[first] = Decision.SAMPLED
            decision[dropped] = Decision.DROPPED
            # what leaves no mark may answer for all, also where an earlier policy has sampled already
            chance.add(one, answers, asked if one.is_budget() else decision != Decision.DROPPED)
            asked &= ~dropped
            if self._first_match:
                asked &= ~first
        policy[decision != Decision.SAMPLED] = -1
        return Verdicts(decision, policy, sub, *chance.result(decision == Decision.SAMPLED))

    def surely(self, traces: Traces) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        """Return the first policy that samples each trace whatever is still to come, nothing left to chance; or -1.

        Where a policy drops there is always something to come.
        """
        found = np.full(len(traces), -1, np.int16)
        if self.has_drops:
            return found
        for position, one in enumerate(self.policies):
            sure = one.surely(traces) & (found < 0)
            found[sure] = position
        return found


class _Chance:
    """The probability that none of the policies samples: their product, except where they share a hash.

    Policies with one salt take nested shares of the same hashes, so only the largest counts.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._kept = np.ones(number)
        self._chances: dict[str | tuple[str], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        self._by_budget = np.zeros(number, np.bool_)

    def add(self, policy: Policy, answers: Answers, counted: Truths) -> None:
        probability = np.where(counted, np.clip(answers.probability, 0.0, 1.0), 0.0)
        if policy.is_budget():
            # a budget that paid nothing now could have; its share is not known beyond this
            self._by_budget |= (probability > 0) & (probability < 1)
        if isinstance(policy, Drop):
            # those that were dropped are out of it
            self._kept *= 1 - np.where(answers.decision == Decision.DROPPED, 0.0, probability)
            return
        salts = policy.salts()
        group: str | tuple[str] = salts[0] if len(salts) == 1 else (policy.name,)
        before = self._chances.get(group)
        self._chances[group] = probability if before is None else np.maximum(before, probability)

    def result(self, sampled: Truths) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Truths]:
        """Return the probability of those that were sampled (else 1), and whether all of it was configured."""
        missed, largest = np.ones(self._number), np.zeros(self._number)
        several = np.zeros(self._number, np.int64)
        for chance in self._chances.values():
            missed *= 1 - chance
            largest = np.maximum(largest, chance)
            several += chance > 0
        # one chance is itself, to the last digit
        chance = np.where(several > 1, 1 - missed, largest)
        probability = np.where(sampled, chance * self._kept, 1.0)
        # what was sampled has some probability, also where a budget's share is not known
        probability[probability <= 0] = 1.0
        return probability, (probability < 1) & ~self._by_budget & sampled
