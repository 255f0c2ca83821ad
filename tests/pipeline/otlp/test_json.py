"""OTLP/JSON in and out, against google.protobuf's JSON reader and writer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from pipeline.errors import Malformed
from pipeline.kinds import Signal
from pipeline.otlp import decode, decode_json, encode, encode_json
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.otlp.warm import example_requests
from tests.pipeline.otlp.messages import canonical, exact, expected_rows, received, requests, shown_rows
from tests.pipeline.otlp.oracle import read_json, write_json

SIGNALS = pytest.mark.parametrize("signal", Signal)


@SIGNALS
@settings(max_examples=30)
@given(data=st.data(), names=st.booleans(), enum_names=st.booleans())
def test_reading_what_protobuf_writes(signal: Signal, data: st.DataObject, names: bool, enum_names: bool) -> None:
    """Scenario: any request as JSON in protobuf's spellings. Guarantees: the rows of its protobuf form."""
    request = data.draw(requests(signal))

    columns = decode_json(signal, [write_json(request, names=names, enum_names=enum_names)])

    columns.table.validate(full=True)
    assert shown_rows(received(columns)) == expected_rows(request)


@SIGNALS
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_written_reads_equal(signal: Signal, data: st.DataObject) -> None:
    """Scenario: any request, decoded and written as JSON. Guarantees: protobuf's reader and ours get it back."""
    request = data.draw(requests(signal))
    batch = received(decode(signal, [exact(request)]))

    body = encode_json(batch)

    assert exact(read_json(signal, body)) == canonical(signal, request)
    assert encode(received(decode_json(signal, [body]))) == encode(batch)


@SIGNALS
def test_every_field_goes_round(signal: Signal) -> None:
    """Scenario: a request with every field that the descriptors have. Guarantees: all of it in every form."""
    (request,) = example_requests(signal)

    batch = received(decode_json(signal, [orjson.dumps(request)]))

    assert exact(parse(REQUESTS[signal], encode(batch))) == canonical(signal, read_json(signal, orjson.dumps(request)))
    assert read_json(signal, encode_json(batch)) == parse(REQUESTS[signal], encode(batch))


@SIGNALS
def test_joint_decode(signal: Signal) -> None:
    """Scenario: several bodies, empty ones among them. Guarantees: rows in order, counted by body."""
    (request,) = example_requests(signal)
    body = orjson.dumps(request)

    alone = decode_json(signal, [body])
    joint = decode_json(signal, [body, b"{}", body])

    assert joint.rows_per_body.tolist() == [alone.table.num_rows, 0, alone.table.num_rows]
    assert shown_rows(received(joint)) == shown_rows(received(alone)) * 2
    assert encode_json(received(decode_json(signal, [b"{}"]))) == b"{}"
    assert decode_json(signal, []).rows_per_body.tolist() == []


def test_the_form_of_the_output() -> None:
    """Scenario: a span with an attribute of each type. Guarantees: the specification's form, compact, byte for byte."""
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "name": 'quo"te\n',
        "kind": "SPAN_KIND_SERVER",
        "startTimeUnixNano": 1544712660000000000,
        "flags": 257,
        "attributes": [
            {"key": "s", "value": {"stringValue": "é"}},
            {"key": "i", "value": {"intValue": -5}},
            {"key": "d", "value": {"doubleValue": "-Infinity"}},
            {"key": "z", "value": {"doubleValue": -0.0}},
            {"key": "b", "value": {"boolValue": False}},
            {"key": "x", "value": {"bytesValue": "_-8"}},
            {"key": "a", "value": {"arrayValue": {"values": [{}, {"kvlistValue": {}}]}}},
            {"key": "n"},
        ],
        "status": {},
    }
    request = {"resourceSpans": [{"schemaUrl": "u", "scopeSpans": [{"scope": {}, "spans": [span]}]}]}

    body = encode_json(received(decode_json(Signal.TRACES, [orjson.dumps(request)])))

    assert body.decode() == (
        '{"resourceSpans":[{"schemaUrl":"u","scopeSpans":[{"scope":{},"spans":[{'
        '"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"quo\\"te\\n","kind":2,'
        '"startTimeUnixNano":"1544712660000000000","attributes":['
        '{"key":"s","value":{"stringValue":"é"}},{"key":"i","value":{"intValue":"-5"}},'
        '{"key":"d","value":{"doubleValue":"-Infinity"}},{"key":"z","value":{"doubleValue":-0.0}},'
        '{"key":"b","value":{"boolValue":false}},{"key":"x","value":{"bytesValue":"/+8="}},'
        '{"key":"a","value":{"arrayValue":{"values":[{},{"kvlistValue":{}}]}}},{"key":"n"}],'
        '"status":{},"flags":257}]}]}]}'
    )


