"""How the tests reach the broker that JOBSIGHT_TEST_KAFKA names, said to each kind of client in its own words.

| variable | meaning |
|---|---|
| `JOBSIGHT_TEST_KAFKA` | `host:port`, as the broker's certificate has it |
| `JOBSIGHT_TEST_KAFKA_CA` | file with the authority of the broker's certificate; turns TLS on |
| `JOBSIGHT_TEST_KAFKA_CERT`, `JOBSIGHT_TEST_KAFKA_KEY` | files with the client's own certificate and key |
| `JOBSIGHT_TEST_KAFKA_USER`, `JOBSIGHT_TEST_KAFKA_PASSWORD` | turn SASL on |
| `JOBSIGHT_TEST_KAFKA_MECHANISM` | `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`, which is the default |
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

PREFIX: Final = "JOBSIGHT_TEST_KAFKA"


@dataclass(frozen=True, slots=True)
class Access:
    """Address, TLS and SASL; what is empty is not used."""

    bootstrap: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: str = ""
    mechanism: str = "SCRAM-SHA-512"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return what the variables say; no address: no broker."""
        names = ("ca", "cert", "key", "user", "password", "mechanism")
        given = {name: environ.get(f"{PREFIX}_{name.upper()}", "") for name in names}
        return cls(environ.get(PREFIX, ""), **{name: value for name, value in given.items() if value})

    def keys(self) -> dict[str, Any]:
        """Return keys of the exporter and the receiver."""
        tls = {name: path for name, path in (("ca", self.ca), ("cert", self.cert), ("key", self.key)) if path}
        sasl = {"username": self.user, "password": self.password, "mechanism": self.mechanism}
        return {
            "brokers": [self.bootstrap],
            **({"tls": {f"{name}_file": path for name, path in tls.items()}} if self.ca else {}),
            **({"auth": {"sasl": sasl}} if self.user else {}),
        }

    def sets(self, component: str) -> Iterator[str]:
        """Yield the same as arguments of `--set`; `component` is such as `exporters.kafka`."""
        for name, value in self.keys().items():
            yield f"{component}.{name}={_flow(value)}"

    def aiokafka(self) -> dict[str, Any]:
        """Return arguments of aiokafka's clients."""
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        if context is not None and self.cert:
            context.load_cert_chain(self.cert, self.key)
        sasl = {
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
        }
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self._protocol,
            "ssl_context": context,
            **(sasl if self.user else {}),
        }

    def librdkafka(self) -> dict[str, str]:
        """Return settings of librdkafka's clients."""
        settings = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self._protocol,
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.cert,
            "ssl.key.location": self.key,
            "sasl.username": self.user,
            "sasl.password": self.password,
            "sasl.mechanism": self.mechanism if self.user else "",
        }
        return {name: value for name, value in settings.items() if value}

    @property
    def _protocol(self) -> str:
        return ("SASL_" if self.user else "") + ("SSL" if self.ca else "PLAINTEXT")


def _flow(value: object) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return f"'{value}'"
