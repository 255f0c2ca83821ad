"""What authors of components need; the rest of `pipeline` is the engine."""

from pipeline.batch import Batch, concat
from pipeline.clock import Clock
from pipeline.component import Component, ComponentId, Exporter, Extension, Host, Processor, Receiver
from pipeline.config import Config
from pipeline.errors import (
    JobsightError,
    Malformed,
    Overloaded,
    Partial,
    Permanent,
    Rejected,
    ShuttingDown,
    StartError,
    TimedOut,
    TooLarge,
    Transient,
    Unavailable,
)
from pipeline.kinds import SHAPES, Kind, Signal
from pipeline.receipt import Receipt

__all__ = [
    "SHAPES",
    "Batch",
    "Clock",
    "Component",
    "ComponentId",
    "Config",
    "Exporter",
    "Extension",
    "Host",
    "JobsightError",
    "Kind",
    "Malformed",
    "Overloaded",
    "Partial",
    "Permanent",
    "Processor",
    "Receipt",
    "Receiver",
    "Rejected",
    "ShuttingDown",
    "Signal",
    "StartError",
    "TimedOut",
    "TooLarge",
    "Transient",
    "Unavailable",
    "concat",
]