SPAN = "resourceSpans[0].scopeSpans[0].spans[1]"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"name": 5}, ".name: should be a string, is 5"),
        ({"name": ["a"]}, ".name: should be a string, is a list"),
        ({"traceId": "0"}, ".traceId: should be hex digits, two a byte, is '0'"),
        ({"spanId": "zz"}, ".spanId: should be hex digits, two a byte, is 'zz'"),
        ({"spanId": "ab cd "}, ".spanId: should be hex digits, two a byte, is 'ab cd '"),
        ({"spanId": 7}, ".spanId: should be hex digits, two a byte, is 7"),
        ({"startTimeUnixNano": "soon"}, ".startTimeUnixNano: should be an integer of type uint64, is 'soon'"),
        ({"startTimeUnixNano": ""}, ".startTimeUnixNano: should be an integer of type uint64, is ''"),
        ({"startTimeUnixNano": "1_0"}, ".startTimeUnixNano: should be an integer of type uint64, is '1_0'"),
        ({"startTimeUnixNano": " 1"}, ".startTimeUnixNano: should be an integer of type uint64, is ' 1'"),
        ({"startTimeUnixNano": "٣"}, ".startTimeUnixNano: should be an integer of type uint64, is '٣'"),
        ({"startTimeUnixNano": -1}, ".startTimeUnixNano: should be an integer of type uint64, is -1"),
        ({"startTimeUnixNano": "-1"}, ".startTimeUnixNano: should be an integer of type uint64, is '-1'"),
        (
            {"startTimeUnixNano": 2**64},
            ".startTimeUnixNano: should be an integer of type uint64, is 1.8446744073709552e+19",
        ),
        ({"startTimeUnixNano": str(2**64)}, f".startTimeUnixNano: should be an integer of type uint64, is '{2**64}'"),
        ({"startTimeUnixNano": "9" * 5000}, ".startTimeUnixNano: should be an integer of type uint64, is '999"),
        ({"startTimeUnixNano": 1.5}, ".startTimeUnixNano: should be an integer of type uint64, is 1.5"),
        ({"startTimeUnixNano": True}, ".startTimeUnixNano: should be an integer of type uint64, is True"),
        ({"flags": 2**32}, ".flags: should be an integer of type uint32, is 4294967296"),
        ({"kind": 2**31}, ".kind: should be a number or one of SPAN_KIND_UNSPECIFIED, "),
        ({"kind": "SPAN_KIND_ODD"}, ".kind: should be a number or one of SPAN_KIND_UNSPECIFIED, "),
        ({"status": 1}, ".status: should be an object, is a number"),
        ({"status": {"code": []}}, ".status.code: should be a number or one of STATUS_CODE_UNSET, "),
        ({"events": {}}, ".events: should be a list, is an object"),
        (
            {"events": [{}, {"timeUnixNano": {}}]},
            ".events[1].timeUnixNano: should be an integer of type uint64, is an object",
        ),
        ({"links": [None]}, ".links[0]: should be an object, is null"),
        ({"attributes": [{"key": "k", "value": "v"}]}, ".attributes[0].value: should be an object, is a string"),
        (
            {"attributes": [{"value": {"boolValue": 1}}]},
            ".attributes[0].value.boolValue: should be true or false, is 1",
        ),
        ({"attributes": [{"value": {"doubleValue": "nan"}}]}, ".attributes[0].value.doubleValue: should be a number, "),
        ({"attributes": [{"value": {"doubleValue": True}}]}, ".attributes[0].value.doubleValue: should be a number, "),
        ({"attributes": [{"value": {"bytesValue": "a"}}]}, ".attributes[0].value.bytesValue: should be base64, is 'a'"),
        ({"attributes": [{"value": {"bytesValue": "a*bc"}}]}, ".attributes[0].value.bytesValue: should be base64, "),
        (
            {"attributes": [{"value": {"arrayValue": {"values": [{}, {"intValue": "x"}]}}}]},
            ".attributes[0].value.arrayValue.values[1].intValue: should be an integer of type int64, is 'x'",
        ),
        (
            {"attributes": [{}, {"value": {"stringValue": "", "intValue": 1}}]},
            ".attributes[1].value: has intValue beside stringValue",
        ),
        (
            {"attributes": [{"value": {"kvlistValue": {}, "arrayValue": {}}}]},
            ".attributes[0].value: has kvlistValue beside arrayValue",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_place(member: dict[str, Any], message: str) -> None:
    """Scenario: one wrong value in the second of three spans. Guarantees: refused; the message says where and why."""
    fine = {"name": "fine", "startTimeUnixNano": "1", "spanId": "0102", "flags": 1, "kind": 1, "status": None}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [fine, member, fine]}]}]}
    with pytest.raises(Malformed) as caught:
        decode_json(Signal.TRACES, [b"{}", orjson.dumps(_floated(request))])
    assert str(caught.value).startswith(SPAN + message)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"{}{}",
        b"\xff",
        b'{"resourceSpans":NaN}',
        b"[" * 5000,
        b'{"a":' * 5000,
    ],
)
def test_what_is_no_json_object(body: bytes) -> None:
    """Scenario: not JSON, or JSON of another type. Guarantees: refused, and never a crash."""
    with pytest.raises(Malformed, match=r"not JSON|is an object"):
        decode_json(Signal.TRACES, [body])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"resourceSpans":{}}', "resourceSpans: should be a list, is an object"),
        (b'{"resourceSpans":[1]}', r"resourceSpans\[0\]: should be an object, is a number"),
        (b'{"resourceSpans":[{"resource":[]}]}', r"resourceSpans\[0\].resource: should be an object, is a list"),
        (
            b'{"resourceSpans":[{},{"resource":{"droppedAttributesCount":-1}}]}',
            r"resourceSpans\[1\].resource.droppedAttributesCount: should be an integer of type uint32, is -1",
        ),
    ],
)
def test_wrong_groups(body: bytes, path: str) -> None:
    """Scenario: wrong types above the spans. Guarantees: refused with the place, also in later objects."""
    with pytest.raises(Malformed, match=path):
        decode_json(Signal.TRACES, [body])


