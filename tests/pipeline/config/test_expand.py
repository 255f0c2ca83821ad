"""`${...}`: variables, files, literal YAML, nesting, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.expand import MAX_EXPANSIONS, expand
from pipeline.config.positions import Node, Place, Problem

ENVIRON = {
    "PORT": "8080",
    "ZIP": "0123",
    "FLAG": "true",
    "LIST": "[a, '${env:PORT}']",
    "MAP": """{port: '${PORT}'}""",
    "EMPTY": "",
    "NAME": "PORT",
    "DOLLARS": "a$$b",
    "COMMENT": "pass #word",
    "NO_YAML": "@pass: word: 'x",
    "QUOTED": '"5"',
    "LOOP": "${env:LOOP}",
    "HYDRA": "${HYDRA2}${HYDRA2}",
    "HYDRA2": "${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}${HYDRA3}",
    "HYDRA3": "${HYDRA4}" * 100,
    "HYDRA4": "x",
    "NO_UTF8": "\udcff",
}


def _expanded(value: Any) -> tuple[Node, list[Problem], list[Problem]]:
    return expand(Node(value, Place("f", 1, 2), Place("f", 1, 1)), ENVIRON)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${env:PORT}", 8080),
        ("${PORT}", 8080),
        ("localhost:${env:PORT}", "localhost:8080"),
        ("${env:ZIP}", 123),
        ("zip ${env:ZIP}", "zip 0123"),
        ("${env:FLAG}", True),
        ("${env:LIST}", ["a", 8080]),
        ("${env:MAP}", {"port": 8080}),
        ("${env:EMPTY}", None),
        ("<${env:EMPTY}>", "<>"),
        ("${env:EMPTY:-default}", None),
        ("${env:NOT_SET:-default}", "default"),
        ("${NOT_SET:-9}", 9),
        ("${env:NOT_SET:-}", None),
        ("${env:NOT_SET:-${env:PORT}}", 8080),
        ("${env:${env:NAME}}", 8080),
        ("${yaml:[1, 2]}", [1, 2]),
        ("${yaml:'5'}", "5"),
        ("${env:QUOTED}", '"5"'),
        ("${env:COMMENT}", "pass #word"),
        ("${env:NO_YAML}", "@pass: word: 'x"),
        ("$$", "$"),
        ("$${env:PORT}", "${env:PORT}"),
        ("$$${env:PORT}", "$8080"),
        ("${env:DOLLARS}", "a$b"),
        ("$PORT and ^a$", "$PORT and ^a$"),
        ("${env:PORT", "${env:PORT"),
        ("{${env:PORT}}", "{8080}"),
    ],
)
def test_forms(written: str, expected: object) -> None:
    """Scenario: every form that the Collector documents, and its edges. Guarantees: the value in YAML's type."""
    node, problems, _ = _expanded(written)

    assert problems == []
    assert node.plain() == expected
    assert type(node.plain()) is type(expected)
    assert (node.place, node.key) == (Place("f", 1, 2), Place("f", 1, 1))


@pytest.mark.parametrize(
    ("written", "text"),
    [("${env:ZIP}", "0123"), ("${env:FLAG}", "true"), ("${env:EMPTY}", ""), ("${env:LIST}", ENVIRON["LIST"])],
)
def test_whole_values_keep_their_text(written: str, text: str) -> None:
    """Scenario: a value that is one reference. Guarantees: the original text is there for where text is wanted."""
    node, _, _ = _expanded(written)
    assert node.text == text
    assert node.origin == written


