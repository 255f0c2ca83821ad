"""Parts of the tree -> models: what is repaired, ignored, refused, and what is never shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from pipeline.config import Config
from pipeline.config.decode import Decoded, decode
from pipeline.config.expand import expand
from pipeline.config.positions import read_yaml
from pipeline.config.values import Duration, Secret
from tests.pipeline.config.toys import ClickHouseConfig, OTLPConfig, SamplingConfig


class Everything(Config):
    text: str = "default"
    number: int = 1
    ratio: float = 0.5
    flag: bool = False
    maybe: str | None = "default"
    names: tuple[str, ...] = ("default",)
    numbers: tuple[int, ...] = ()
    wait: Duration = 1.0
    either: int | str = 0
    free: Any = None
    from_: Annotated[str, Field(alias="from")] = ""
    table: dict[str, int] = Field(default_factory=dict)


def _decoded(model: type[Config], text: str, **environ: str) -> Decoded[Any]:
    node, problems = read_yaml(text, "f")
    assert problems == []
    node, problems, _ = expand(node, environ)
    assert problems == []
    return decode(model, node, ("x",))


def _lines(decoded: Decoded[Any]) -> list[str]:
    assert decoded.config is None
    return [str(problem) for problem in decoded.problems]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("text", "0123", "0123"), ("text", "true", "true"), ("text", "[a]", "[a]"), ("text", "", ""),
        ("text", "a #b", "a #b"), ("number", "0123", 123), ("ratio", "1e3", 1000.0), ("ratio", "5", 5.0),
        ("flag", "true", True), ("wait", "5", 5e-9), ("maybe", "", None), ("maybe", "5", "5"),
        ("names", "a, b", ("a", "b")), ("names", "[a, b]", ("a", "b")),
        ("number", "", 1), ("names", "", ("default",)), ("either", "5", 5), ("either", "0x", "0x"), ("free", "5", 5),
    ],
)  # fmt: skip
def test_a_value_from_a_variable_is_what_is_wanted(key: str, value: str, expected: object) -> None:
    """Scenario: `key: ${env:V}`. Guarantees: YAML's type, or the text where that is wanted."""
    decoded = _decoded(Everything, f"{key}: ${{env:V}}", V=value)

    assert decoded.problems == []
    assert getattr(decoded.config, key) == expected


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("names: a,b , c", "names", ("a", "b", "c")),
        ("names: ''", "names", ()),
        ("names:", "names", ("default",)),
        ("text:", "text", "default"),
        ("maybe:", "maybe", None),
        ("table: {a: 1, b: }", "table", {"a": 1}),
        ("from: here", "from_", "here"),
    ],
)
def test_text_for_lists_and_nulls(text: str, key: str, expected: object) -> None:
    """Scenario: text for a list, null for a key. Guarantees: split at commas; null leaves the default."""
    decoded = _decoded(Everything, text)
    assert decoded.problems == []
    assert getattr(decoded.config, key) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("number: '5'", 'f:1:9: x.number: must be an integer, is "5"; take the quotes away'),
        ("text: 5", 'f:1:7: x.text: must be text, is 5; put it in quotes: "5"'),
        ("numbers: 1,2", 'f:1:10: x.numbers: must be a list, is "1,2"'),
        ("names: [a,]\nnumber: x", 'f:2:9: x.number: must be an integer, is "x"'),
        ("names: [a, null]", "f:1:12: x.names[1]: must be text, is null"),
        ("table: {a: b}", 'f:1:12: x.table.a: must be an integer, is "b"'),
        ("form: here", 'f:1:1: x.form: unknown key; did you mean "from"?'),
        ("from_: here", 'f:1:1: x.from_: unknown key; did you mean "from"?'),
        ("flag: 'true'", 'f:1:7: x.flag: must be true or false, is "true"; take the quotes away'),
        ("either: [1]", "f:1:9: x.either: must be an integer or text, is a list"),
        ("table: [1]", "f:1:8: x.table: must be a map, is a list"),
    ],
)  # fmt: skip
def test_what_is_not_repaired(text: str, line: str) -> None:
    """Scenario: values of the wrong type, as they are written. Guarantees: no coercion, one line at the value."""
    assert _lines(_decoded(Everything, text)) == [line]


def test_a_wrong_value_tells_its_variable() -> None:
    """Scenario: a word for a number, and text that is no YAML. Guarantees: the line names the reference."""
    assert _lines(_decoded(Everything, "number: ${env:V}", V="five")) == [
        'f:1:9: x.number: must be an integer, is "five" (from ${env:V})'
    ]
    assert _lines(
        _decoded(ClickHouseConfig, "endpoint: x\ndatabase: ${env:V}\nkinds: ${env:W}", V="05", W="spans,x")
    ) == [
        'f:2:11: x.database: must match the regular expression ^[a-z_]+$, is "05" (from ${env:V})',
        'f:3:8: x.kinds[1]: must be spans or logs, is "x" (from ${env:W})',
    ]
    (line,) = _lines(_decoded(Everything, "table: ${env:V}", V="@a"))
    assert line == (
        'f:1:8: x.table: must be a map, is "@a" (from ${env:V}, which is text because of env:V:1:1: '
        'a value cannot begin with "@"; put it in quotes)'
    )


