"""Which frames of a stack are the application's own, and what of a frame stays the same in the next release."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from processors.error_type.scrub import scrubbed_path
from processors.error_type.stacks import Frame, Language


@dataclass(frozen=True, slots=True)
class Foreign:
    """How to tell code of others: patterns searched in a frame's file, and in its function; empty ones find nothing."""

    file: re.Pattern[str]
    function: re.Pattern[str]


def _foreign(file: str = "(?!)", function: str = "(?!)") -> Foreign:
    return Foreign(re.compile(file), re.compile(function))


LIBRARIES: Final[Mapping[Language, Foreign]] = {
    Language.PYTHON: _foreign(
        r"/(?:site|dist)-packages/|[/\\][Ll]ib[/\\]site-packages[/\\]|/lib/python\d|^<frozen |^<string>$"
    ),
    Language.RUBY: _foreign(
        r"/gems/|/rubygems|/lib/ruby/|/opentelemetry/|^<internal:|/bin/(?:bundle|sidekiq|rake|rails)$"
    ),
    Language.GO: _foreign(
        r"/go/src/(?:runtime|net|testing|reflect|sync|os|io|encoding|database|context|syscall)/|/pkg/mod/|/vendor/|@v\d",
        r"^(?:runtime|net|reflect|sync|testing|context|syscall|os|io|encoding|database|crypto|fmt|time|errors|strings|bytes|sort"
        r"|strconv|bufio|regexp|math|log)(?:/[\w./]+)?\.|^internal/|^panic$",
    ),
    Language.ELIXIR: _foreign(
        r"^(?:elixir|stdlib|kernel|erts|mix|logger|oban|oban_pro|ecto|ecto_sql|postgrex|myxql|db_connection|phoenix\w*|plug\w*"
        r"|telemetry\w*|jason|finch|mint|tesla|hackney|req|gen_stage|broadway\w*|exq|redix|nimble_\w+|opentelemetry\w*"
        r"|swoosh|bamboo|absinthe)/|^deps/|\.erl$"
    ),
    Language.JVM: _foreign(
        function=r"^(?:[\w.@-]*/{1,2})?(?:javax?|jdk|sun|com\.sun|jakarta|kotlinx?|scala|clojure|groovy|akka|reactor|rx|okhttp3|okio"
        r"|retrofit2|feign|redis\.clients|org\.(?:spring\w*|apache|hibernate|quartz|postgresql|eclipse|jboss|slf4j|jooq|redisson"
        r"|jobrunr|junit|mongodb|elasticsearch|codehaus|aspectj|mybatis|glassfish|flywaydb|testng)"
        r"|io\.(?:netty|grpc|opentelemetry|micrometer|lettuce|vertx|quarkus|micronaut|reactivex|temporal|projectreactor)"
        r"|com\.(?:google|fasterxml|zaxxer|mysql|amazonaws|rabbitmq|github\.kagkarlsson|xxl\.job|microsoft|oracle|netflix)"
        r"|software\.amazon|ch\.qos|net\.bytebuddy|net\.sf|tech\.powerjob)\."
    ),
    Language.PHP: _foreign(
        r"/vendor/",
        r"^(?:Illuminate|Symfony|Doctrine|GuzzleHttp|Http\\Client|Monolog|OpenTelemetry|Composer|Psr|Carbon|Predis|Laravel)\\",
    ),
    Language.NODE: _foreign(
        r"/node_modules/|^node:|^internal/|^<anonymous>$|^native$|^(?:events|net|timers|fs|domain|_\w+)\.js$|^bun:|^deno:|^ext:"
    ),
    Language.DOTNET: _foreign(
        function=r"^(?:System|Microsoft|Hangfire|Quartz|Newtonsoft|Npgsql|MySql|MassTransit|NServiceBus|Polly|OpenTelemetry"
        r"|StackExchange|RabbitMQ|Confluent|Dapper|MongoDB|Grpc|MediatR|AutoMapper|Castle|Serilog|Azure|Amazon)\.|^lambda_method"
    ),
}
"""What is not the application's: packages, gems, modules, the standard library, the runtime."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose a frame is. The user's patterns, searched in file and function, come before the shipped ones."""

    application: tuple[re.Pattern[str], ...] = ()
    library: tuple[re.Pattern[str], ...] = ()

    def own(self, language: Language, frame: Frame) -> bool:
        """Return whether the frame is the application's."""
        if _any(self.application, frame):
            return True
        foreign = LIBRARIES[language]
        return not (
            _any(self.library, frame) or foreign.file.search(frame.file) or foreign.function.search(frame.function)
        )


def _any(patterns: tuple[re.Pattern[str], ...], frame: Frame) -> bool:
    return any(pattern.search(frame.file) or pattern.search(frame.function) for pattern in patterns)


_RULES: Final[Mapping[Language, Sequence[tuple[re.Pattern[str], str]]]] = {
    # "block (2 levels) in Shop::Order#pay" and, before Ruby 3.4, "block (2 levels) in pay": the method is pay
    Language.RUBY: (
        (re.compile(r"^(?:(?:block|rescue|ensure)(?: \(\d+ levels\))? in )+"), ""),
        (re.compile(r"^.*[#.](?=\w)"), ""),
    ),
    Language.NODE: ((re.compile(r"^(?:async )?(?:new )?"), ""), (re.compile(r" \[as [^\]]*\]$"), "")),
    Language.JVM: (
        (re.compile(r"^[\w.@-]*/{1,2}"), ""),  # class loader and module: "app//", "java.base/"
        (re.compile(r"\$\$Lambda.*?(?=\.\w+$)"), "$$Lambda"),
        (re.compile(r"(?<=\$\$)([A-Za-z]+)\$\$[0-9a-f]+"), r"\1"),
        (
            re.compile(r"(?:(?<=\$)|(?<=Accessor)|(?<=\$Proxy))\d+"),
            "",
        ),  # Foo$1, lambda$run$0, $Proxy42, GeneratedMethodAccessor7
    ),
    Language.GO: (
        (re.compile(r"\[\.\.\.\]"), ""),
        (re.compile(r"(?:\.func\d+|\.gowrap\d+|\.\d+)(?:\.\d+|-range\d+|\.gowrap\d+)*"), ".func"),
    ),
    Language.ELIXIR: ((re.compile(r"^(?:anonymous fn/\d+ in )"), ""), (re.compile(r"^-(.*?)/(\d+)-.*"), r"\1/\2")),
    Language.DOTNET: (
        (re.compile(r"\(.*\)$"), ""),
        (re.compile(r"[.+]<>c(?:__DisplayClass[\d_]+)?(?=[.+])"), ""),
        (re.compile(r"<(\w+)>[bdg]__[\w|]*(?:\.MoveNext)?"), r"\1"),
        (re.compile(r"`\d+|\[[^\]]*\]"), ""),
    ),
}

_BY_FUNCTION: Final = frozenset({Language.JVM, Language.GO, Language.ELIXIR, Language.DOTNET, Language.PHP})
"""Their functions are fully qualified; the others' need the file."""


def identity(language: Language, frame: Frame) -> str:
    """Return what stays of a frame: the qualified function, or the end of the path and the function.

    Line numbers, releases, build hashes, counters of closures and generated classes are gone.
    """
    function = frame.function
    for pattern, replacement in _RULES.get(language, ()):
        function = pattern.sub(replacement, function)
    if language in _BY_FUNCTION and function:
        return function
    return f"{scrubbed_path(frame.file)}:{function}"
