"""A row a case: what the reference of the Collector's behaviour says of a policy and a trace."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from processors.tail_sampling.policies import Decision
from tests.processors.tail_sampling.scenes import S, Scene, policy

YES, NO, DROP = Decision.SAMPLED, Decision.NOT_SAMPLED, Decision.DROPPED

ERROR = policy("status_code", status_codes=["ERROR"])
NUMBER: dict[str, Any] = {"key": "n", "min_value": 100, "max_value": 500}
TEXT: dict[str, Any] = {"key": "k", "values": ["a", "b"]}
REGEX: dict[str, Any] = {"key": "k", "values": ["^or.*s$", "x+"], "enabled_regex_matching": True}


def and_(*parts: Mapping[str, Any], name: str = "and") -> dict[str, Any]:
    return policy("and", name, and_sub_policy=list(parts))


def not_(part: Mapping[str, Any]) -> dict[str, Any]:
    return policy("not", not_sub_policy=part)


def drop(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return policy("drop", drop_sub_policy=list(parts))


def ottl(span: Sequence[str] = (), spanevent: Sequence[str] = (), **keys: Any) -> dict[str, Any]:
    return policy("ottl_condition", span=list(span), spanevent=list(spanevent), **keys)


CASES: list[tuple[str, dict[str, Any] | list[dict[str, Any]], list[S], Decision]] = [
    ("always", policy("always_sample"), [S()], YES),
    # latency: whole milliseconds, above the threshold, up to and with the upper one
    ("latency under", policy("latency", threshold_ms=100), [S(end=99)], NO),
    ("latency at the threshold", policy("latency", threshold_ms=100), [S(end=100)], NO),
    ("latency cut to milliseconds", policy("latency", threshold_ms=100), [S(end=100.999)], NO),
    ("latency over", policy("latency", threshold_ms=100), [S(end=101)], YES),
    (
        "latency of all spans together",
        policy("latency", threshold_ms=100),
        [S(start=0, end=20), S(start=90, end=120)],
        YES,
    ),
    ("latency of a trace that ends first", policy("latency", threshold_ms=0), [S(start=10, end=5)], NO),
    ("latency window, below", policy("latency", threshold_ms=100, upper_threshold_ms=200), [S(end=100)], NO),
    ("latency window, inside", policy("latency", threshold_ms=100, upper_threshold_ms=200), [S(end=101)], YES),
    ("latency window, at the end", policy("latency", threshold_ms=100, upper_threshold_ms=200), [S(end=200)], YES),
    ("latency window, above", policy("latency", threshold_ms=100, upper_threshold_ms=200), [S(end=201)], NO),
    (
        "latency window, passed through",
        policy("latency", threshold_ms=100, upper_threshold_ms=200),
        [S(end=150), S(end=900)],
        YES,
    ),
    (
        "latency window, never inside in this order",
        policy("latency", threshold_ms=100, upper_threshold_ms=200),
        [S(end=900), S(end=150)],
        NO,
    ),
    # numeric_attribute: bounds belong to it
    ("number in range", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 300})], YES),
    ("number at the least", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 100})], YES),
    ("number at the most", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 500})], YES),
    ("number under", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 99})], NO),
    ("number over", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 501})], NO),
    ("number missing", policy("numeric_attribute", **NUMBER), [S()], NO),
    ("number of the resource", policy("numeric_attribute", **NUMBER), [S(resource={"n": 100})], YES),
    ("a double counts as 0", policy("numeric_attribute", **NUMBER), [S(attrs={"n": 300.0})], NO),
    ("a double counts as 0, in range", policy("numeric_attribute", key="n", min_value=-5), [S(attrs={"n": 3e9})], YES),
    ("text counts as 0", policy("numeric_attribute", **NUMBER), [S(attrs={"n": "300"})], NO),
    ("no upper bound", policy("numeric_attribute", key="n", min_value=100), [S(attrs={"n": 1 << 40})], YES),
    ("no lower bound", policy("numeric_attribute", key="n", max_value=-1), [S(attrs={"n": -(1 << 40)})], YES),
    ("inverted, in range", policy("numeric_attribute", **NUMBER, invert_match=True), [S(attrs={"n": 300})], NO),
    ("inverted, missing", policy("numeric_attribute", **NUMBER, invert_match=True), [S()], YES),
    (
        "inverted, one span in range",
        policy("numeric_attribute", **NUMBER, invert_match=True),
        [S(attrs={"n": 1}), S(attrs={"n": 300})],
        NO,
    ),
    # probabilistic
    ("all", policy("probabilistic", sampling_percentage=100), [S()], YES),
    ("none", policy("probabilistic", sampling_percentage=0), [S()], NO),
    # status_code
    ("an error", ERROR, [S(), S(status="ERROR")], YES),
    ("no error", ERROR, [S(), S(status="OK")], NO),
    ("unset is where nothing was set", policy("status_code", status_codes=["UNSET"]), [S()], YES),
    ("one of two codes", policy("status_code", status_codes=["ERROR", "OK"]), [S(status="OK")], YES),
    # string_attribute
    ("text equal", policy("string_attribute", **TEXT), [S(attrs={"k": "b"})], YES),
    ("text of another case", policy("string_attribute", **TEXT), [S(attrs={"k": "B"})], NO),
    ("text contained is not equal", policy("string_attribute", **TEXT), [S(attrs={"k": "ab"})], NO),
    ("text of the resource", policy("string_attribute", **TEXT), [S(resource={"k": "a"})], YES),
    ("text missing", policy("string_attribute", **TEXT), [S(attrs={"other": "a"})], NO),
    ("a number is no text", policy("string_attribute", key="k", values=["1"]), [S(attrs={"k": 1})], NO),
    ("an empty value matches nothing", policy("string_attribute", key="k", values=[""]), [S(attrs={"k": ""})], NO),
    ("pattern", policy("string_attribute", **REGEX), [S(attrs={"k": "orders"})], YES),
    ("pattern anywhere", policy("string_attribute", **REGEX), [S(attrs={"k": "abxxcd"})], YES),
    ("pattern anchored", policy("string_attribute", **REGEX), [S(attrs={"k": "my orders"})], NO),
    (
        "an empty span attribute matches no pattern",
        policy("string_attribute", key="k", values=[".*"], enabled_regex_matching=True),
        [S(attrs={"k": ""})],
        NO,
    ),
    (
        "an empty resource attribute may match one",
        policy("string_attribute", key="k", values=["^$"], enabled_regex_matching=True),
        [S(resource={"k": ""})],
        YES,
    ),
    ("text inverted, equal", policy("string_attribute", **TEXT, invert_match=True), [S(attrs={"k": "a"})], NO),
    ("text inverted, other", policy("string_attribute", **TEXT, invert_match=True), [S(attrs={"k": "c"})], YES),
    ("text inverted, missing", policy("string_attribute", **TEXT, invert_match=True), [S()], YES),
    ("text inverted, of the resource", policy("string_attribute", **TEXT, invert_match=True), [S(resource={"k": "a"})], NO),
    # boolean_attribute
    ("truth", policy("boolean_attribute", key="t", value=True), [S(attrs={"t": True})], YES),
    ("other truth", policy("boolean_attribute", key="t", value=True), [S(attrs={"t": False})], NO),
    ("truth of the resource", policy("boolean_attribute", key="t", value=True), [S(resource={"t": True})], YES),
    ("text counts as false", policy("boolean_attribute", key="t", value=False), [S(attrs={"t": "yes"})], YES),
    ("truth missing", policy("boolean_attribute", key="t", value=False), [S()], NO),
    ("truth inverted", policy("boolean_attribute", key="t", value=True, invert_match=True), [S(attrs={"t": True})], NO),
    ("truth inverted, missing", policy("boolean_attribute", key="t", value=True, invert_match=True), [S()], YES),
    # span_count
    ("too few spans", policy("span_count", min_spans=3), [S(), S()], NO),
    ("enough spans", policy("span_count", min_spans=2), [S(), S()], YES),
    ("as many as may be", policy("span_count", min_spans=1, max_spans=2), [S(), S()], YES),
    ("too many spans", policy("span_count", min_spans=1, max_spans=2), [S(), S(), S()], NO),
    # trace_state
    ("trace state", policy("trace_state", key="vendor", values=["x", "y"]), [S(state="a=1,vendor=y")], YES),
    ("trace state, other value", policy("trace_state", key="vendor", values=["x"]), [S(state="vendor=xx")], NO),
    ("trace state, other key", policy("trace_state", key="vendor", values=["x"]), [S(state="vendors=x")], NO),
    ("trace state that is none", policy("trace_state", key="vendor", values=["x"]), [S(state="vendor=x,=bad")], NO),
    ("trace state of one span", policy("trace_state", key="v", values=["x"]), [S(), S(state="v=x")], YES),
    ("a pair that is too long", policy("trace_state", key="v", values=["x" * 255]), [S(state="v=" + "x" * 255)], NO),
    ("a pair that just fits", policy("trace_state", key="v", values=["x" * 254]), [S(state="v=" + "x" * 254)], YES),
    # trace_flags
    ("sampled flag", policy("trace_flags"), [S(), S(flags=0x101)], YES),
    ("no sampled flag", policy("trace_flags"), [S(flags=0x100)], NO),
    # ottl_condition
    ("ottl on a span", ottl(['name == "pay" and attributes["n"] > 5']), [S(name="pay", attrs={"n": 6})], YES),
    ("ottl on a span, one half", ottl(['name == "pay" and attributes["n"] > 5']), [S(name="pay")], NO),
    ("ottl or", ottl(['name == "a" or name == "b"']), [S(name="b")], YES),
    ("ottl, one of several conditions", ottl(['name == "a"', 'name == "b"']), [S(name="b")], YES),
    ("ottl on the resource", ottl(['resource.attributes["service.name"] == "x"']), [S(resource={"service.name": "x"})], YES),
    ("ottl on status", ottl(["status.code == STATUS_CODE_ERROR"]), [S(status="ERROR")], YES),
    ("ottl on kind", ottl(["kind == SPAN_KIND_CONSUMER"]), [S(kind=5)], YES),
    ("ottl on a duration", ottl(["end_time_unix_nano - start_time_unix_nano > 5000000"]), [S(end=6)], YES),
    ("ottl on a duration, shorter", ottl(["(end_time_unix_nano - start_time_unix_nano) > 5000000"]), [S(end=5)], NO),
    ("ottl nil", ottl(['attributes["x"] == nil']), [S()], YES),
    ("ottl not nil", ottl(['attributes["x"] != nil']), [S(attrs={"x": 0})], YES),
    ("ottl text is no number", ottl(['attributes["x"] == 5']), [S(attrs={"x": "5"})], NO),
    ("ottl int and double", ottl(['attributes["x"] == 5']), [S(attrs={"x": 5.0})], YES),
    ("ottl not", ottl(['not (name == "a")']), [S(name="b")], YES),
    ("ottl IsMatch", ottl(['IsMatch(name, "^pay.*")']), [S(name="payment")], YES),
    ("ottl IsMatch of a number", ottl(['IsMatch(attributes["x"], "^5")']), [S(attrs={"x": 50})], YES),
    ("ottl IsRootSpan", ottl(["IsRootSpan()"]), [S(parent=7)], NO),
    ("ottl on an event", ottl(spanevent=['name == "exception"']), [S(events=[("exception", {})])], YES),
    ("ottl on an event's attribute", ottl(spanevent=['attributes["x"] == 1']), [S(events=[("e", {"x": 1})])], YES),
    ("ottl on an event, none", ottl(spanevent=['name == "exception"']), [S()], NO),
    ("ottl event of a span", ottl(spanevent=['span.name == "a" and name == "e"']), [S(name="a", events=[("e", {})])], YES),
    ("ottl error is no answer", ottl(['HasPrefix(attributes["x"], "a")']), [S()], NO),
    ("ottl error beside a match", ottl(['HasPrefix(attributes["x"], "a")']), [S(), S(attrs={"x": "ab"})], YES),
    ("not of an ottl error", not_(ottl(['HasPrefix(attributes["x"], "a")'])), [S()], NO),
    ("not of an ignored one", not_(ottl(['HasPrefix(attributes["x"], "a")'], error_mode="ignore")), [S()], YES),
    # and, not, drop
    ("and, both", and_(ERROR, policy("latency", threshold_ms=10)), [S(status="ERROR", end=20)], YES),
    ("and, first only", and_(ERROR, policy("latency", threshold_ms=10)), [S(status="ERROR")], NO),
    ("and, on different spans", and_(ERROR, policy("string_attribute", **TEXT)), [S(status="ERROR"), S(attrs={"k": "a"})], YES),
    ("and with not", and_(ERROR, not_(policy("string_attribute", **TEXT))), [S(status="ERROR")], YES),
    ("not", not_(ERROR), [S()], YES),
    ("not, of what samples", not_(ERROR), [S(status="ERROR")], NO),
    ("a drop beats the others", [policy("always_sample"), drop(ERROR)], [S(status="ERROR")], DROP),
    ("a drop that does not hold", [policy("always_sample"), drop(ERROR)], [S()], YES),
    ("a drop needs all", [policy("always_sample"), drop(ERROR, policy("trace_flags"))], [S(status="ERROR")], YES),
    ("a drop alone samples nothing", drop(ERROR), [S()], NO),
    ("an inverted policy is no veto", [policy("always_sample"), policy("string_attribute", **TEXT, invert_match=True)], [S(attrs={"k": "a"})], YES),
    # budgets: they begin full
    ("rate, a trace that fits", policy("rate_limiting", spans_per_second=1), [S(), S()], YES),
    ("rate, a trace over the capacity", policy("rate_limiting", spans_per_second=1), [S(), S(), S()], NO),
    ("rate, with a burst", policy("rate_limiting", spans_per_second=1, burst_capacity=3), [S(), S(), S()], YES),
    ("bytes, a trace that fits", policy("bytes_limiting", bytes_per_second=100_000), [S()], YES),
    ("bytes, too large", policy("bytes_limiting", bytes_per_second=10), [S()], NO),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "spans", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_policy(policies: dict[str, Any] | list[dict[str, Any]], spans: list[S], expected: Decision) -> None:
    """Scenario: a trace under a policy or several, its time over.

    Guarantees: the reference's decision, the whole trace.
    """
    scene = Scene(*(policies if isinstance(policies, list) else [policies]))

    scene.take(*spans).advance(10)

    assert scene.decision() == expected
    assert scene.kept == ([1] * len(spans) if expected == YES else [])
