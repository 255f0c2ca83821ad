"""The OTLP receiver: traces, metrics and logs over gRPC and HTTP."""

from receivers.otlp.config import OTLPReceiverConfig
from receivers.otlp.receiver import OTLPReceiver

__all__ = ["OTLPReceiver", "OTLPReceiverConfig"]
