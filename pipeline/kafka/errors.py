"""What Kafka's refusals mean for the data: an exception of aiokafka to Permanent or Transient.

As with every backend: where the *data* can never be stored as they are, they are Rejected; where the *set-up* is wrong
(password, rights, a missing topic), a person can put it right, so the data wait and a clear line says what to do. What
is not listed waits, too. Names are those of Kafka's error codes in aiokafka's spelling.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.errors import Permanent, Rejected, TimedOut, TooLarge, Transient, Unavailable, system_words

TOO_LARGE: Final = frozenset({"MessageSizeTooLargeError", "RecordListTooLargeError"})
"""The broker takes no record batch of this size for this topic."""

REJECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "InvalidTimestampError": "the broker does not accept the time of the message",
        "UnsupportedForMessageFormatError": "the topic's message format is too old for headers",
        "PolicyViolationError": "a policy of the broker forbids the message",
    }
)
"""The same message would be refused again."""

UNKNOWN_OUTCOME: Final = frozenset({"KafkaTimeoutError", "RequestTimedOutError", "NotEnoughReplicasAfterAppendError"})
"""The messages may have arrived."""

WAITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UnknownTopicOrPartitionError": "the topic does not exist; create it",
        "InvalidTopicError": "the topic's name is not allowed; it may have letters, digits, dots, _ and -",
        "TopicAuthorizationFailedError": "the user has no right to the topic; grant it",
        "GroupAuthorizationFailedError": "the user has no right to the consumer group; grant READ on it",
        "ClusterAuthorizationFailedError": "the user lacks a right to the cluster; idempotence needs IDEMPOTENT_WRITE",
        "SaslAuthenticationFailed": "authentication refused: wrong username or password",
        "AuthenticationFailedError": "authentication refused: wrong username or password",
        "UnsupportedSaslMechanismError": "authentication refused: the broker does not offer auth.sasl.mechanism",
        "IllegalSaslStateError": "authentication refused: the broker does not expect SASL on this port",
        "NotEnoughReplicasError": "too few replicas are in sync (min.insync.replicas)",
        "LeaderNotAvailableError": "the partition has no leader at the moment",
        "NotLeaderForPartitionError": "the partition's leader is changing",
        "NodeNotReadyError": "the broker cannot be reached",
        "KafkaConnectionError": "the connection was lost",
        "KafkaStorageError": "the broker has trouble with its disk",
        "UnknownError": "the broker had an error that it did not name",
        "UnsupportedVersionError": "the broker is too old for this request",
        "IncompatibleBrokerVersion": "the broker is too old for this request",
        "InvalidGroupIdError": "the broker does not accept group_id",
        "InvalidSessionTimeoutError": "the broker does not accept session_timeout (group.min/max.session.timeout.ms)",
        "InconsistentGroupProtocolError": "the group's other members use other group_rebalance_strategies",
        "CoordinatorNotAvailableError": "the group's coordinator cannot be reached",
        "GroupCoordinatorNotAvailableError": "the group's coordinator cannot be reached",
    }
)
"""May work later, after a while or after a person's help; the text says which."""


def classify(error: BaseException, where: str) -> Permanent | Transient:
    """Return what to raise. `where` says what was tried, such as `topic otlp_spans` or `broker kafka:9092`."""
    name = type(error).__name__
    if name in TOO_LARGE:
        return TooLarge(f"{where}: the broker takes no messages of this size (max.message.bytes)")
    if name in REJECTED:
        return Rejected(f"{where}: {REJECTED[name]}{_words(error)}")
    if name in UNKNOWN_OUTCOME:
        return TimedOut(f"{where}: no answer in time")
    if name in WAITS:
        return Unavailable(f"{where}: {WAITS[name]}{_words(error)}")
    if isinstance(error, TimeoutError):
        return Unavailable(f"{where}: no answer in time")
    if isinstance(error, ssl.SSLError):
        return Unavailable(f"{where}: TLS failed: {_reason(error)}")
    if isinstance(error, OSError):
        return Unavailable(f"{where}: {system_words(error)}")
    return Transient(f"{where}: {name}{_words(error)}")


def _reason(error: ssl.SSLError) -> str:
    """Return what OpenSSL has against the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason: str | None = getattr(error, "reason", None)  # only those that OpenSSL itself made have one
    return (reason or str(error)).replace("_", " ").lower()


def _words(error: BaseException) -> str:
    """Return what the broker itself said, if it said more than a number."""
    said = " ".join(map(str, error.args))
    return f": {said}" if said and "object at 0x" not in said and "<AIOKafka" not in said else ""
