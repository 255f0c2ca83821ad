"""What the command line names -> a `Plan`, or one ConfigError with every problem of every component.

Components that no pipeline uses are validated too, as in the Collector: a typo there waits for the day they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from pipeline.component import Component, ComponentId, Exporter, Processor
from pipeline.config.decode import Decoded, decode
from pipeline.config.plan import Definition, PipelineDefinition, Plan, Telemetry
from pipeline.config.positions import Node, Path, Place, Problem
from pipeline.config.sections import PipelineSection, ServiceSection, TelemetrySection
from pipeline.config.sources import read_sources
from pipeline.config.words import choice, said
from pipeline.durable import DurableConfig, Storage
from pipeline.errors import ConfigError
from pipeline.kinds import SHAPES, Signal
from pipeline.registry import Registry, Role, UnknownComponent, UnusableComponent

T = TypeVar("T", bound=Component[Any])

_SECTIONS: Final = (*(str(role) for role in Role), "connectors", "service")


def load_plan(configs: Sequence[str], sets: Sequence[str], *, environ: Mapping[str, str], registry: Registry) -> Plan:
    """Read, merge, expand and validate a configuration.

    `configs` are paths or addresses (`file:`, `env:`, `yaml:`), merged from left to right; `sets` are `a.b.c=value`,
    merged last. Imports the components that are named, and builds none. Raises ConfigError with a line for each
    problem, `source:line:column: path.to.key: what is wrong and what is allowed`, in the order of the text.
    """
    loaded = read_sources(configs, sets, environ)
    loading = _Loading(loaded.root, registry, loaded.sources)
    loading.problems += loaded.problems
    loading.warnings += loaded.warnings
    plan = loading.plan()
    if loading.problems or plan is None:
        raise ConfigError(_lines(loading.problems, loaded.sources))
    return plan


class _Loading:
    """One walk over the merged tree."""

    def __init__(self, root: Node, registry: Registry, sources: Sequence[str]) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._root = root
        self._registry = registry
        self._sources = sources
        self._idents: dict[Role, set[ComponentId]] = {role: set() for role in Role}
        self._unreadable: set[Role] = set()
        self._connectors: set[str] = set()

    def plan(self) -> Plan | None:
        """Return the plan as far as it goes; it is whole only if there are no problems."""
        if self._root.value == {}:
            if not self.problems:
                self._problem((), "empty configuration file")
            return None
        self._sections()
        definitions = {role: self._components(role) for role in Role}
        for role in (Role.RECEIVERS, Role.EXPORTERS):
            if not self._idents[role] and not self._connectors and role not in self._unreadable:
                self._problem((str(role),), f"no {role.one} configuration specified in config")
        return self._service(definitions)

    def _sections(self) -> None:
        for key, node in self._root.children():
            if key not in _SECTIONS:
                self._problem((key,), f"unknown key{choice(str(key), _SECTIONS)}")
            elif key == "connectors" and node.value:
                self._problem((key,), "jobsight has no connectors yet")
                self._connectors = {str(name) for name, _ in node.children()}

    def _components(self, role: Role) -> dict[ComponentId, Definition[Any]]:
        path = (str(role),)
        section = self._map(path)
        if self._is_broken(path):
            self._unreadable.add(role)
        definitions: dict[ComponentId, Definition[Any]] = {}
        for text, node in section.items():
            ident = self._ident(text, (*path, text))
            if ident is None:
                continue
            if ident in self._idents[role]:
                self._problem((*path, text), f'duplicate {role.one} "{ident}": spaces around the parts do not count')
            self._idents[role].add(ident)
            component = self._component_class(role, ident, (*path, text))
            if component is None:
                continue
            decoded = decode(component.Config, node, (*path, text))
            config = self._noted(decoded)
            if config is not None:
                definitions[ident] = Definition(ident, component, config)
        return definitions

    def _component_class(self, role: Role, ident: ComponentId, path: Path) -> type[Component[Any]] | None:
        try:
            component = self._registry.component(role, ident.type)
        except (UnknownComponent, UnusableComponent) as error:
            self._problem(path, str(error))
            return None
        if ident.type != component.kind:
            self._warning(path, f'"{ident.type}" alias is deprecated; use "{component.kind}" instead')
        return component

    def _service(self, definitions: Mapping[Role, Mapping[ComponentId, Definition[Any]]]) -> Plan | None:
        node = self._root.child("service") or Node({}, self._root.place)
        section = self._noted(decode(ServiceSection, node, ("service",)))
        telemetry = self._telemetry(node)
        pipelines = self._pipelines(definitions[Role.EXPORTERS])
        if section is None:
            return None
        names = enumerate(section.extensions)
        extensions = [
            self._reference(Role.EXTENSIONS, name, ("service", "extensions", number)) for number, name in names
        ]
        self._refuse_twice(Role.EXTENSIONS, extensions, ("service", "extensions"))
        self._check_storages(definitions, extensions, pipelines)
        for ident in self._idents[Role.EXTENSIONS] - set(extensions):
            path = (str(Role.EXTENSIONS), str(ident))
            self._warning(path, "is not listed in service.extensions and will not be started")
        return Plan(
            definitions[Role.RECEIVERS],
            definitions[Role.PROCESSORS],
            definitions[Role.EXPORTERS],
            definitions[Role.EXTENSIONS],
            tuple(ident for ident in extensions if ident is not None),
            pipelines,
            telemetry,
            section.shutdown_timeout,
            tuple(_lines(self.warnings, self._sources)),
        )

    def _check_storages(
        self,
        definitions: Mapping[Role, Mapping[ComponentId, Definition[Any]]],
        started: Sequence[ComponentId | None],
        pipelines: Sequence[PipelineDefinition],
    ) -> None:
        """Whoever names a storage wants its state back: a storage that is none, or does not start, is a mistake.

        So is a processor of which there is one for each of several pipelines: they would write to one file.
        """
        named = [(role, ident, definition.config) for role in Role for ident, definition in definitions[role].items()]
        for role, ident, config in named:
            if not isinstance(config, DurableConfig) or config.storage is None:
                continue
            path = (str(role), str(ident), "storage")
            storage = self._reference(Role.EXTENSIONS, config.storage, path)
            definition = definitions[Role.EXTENSIONS].get(storage) if storage is not None else None
            if definition is not None and not issubclass(definition.component, Storage):
                self._problem(path, f'extension "{storage}" stores nothing; name a `file_storage`')
            elif storage is not None and storage not in started:
                self._problem(path, f'extension "{storage}" is not started; list it in service.extensions')
            if role is Role.PROCESSORS:
                component = definitions[role][ident].component
                homes = [str(one) for one in pipelines if ident in one.processors and _builds(component, one)]
                if len(homes) > 1:
                    text = f"pipelines {', '.join(homes)} have one {ident} each, which cannot keep state under one name"
                    self._problem(path, f"{text}; configure one for each: {ident.type}/NAME")

    def _telemetry(self, service: Node) -> Telemetry:
        node = service.child("telemetry")
        section = node and self._noted(decode(TelemetrySection, node, ("service", "telemetry")))
        return section.telemetry() if section else Telemetry()

    def _pipelines(self, exporters: Mapping[ComponentId, Definition[Any]]) -> tuple[PipelineDefinition, ...]:
        path = ("service", "pipelines")
        section = self._map(path, quiet=True)  # ServiceSection says it
        if not section and not self._is_broken(path):
            self._problem(path, "service must have at least one pipeline")
        found: list[PipelineDefinition] = []
        for text, node in section.items():
            signal = self._signal(text, (*path, text))
            written = self._noted(decode(PipelineSection, node, (*path, text)))
            if written is not None:
                pipeline = self._pipeline(signal or Signal.TRACES, text, written, (*path, text))
                if signal is not None:
                    self._check_signals(pipeline, exporters, (*path, text))
                found.append(pipeline)
        return tuple(found)

    def _pipeline(self, signal: Signal, text: str, written: PipelineSection, path: Path) -> PipelineDefinition:
        roles = {
            Role.RECEIVERS: written.receivers,
            Role.PROCESSORS: written.processors,
            Role.EXPORTERS: written.exporters,
        }
        idents = {
            role: [self._reference(role, name, (*path, str(role), number)) for number, name in enumerate(names)]
            for role, names in roles.items()
        }
        for role in (Role.RECEIVERS, Role.EXPORTERS):
            if not idents[role]:
                self._problem((*path, str(role)), f"must have at least one {role.one}")
        self._refuse_twice(Role.PROCESSORS, idents[Role.PROCESSORS], (*path, str(Role.PROCESSORS)))
        known = {role: tuple(dict.fromkeys(one for one in some if one)) for role, some in idents.items()}
        name = text.partition("/")[2].strip()
        return PipelineDefinition(signal, name, known[Role.RECEIVERS], known[Role.PROCESSORS], known[Role.EXPORTERS])

    def _signal(self, text: str, path: Path) -> Signal | None:
        ident = self._ident(text, path)
        if ident is None:
            return None
        if ident.type == "profiles":
            self._problem(path, "jobsight has no pipelines for profiles yet (known: logs, metrics, traces)")
        elif ident.type not in list(Signal):
            self._problem(path, f'unknown pipeline signal: "{ident.type}"{choice(ident.type, list(Signal))}')
        else:
            return Signal(ident.type)
        return None

    def _check_signals(
        self, pipeline: PipelineDefinition, exporters: Mapping[ComponentId, Definition[Any]], path: Path
    ) -> None:
        """An exporter that writes nothing of what its pipeline carries is a mistake, not a setting."""
        for ident in pipeline.exporters:
            definition = exporters.get(ident)
            if definition is None:
                continue
            signals = {SHAPES[kind].signal for kind in cast("type[Exporter[Any]]", definition.component).handles}
            if None not in signals and pipeline.signal not in signals:
                known = ", ".join(sorted(str(signal) for signal in signals))
                self._problem(
                    (*path, "exporters"), f'exporter "{ident}" does not take {pipeline.signal} (takes: {known})'
                )

    def _reference(self, role: Role, name: str, path: Path) -> ComponentId | None:
        """Return the id that a list names, None with a problem where nothing has that id."""
        ident = self._ident(name, path)
        if ident is None or ident in self._idents[role]:
            return ident
        if str(ident) not in self._connectors and role not in self._unreadable:
            configured = [str(known) for known in self._idents[role]]
            hint = choice(str(ident), configured, "configured")
            self._problem(path, f'references {role.one} "{ident}" which is not configured{hint}')
        return None

    def _refuse_twice(self, role: Role, idents: Sequence[ComponentId | None], path: Path) -> None:
        for number, ident in enumerate(idents):
            if ident is not None and ident in idents[:number]:
                self._problem((*path, number), f'references {role.one} "{ident}" multiple times')

    def _ident(self, text: str, path: Path) -> ComponentId | None:
        try:
            return ComponentId.parse(text)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _map(self, path: Path, *, quiet: bool = False) -> Mapping[str, Node]:
        node = self._root.at(path)
        if node is None or node.value is None:
            return {}
        if isinstance(node.value, dict):
            return node.value
        if not quiet:
            self._problem(path, f"must be a map, is {said(node.plain())}")
        return {}

    def _is_broken(self, path: Path) -> bool:
        node = self._root.nearest(path)
        exists = self._root.at(path) is not None
        return node.broken or (exists and node.value is not None and not isinstance(node.value, dict))

    def _noted(self, decoded: Decoded[Any]) -> Any:
        self.problems += decoded.problems
        self.warnings += decoded.warnings
        return decoded.config

    def _problem(self, path: Path, text: str) -> None:
        self.problems.append(Problem(self._place(path), path, text))

    def _warning(self, path: Path, text: str) -> None:
        self.warnings.append(Problem(self._place(path), path, text))

    def _place(self, path: Path) -> Place:
        """Return where a value of a list or the key of a map stands; for what is not there, where it should be."""
        node = self._root.nearest(path)
        in_list = bool(path) and isinstance(path[-1], int)
        return node.place if in_list or node.key is None else node.key


def _lines(problems: Sequence[Problem], sources: Sequence[str]) -> list[str]:
    """Return each line once, in the order of the sources and of their text; what `${file:...}` brought is last."""
    order = {name: number for number, name in reversed([*enumerate(sources)])}
    ordered = sorted(
        problems, key=lambda one: (order.get(one.place.source, len(order)), one.place.line, one.place.column)
    )
    return list(dict.fromkeys(str(problem) for problem in ordered))


def _builds(component: type[Processor[Any]], pipeline: PipelineDefinition) -> bool:
    """Tell whether the pipeline has an instance of its own, if it is not the first that names this processor."""
    return not component.shared or component.home_signal is pipeline.signal
