"""The attributes that this component writes. `error.type` is OpenTelemetry's; the others are ours."""

from __future__ import annotations

from typing import Final

ERROR_TYPE: Final = "error.type"
CATEGORY: Final = "job.error.category"
TRANSIENT: Final = "job.error.transient"
FINGERPRINT: Final = "job.error.fingerprint"
RESCUED: Final = "job.error.rescued"
TRUNCATED: Final = "job.error.truncated"
KEYS: Final = (ERROR_TYPE, CATEGORY, TRANSIENT, FINGERPRINT, RESCUED, TRUNCATED)