def test_nested_too_deep() -> None:
    """Scenario: values nested 40 to 250 deep. Guarantees: refused is what protobuf could not read, and only that."""
    verdicts = []
    for depth in (40, 45, 46, 47, 48, 49, 50, 70, 250):
        value = b'{"arrayValue":{"values":[' * depth + b"{}" + b"]}}" * depth
        request = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"value":%s}]}]}]}]}' % value
        try:
            body = encode(received(decode_json(Signal.TRACES, [request])))
        except Malformed:
            verdicts.append(False)
        else:
            parse(REQUESTS[Signal.TRACES], body)
            verdicts.append(True)
    assert verdicts == sorted(verdicts, reverse=True)
    assert verdicts[0]
    assert not verdicts[-1]


@pytest.mark.parametrize(
    ("field", "spellings"),
    [
        ("timeUnixNano", [12, "12", 12.0, "012"]),
        ("severityNumber", [9, "9", 9.0, "SEVERITY_NUMBER_INFO"]),
        ("traceId", ["AbCd", "abcd"]),
        ("flags", [3, "3", 3.0]),
    ],
)
def test_spellings_of_one_value(field: str, spellings: list[Any]) -> None:
    """Scenario: a value in every form that protobuf accepts, together and alone. Guarantees: all are equal."""
    together = decode_json(Signal.LOGS, [_log(*({field: spelling} for spelling in spellings))]).table
    assert len({str(row) for row in together.to_pylist()}) == 1
    for spelling in spellings:
        assert decode_json(Signal.LOGS, [_log({field: spelling})]).table.to_pylist() == together.to_pylist()[:1]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("-1e-3", -0.001), ("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("0", 0.0)],
)
def test_doubles_as_text(text: str, value: float | str) -> None:
    """Scenario: doubles in quotes. Guarantees: read as protobuf's reader does."""
    body = _log({"body": {"doubleValue": text}})

    (row,) = decode_json(Signal.LOGS, [body]).table.to_pylist()

    assert str(row["body"]["double_value"]) == str(value)
    assert encode(received(decode_json(Signal.LOGS, [body]))) == exact(read_json(Signal.LOGS, body))


