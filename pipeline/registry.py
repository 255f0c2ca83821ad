"""Which components there are: entry points, imported only when a config asks for them.

A component is one line in its distribution's `pyproject.toml`, in the group `jobsight.receivers`, `.processors`,
`.exporters` or `.extensions`; another spelling of its type (`aliases`) is one more line for the same class.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from types import MappingProxyType
from typing import Any, Final, Protocol

from pipeline.component import Component, Exporter, Extension, Processor, Receiver
from pipeline.config.collector import COLLECTOR_TYPES
from pipeline.config.words import choice
from pipeline.errors import JobsightError

DISTRIBUTION: Final = "jobsight"
PACKAGES: Final = ("pipeline", "receivers", "processors", "exporters", "extensions")
"""Our top-level packages. The names are generic, and another owner would overwrite files without a word."""


class Role(StrEnum):
    """What a component is for: the section of the YAML that it is configured in."""

    RECEIVERS = "receivers"
    PROCESSORS = "processors"
    EXPORTERS = "exporters"
    EXTENSIONS = "extensions"

    @property
    def one(self) -> str:
        """The word for one of them."""
        return self.value.removesuffix("s")

    @property
    def base(self) -> type[Component[Any]]:
        return _BASES[self]


_BASES: Final[Mapping[Role, type[Component[Any]]]] = MappingProxyType(
    {
        Role.RECEIVERS: Receiver,
        Role.PROCESSORS: Processor,
        Role.EXPORTERS: Exporter,
        Role.EXTENSIONS: Extension,
    }
)


class UnknownComponent(JobsightError):
    """No component has this type; the message says which there are."""


class UnusableComponent(JobsightError):
    """The component is known but cannot be used here; the message says what to do."""


class Source(Protocol):
    """Where a component comes from; an entry point is one."""

    def load(self) -> Any:
        """Import it."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A class that is there already."""

    component: type[Component[Any]]

    def load(self) -> type[Component[Any]]:
        return self.component


class Registry:
    """The components that can be named in a config: by default what the installed distributions offer."""

    def __init__(self, sources: Mapping[Role, Mapping[str, Source]] | None = None) -> None:
        self._sources = _installed() if sources is None else sources

    @classmethod
    def of(cls, *components: type[Component[Any]]) -> Registry:
        """Return a registry of just these classes, under their types and aliases."""
        sources: dict[Role, dict[str, Source]] = {role: {} for role in Role}
        for component in components:
            role = next(role for role in Role if issubclass(component, role.base))
            sources[role].update(dict.fromkeys((component.kind, *component.aliases), _Given(component)))
        return cls(sources)

    def names(self, role: Role) -> list[str]:
        """Return every type that can be named, aliases too, in order."""
        return sorted(self._sources.get(role, {}))

    def component(self, role: Role, name: str) -> type[Component[Any]]:
        """Import and return the component of this type or alias. Raises UnknownComponent or UnusableComponent."""
        source = self._sources.get(role, {}).get(name)
        if source is None:
            raise UnknownComponent(self._unknown(role, name))
        try:
            found = source.load()
        except ModuleNotFoundError as error:
            raise UnusableComponent(_missing_module(role, name, error, source)) from error
        except (ImportError, AttributeError) as error:
            raise UnusableComponent(f'{role.one} "{name}" cannot be imported: {error}') from error
        if not (isinstance(found, type) and issubclass(found, role.base)):
            raise UnusableComponent(f'{role.one} "{name}" is registered as {found!r}, which is no {role.base.__name__}')
        if name not in (found.kind, *found.aliases):
            known = ", ".join((found.kind, *found.aliases))
            raise UnusableComponent(
                f'{role.one} "{name}" is registered as {found.__qualname__}, which is called {known}'
            )
        return found

    def listing(self) -> dict[str, dict[str, str]]:
        """Import all, and return the first line about each type of each role, or why it is unusable."""
        return {str(role): {name: self._about(role, name) for name in self.names(role)} for role in Role}

    def _about(self, role: Role, name: str) -> str:
        try:
            component = self.component(role, name)
        except UnusableComponent as error:
            return str(error)
        if name != component.kind:
            return f"Old name of {component.kind}."
        about = component.__dict__.get("__doc__") or sys.modules[component.__module__].__doc__
        return inspect.cleandoc(about or "").partition("\n")[0]

    def _unknown(self, role: Role, name: str) -> str:
        known = self.names(role)
        if name in COLLECTOR_TYPES[role]:
            names = ", ".join(known) or "none"
            return f'jobsight has no {role.one} "{name}" yet, though the Collector has one (known: {names})'
        for other in Role:
            if other is not role and name in self._sources.get(other, {}):
                article = "an" if other.one[0] in "aeiou" else "a"
                return f'unknown {role.one} type "{name}"; it is {article} {other.one}{choice(name, known)}'
        return f'unknown {role.one} type "{name}"{choice(name, known)}'


def foreign_owners(owners: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Return a line for each of our packages that another distribution also installs; there should be none.

    `owners` are the distributions of each top-level package, by default those of this environment (40 ms). An editable
    install of ours names nobody, which is fine.
    """
    found = metadata.packages_distributions() if owners is None else owners
    return [
        f'the package "{package}" also belongs to the distribution "{other}", whose files get mixed with jobsight\'s: '
        f"install jobsight into an environment of its own"
        for package in PACKAGES
        for other in sorted({_normalized(owner) for owner in found.get(package, ())} - {DISTRIBUTION})
    ]


def _installed() -> dict[Role, dict[str, Source]]:
    """Find entry points; nothing is imported."""
    return {role: {point.name: point for point in metadata.entry_points(group=f"jobsight.{role}")} for role in Role}


def _missing_module(role: Role, name: str, error: ModuleNotFoundError, source: Source) -> str:
    module = (error.name or "?").partition(".")[0]
    if module in PACKAGES:
        return f'{role.one} "{name}" cannot be imported: {error}'
    owner = getattr(getattr(source, "dist", None), "name", DISTRIBUTION)
    extras = tuple(getattr(source, "extras", ())) or _extras_with(owner, module)
    wanted = f"{owner}[{','.join(extras)}]" if extras else module
    return f'{role.one} "{name}" needs the module "{module}", which is not installed; run: pip install "{wanted}"'


def _extras_with(distribution: str, module: str) -> tuple[str, ...]:
    """Return the extras of a distribution that require something called like the module (`chdb` in `chdb-core`)."""
    try:
        requirements = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return ()
    found = (
        (re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0], re.search(r"extra == ['\"](.+?)['\"]", requirement))
        for requirement in requirements
    )
    wanted = _normalized(module)
    names = ((_normalized(name), extra[1]) for name, extra in found if extra)
    extras = {extra for name, extra in names if name == wanted or name.startswith(f"{wanted}-")}
    return tuple(sorted(extras, key=lambda extra: (extra == "all", extra)))[:1]


def _normalized(name: str) -> str:
    """As PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