def test_ignored_keys_are_warnings() -> None:
    """Scenario: keys declared on the map itself, on a map around it, and inside of a map without a field.

    Guarantees: a warning for each at its place, and no problem.
    """
    decoded = _decoded(
        OTLPConfig,
        "protocols:\n  grpc:\n    read_buffer_size: 5\n    write_buffer_size: 6\n    cors: {max_age: 7}\n",
    )

    assert decoded.problems == []
    assert isinstance(decoded.config, OTLPConfig)
    assert [str(warning) for warning in decoded.warnings] == [
        "f:3:5: x.protocols.grpc.read_buffer_size: is ignored: the library chooses its buffers",
        "f:4:5: x.protocols.grpc.write_buffer_size: is ignored: declared two levels up",
        "f:5:12: x.protocols.grpc.cors.max_age: is ignored: browsers cache as they like",
    ]


def test_a_model_that_says_what_it_lacks() -> None:
    """Scenario: a key that is declared as not supported, in a list of models. Guarantees: its reason, once."""

    class Item(Config):
        unsupported_keys: ClassVar[Mapping[str, str]] = {"script": "nothing is run"}
        name: str

    class Items(Config):
        items: tuple[Item, ...]

    assert _lines(_decoded(Items, "items: [{name: a}, {name: b, script: rm}]")) == [
        "f:1:30: x.items[1].script: not supported by jobsight: nothing is run"
    ]


def test_validators_speak_for_themselves() -> None:
    """Scenario: a model that compares two of its keys. Guarantees: its own words, at the map."""

    class Range(Config):
        low: int
        high: int

        @model_validator(mode="after")
        def _ordered(self) -> Range:
            if self.low > self.high:
                raise ValueError(f"low must not be above high, is {self.low} above {self.high}")
            return self

    class Ranges(Config):
        one: Range

    assert _lines(_decoded(Ranges, "\none:\n  {low: 5, high: 1}")) == [
        "f:2:1: x.one: low must not be above high, is 5 above 1"
    ]


def test_a_list_with_a_wrong_item_is_not_called_short() -> None:
    """Scenario: a list of at least one, whose one item is wrong. Guarantees: the item's line and no other."""
    lines = _lines(_decoded(SamplingConfig, "policies: [{name: a, type: status_code, status_codes: [X]}]"))
    assert lines == ['f:1:56: x.policies[0].status_codes[0]: must be OK or ERROR, is "X"']


SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6, max_size=20)


@given(SECRETS, st.sampled_from(["password: [{0}]", "password: {{k: {0}}}", "headers: {0}", "headers: {{a: [{0}]}}",
                                 "headers: {{a: {{b: {0}}}}}", "passwrd: {0}"]))  # fmt: skip
def test_secrets_are_never_shown(secret: str, shape: str) -> None:
    """Scenario: a secret where it does not belong, and under a mistyped key. Guarantees: no line has it."""
    marked = f"Zq9{secret}"
    lines = _lines(_decoded(ClickHouseConfig, "endpoint: x\n" + shape.format(marked)))
    assert lines
    assert not any(marked in line for line in lines)


@given(SECRETS)
def test_secrets_from_variables_are_never_shown(secret: str) -> None:
    """Scenario: a secret from a variable, where it fits and where not. Guarantees: it is not shown."""
    marked = f"Zq9{secret}"
    lines = _lines(_decoded(ClickHouseConfig, f"endpoint: x\nheaders: ${{env:NO:-{marked}}}"))
    assert not any(marked in line for line in lines)

    decoded = _decoded(ClickHouseConfig, "endpoint: x\npassword: ${env:PW}", PW=marked)
    assert decoded.config is not None
    assert marked not in repr(decoded.config)
    assert decoded.config.password.get_secret_value() == marked


def test_a_number_as_a_secret() -> None:
    """Scenario: a numeric password, bare and from a variable. Guarantees: refused unseen, and taken as text."""
    assert _lines(_decoded(ClickHouseConfig, "endpoint: x\npassword: 31337")) == [
        "f:2:11: x.password: must be text, is a number; put it in quotes"
    ]
    decoded = _decoded(ClickHouseConfig, "endpoint: x\npassword: ${env:PW}", PW="007")
    assert decoded.config is not None
    assert decoded.config.password == Secret("007")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab1 ", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(Everything.model_fields)), inner),
    max_leaves=10,
))  # fmt: skip
def test_any_tree_ends_in_a_config_or_in_problems(tree: Any) -> None:
    """Scenario: any tree under the keys of a model. Guarantees: it ends, with a config or with problems, not both."""
    node, _ = read_yaml(json.dumps(tree), "f")
    decoded = decode(Everything, node, ())
    assert (decoded.config is None) == bool(decoded.problems)
    assert len({str(problem) for problem in decoded.problems}) == len(decoded.problems)