@pytest.mark.parametrize("text", ["", "+/+/", "-_-_", "_w", "_w==", "/w==", "AAAA"])
def test_base64_of_both_alphabets(text: str) -> None:
    """Scenario: standard and URL-safe base64, padded or not. Guarantees: read as protobuf's reader does."""
    body = _log({"body": {"bytesValue": text}})
    assert encode(received(decode_json(Signal.LOGS, [body]))) == exact(read_json(Signal.LOGS, body))


def test_null_and_unknown_fields_are_absent() -> None:
    """Scenario: null for every field of a record, unknown fields of any shape. Guarantees: a record of defaults."""
    names = [field.json_name for field in LogRecord.DESCRIPTOR.fields]
    nothing = decode_json(Signal.LOGS, [_log({})]).table
    assert decode_json(Signal.LOGS, [_log(dict.fromkeys(names))]).table.equals(nothing)
    assert decode_json(Signal.LOGS, [_log({"new": {"deep": [1, {"spans": 5}]}, "x": None})]).table.equals(nothing)


def test_both_spellings_of_a_name() -> None:
    """Scenario: a name in lowerCamelCase, as in the .proto file, and both. Guarantees: each is read, null is absent."""
    body = _log({"timeUnixNano": 1}, {"time_unix_nano": 2}, {"timeUnixNano": None, "time_unix_nano": 3})
    assert decode_json(Signal.LOGS, [body]).table.column("time_unix_nano").to_pylist() == [1, 2, 3]


@SIGNALS
@settings(max_examples=60)
@given(data=st.data())
def test_any_change_of_a_value(signal: Signal, data: st.DataObject) -> None:
    """Scenario: one value replaced by any other JSON. Guarantees: refused, or what protobuf's reader has for it."""
    (request,) = example_requests(signal)
    holder: Any = request
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.integers(0, 9)) == 0:
            break
        holder = holder[key]
    holder[key] = data.draw(ODD_JSON)
    body = orjson.dumps(request)
    try:
        batch = received(decode_json(signal, [body]))
    except Malformed:
        return
    assert encode(batch) == canonical(signal, read_json(signal, body))


ODD_JSON: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, 1, -1, 2**31, 2**32, 2**63, 2**64 - 1, 0.0, 1.5, 1e300),
        *("", "0", "-1", "7.5", "1e3", "NaN", "ab", "abc"),
        *([], {}, [None], [{}], [[]], ["1"], {"a": 1}, {"values": []}, {"stringValue": "s"}, {"key": "k"}),
    ]
)


@pytest.mark.parametrize("number", [b"1e400", b'"1e400"', b'"-1e400"'])
def test_a_double_out_of_range(number: bytes) -> None:
    """Scenario: a number over the largest double, in quotes or not. Guarantees: refused."""
    with pytest.raises(Malformed):
        decode_json(Signal.LOGS, [_log({"body": {"doubleValue": 0}}).replace(b":0", b":" + number)])


def _log(*records: dict[str, Any]) -> bytes:
    return orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]})


def _floated(value: Any) -> Any:
    """Since orjson writes no integer over 64 bits and would read such a number as a double, make it one."""
    if isinstance(value, dict):
        return {key: _floated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floated(item) for item in value]
    return float(value) if type(value) is int and value >= 2**64 else value
