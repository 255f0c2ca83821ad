"""Components by name: aliases, near misses, extras that are not installed, foreign owners of our packages."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import pytest

from pipeline import Batch, Config, Exporter, Kind, Processor
from pipeline.registry import Registry, Role, UnknownComponent, UnusableComponent, foreign_owners


class Nothing(Config):
    """No keys."""


class Sink(Exporter[Nothing]):
    """Swallows everything.

    And this is not in a listing.
    """

    kind = "sink_grpc"
    aliases = ("sink",)
    Config = Nothing

    async def export(self, batch: Batch) -> None:
        pass


class Passing(Processor[Nothing]):
    """Lets everything pass."""

    kind = "passing"
    Config = Nothing
    handles = frozenset({Kind.SPANS})

    def process(self, batch: Batch) -> Iterable[Batch]:
        yield batch


class Source:
    """An entry point that fails as it is told, or gives what it is told."""

    def __init__(self, outcome: Any, extras: tuple[str, ...] = ()) -> None:
        self.outcome = outcome
        self.extras = extras
        self.loads = 0

    def load(self) -> Any:
        self.loads += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def _exporters(**sources: Source) -> Registry:
    return Registry({Role.EXPORTERS: sources})


def test_types_and_aliases() -> None:
    """Scenario: a class with an alias. Guarantees: both names find it, both are listed, the alias as old."""
    registry = Registry.of(Sink, Passing)

    assert registry.component(Role.EXPORTERS, "sink") is Sink
    assert registry.component(Role.EXPORTERS, "sink_grpc") is Sink
    assert registry.names(Role.EXPORTERS) == ["sink", "sink_grpc"]
    assert registry.listing() == {
        "receivers": {},
        "processors": {"passing": "Lets everything pass."},
        "exporters": {"sink": "Old name of sink_grpc.", "sink_grpc": "Swallows everything."},
        "extensions": {},
    }


def test_only_what_is_asked_for_is_imported() -> None:
    """Scenario: two sources, one of them asked for. Guarantees: the other is not loaded, also not for its name."""
    used, unused = Source(Sink), Source(Passing)
    registry = _exporters(sink=used, other=unused)

    registry.names(Role.EXPORTERS)
    registry.component(Role.EXPORTERS, "sink")

    assert (used.loads, unused.loads) == (1, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("snik", 'unknown exporter type "snik"; did you mean "sink"? (known: sink, sink_grpc)'),
        ("whatever", 'unknown exporter type "whatever" (known: sink, sink_grpc)'),
        ("passing", 'unknown exporter type "passing"; it is a processor (known: sink, sink_grpc)'),
        ("loki", 'jobsight has no exporter "loki" yet, though the Collector has one (known: sink, sink_grpc)'),
    ],
)
def test_unknown_types(name: str, words: str) -> None:
    """Scenario: a typo, nonsense, another role's, the Collector's. Guarantees: what it is and what there is."""
    with pytest.raises(UnknownComponent) as caught:
        Registry.of(Sink, Passing).component(Role.EXPORTERS, name)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source(ModuleNotFoundError("x", name="aiokafka.client"), ("kafka",)),
         'needs the module "aiokafka", which is not installed; run: pip install "jobsight[kafka]"'),
        (Source(ModuleNotFoundError("x", name="chdb")),
         'needs the module "chdb", which is not installed; run: pip install "jobsight[embedded]"'),
        (Source(ModuleNotFoundError("x", name="nobody_has_it")),
         'needs the module "nobody_has_it", which is not installed; run: pip install "nobody_has_it"'),
        (Source(ModuleNotFoundError("No module named 'exporters.snik'", name="exporters.snik")),
         "cannot be imported: No module named 'exporters.snik'"),
        (Source(AttributeError("module 'x' has no attribute 'Snik'")), "cannot be imported: module 'x' has no"),
        (Source(Passing), "which is no Exporter"),
        (Source("text"), "is registered as 'text', which is no Exporter"),
        (Source(Sink), "is registered as Sink, which is called sink_grpc, sink"),
    ],
)  # fmt: skip
def test_unusable_components(source: Source, words: str) -> None:
    """Scenario: an extra that is not installed, a broken entry point, a class of another role or name.

    Guarantees: one line that says what to do or who is wrong, in the listing too.
    """
    registry = _exporters(it=source)
    with pytest.raises(UnusableComponent) as caught:
        registry.component(Role.EXPORTERS, "it")
    assert words in str(caught.value)
    assert str(caught.value).startswith('exporter "it" ')
    assert registry.listing()["exporters"] == {"it": str(caught.value)}


def test_foreign_owners() -> None:
    """Scenario: who owns our package names. Guarantees: nobody or we alone is fine, anybody else has a line."""
    assert foreign_owners({}) == []
    assert foreign_owners({"pipeline": ["jobsight"], "exporters": ["Jobsight"], "numpy": ["numpy"]}) == []
    (line,) = foreign_owners({"pipeline": ["jobsight", "pipe_line"]})
    assert line.startswith('the package "pipeline" also belongs to the distribution "pipe-line"')


def test_nobody_else_owns_our_packages_here() -> None:
    """Scenario: the environment that the tests run in. Guarantees: no other distribution shares our packages."""
    assert foreign_owners() == []


def test_what_is_installed_can_be_used() -> None:
    """Scenario: our own entry points. Guarantees: each is a component of its role and has a first line."""
    registry = Registry()
    listing = registry.listing()
    for role in Role:
        points = metadata.entry_points(group=f"jobsight.{role}")
        assert registry.names(role) == sorted(point.name for point in points)
        for point in points:
            component = registry.component(role, point.name)
            assert point.name in (component.kind, *component.aliases)
            assert listing[role][point.name].endswith("."), f"{point.name} has no documentation"


def test_finding_names_imports_nothing() -> None:
    """Scenario: a registry of what is installed, asked for its names and for another. Guarantees: no import."""
    before = set(sys.modules)
    registry = Registry()
    with pytest.raises(UnknownComponent):
        registry.component(Role.EXPORTERS, "nothing_like_it")
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert imported.isdisjoint({"receivers", "processors", "exporters", "extensions"})
