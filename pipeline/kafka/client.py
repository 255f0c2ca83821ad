"""From configuration to aiokafka's arguments, and the reason when no broker can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

from pipeline.config.tls import client_context
from pipeline.config.values import split_endpoint
from pipeline.errors import Transient, Unavailable
from pipeline.kafka.config import KafkaClient
from pipeline.kafka.errors import classify

PROBE_SECONDS: Final = 5.0
"""How long a broker is waited for that is only asked what is wrong."""


def connection(config: KafkaClient, request_seconds: float) -> dict[str, Any]:
    """Return the arguments that all of aiokafka's clients take. Raises StartError for unusable certificates."""
    context = None if config.encryption is None else client_context(config.encryption)
    sasl = config.credentials
    security = ("SASL_" if sasl is not None else "") + ("SSL" if context is not None else "PLAINTEXT")
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(config.brokers),
        "client_id": config.client_id,
        "request_timeout_ms": round(request_seconds * 1000),
        "retry_backoff_ms": round(config.metadata.retry.backoff * 1000),
        "metadata_max_age_ms": round(config.metadata.refresh_interval * 1000),
        "connections_max_idle_ms": round(config.conn_idle_timeout * 1000),
        "security_protocol": security,
        "ssl_context": context,
    }
    if sasl is not None:
        arguments |= {
            "sasl_mechanism": sasl.mechanism,
            "sasl_plain_username": sasl.username,
            "sasl_plain_password": sasl.password.get_secret_value(),
        }
    return arguments


async def start(client: Any, config: KafkaClient, request_seconds: float) -> None:
    """Start a client of aiokafka; one that does not start, or is cancelled at it, is closed again.

    Raises Permanent or Transient, which say why: no broker can be reached, or what one has against us.
    """
    running = False
    try:
        await client.start()
        running = True
    except KafkaConnectionError as error:
        raise await why_unreachable(config, request_seconds) from error
    except (KafkaError, ValueError) as error:  # ValueError: a SCRAM server that does not know the password either
        raise classify(error, f"brokers {_listed(config.brokers)}") from error
    finally:
        if not running:
            await client.stop()


async def why_unreachable(config: KafkaClient, request_seconds: float) -> Transient:
    """Return what keeps us from the brokers, asking each once more, because the library says it to its log only."""
    arguments = connection(config, min(request_seconds, PROBE_SECONDS))
    brokers = arguments.pop("bootstrap_servers")
    for name in ("retry_backoff_ms", "metadata_max_age_ms", "connections_max_idle_ms"):
        del arguments[name]
    outcomes = await asyncio.gather(*(_tried(broker, arguments) for broker in brokers))
    reasons = list(dict.fromkeys(outcome for outcome in outcomes if outcome))
    if not reasons:
        return Unavailable(
            f"{_listed(brokers)} can be reached, but did not say which brokers and topics there are; "
            "does the port expect SASL (auth.sasl)?"
        )
    return Unavailable("; ".join(reasons))


async def _tried(broker: str, arguments: dict[str, Any]) -> str:
    """Return why one broker cannot be used, empty where it can."""
    host, port = split_endpoint(broker)
    try:
        connected = await create_conn(host, port, **arguments)
    except KafkaConnectionError:
        return f"broker {broker}: it closed the connection; does the port expect TLS, SASL or a client certificate?"
    except (KafkaError, OSError, ValueError) as error:
        return str(classify(error, f"broker {broker}"))
    await connected.close()
    return ""


def _listed(brokers: Sequence[str]) -> str:
    return ", ".join(brokers)
