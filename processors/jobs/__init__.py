"""Rows of jobs from spans and logs."""

from processors.jobs.config import JobsConfig
from processors.jobs.processor import JobsProcessor

__all__ = ["JobsConfig", "JobsProcessor"]
