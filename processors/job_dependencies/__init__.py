"""Processor `job_dependencies`: who enqueues whom, and what jobs call."""

from processors.job_dependencies.config import JobDependenciesConfig
from processors.job_dependencies.processor import JobDependencies

__all__ = ["JobDependencies", "JobDependenciesConfig"]