def test_a_variable_that_is_not_set_is_a_warning() -> None:
    """Scenario: two uses of a variable that nobody set, whole and in text. Guarantees: null and "", two warnings."""
    node, problems, warnings = _expanded(
        [Node("${env:NOT_SET}", Place("f", 1, 1)), Node("<${NOT_SET}>", Place("f", 2, 1))]
    )

    assert problems == []
    assert node.plain() == [None, "<>"]
    assert [str(warning) for warning in warnings] == [
        'f:1:1: [0]: environment variable "NOT_SET" is not set; the value is null',
        'f:2:1: [1]: environment variable "NOT_SET" is not set; the value is null',
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("${env:LOOP}", "too many recursive expansions"),
        ("${env:HYDRA}", "too many recursive expansions"),
        ("${env:1X}", 'environment variable "1X" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$'),
        ("${}", 'environment variable "" has invalid name'),
        ("${env:NO_UTF8}", 'environment variable "NO_UTF8" is not UTF-8'),
        ("${vault:x}", 'scheme "vault" is not supported for uri "vault:x" (known: env, file, yaml)'),
        ("${https://a/b}", "jobsight reads no configuration over https"),
        ("${file:no/such/file}", '"no/such/file" cannot be read: No such file or directory'),
        ("<${env:MAP}>", "${env:MAP} is a map and cannot stand inside of longer text"),
        ("<${env:LIST}>", "${env:LIST} is a list and cannot stand inside of longer text"),
    ],
)
def test_what_cannot_be_expanded(written: str, words: str) -> None:
    """Scenario: loops, growth, bad names and schemes, missing files. Guarantees: one problem, at the value."""
    node, problems, _ = _expanded({"key": Node(written, Place("f", 3, 4))})

    assert [problem.place for problem in problems] == [Place("f", 3, 4)]
    assert problems[0].path == ("key",)
    assert words in problems[0].text
    inner = node.child("key")
    assert inner is not None
    assert inner.broken


def test_every_value_has_its_own_budget() -> None:
    """Scenario: more references in a file than one value may have. Guarantees: all of them are expanded."""
    count = MAX_EXPANSIONS + 1
    node, problems, _ = _expanded([Node("${PORT}", Place("f", line, 1)) for line in range(count)])

    assert problems == []
    assert node.plain() == [8080] * count


def test_files(tmp_path: Path) -> None:
    """Scenario: files with a secret, a map that refers on, a byte order mark, bytes that are no text.

    Guarantees: the last newline is not part of a value, the places of a map are those in its file.
    """
    (tmp_path / "secret").write_text("0123\n", encoding="utf-8")
    (tmp_path / "pem").write_text("-----BEGIN X-----\nYWJj\n-----END X-----\n", encoding="utf-8")
    (tmp_path / "map.yaml").write_text("\ufeffa: 1\nb: ${env:PORT}\n", encoding="utf-8")
    (tmp_path / "latin").write_bytes(b"a\ncaf\xe9\n")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n", encoding="utf-8")
    names = ("secret", "pem", "map.yaml", "latin", "twice.yaml")
    node, problems, _ = _expanded({name: Node(f"${{file:{tmp_path / name}}}", Place("f", 1, 1)) for name in names})

    secret, pem, inner = (node.child(name) for name in names[:3])
    assert secret is not None
    assert (secret.value, secret.text) == (123, "0123")
    assert pem is not None
    assert pem.value == "-----BEGIN X-----\nYWJj\n-----END X-----"
    assert inner is not None
    assert inner.plain() == {"a": 1, "b": 8080}
    port = inner.child("b")
    assert port is not None
    assert port.place == Place(str(tmp_path / "map.yaml"), 2, 4)
    assert [(problem.path, problem.text.replace(str(tmp_path), "")) for problem in problems] == [
        (("latin",), '"/latin" is not UTF-8: line 2 has the byte 0xe9'),
        (("twice.yaml", "a"), "duplicate key, first given at /twice.yaml:1:1"),
    ]


@given(st.text())
def test_escaped_text_is_itself(text: str) -> None:
    """Scenario: any text, its dollars doubled. Guarantees: the text, and nothing to complain of."""
    node, problems, warnings = _expanded(text.replace("$", "$$"))
    assert (node.value, problems, warnings) == (text, [], [])


@given(st.text(st.sampled_from("${}:-$envPORT_1 "), max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    """Scenario: any mess of characters that mean something. Guarantees: a value or a problem, no exception."""
    node, problems, _ = _expanded(text)
    assert node.broken == bool(problems)


@given(st.lists(st.sampled_from(["a", "$$", "${PORT}", "${env:ZIP}", "${env:NOT_SET:-x}", " "]), min_size=2))
def test_parts_are_joined(parts: list[str]) -> None:
    """Scenario: text made of plain parts, escapes and references. Guarantees: each part's text, in order."""
    texts = {"$$": "$", "${PORT}": "8080", "${env:ZIP}": "0123", "${env:NOT_SET:-x}": "x"}
    node, problems, _ = _expanded("".join(parts))
    assert (node.value, problems) == ("".join(texts.get(part, part) for part in parts), [])
