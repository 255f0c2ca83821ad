"""Spans as some job systems write them, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.processors.jobs.telling import Span, Value

Attributes = Mapping[str, Value]


def celery(action: str, job: str = "j", **more: Value) -> Attributes:
    named = {"celery.action": action, "celery.task_name": f"tasks.{job}", "messaging.message.id": job}
    return {**named, **{f"celery.{key}": value for key, value in more.items()}}


def send(id_: int, job: str = "j", **how: Any) -> Span:
    return Span(id_, f"apply_async/{job}", "producer", celery("apply_async", job), **how)


def run(id_: int, job: str = "j", state: str = "SUCCESS", **how: Any) -> Span:
    return Span(id_, f"run/{job}", "consumer", celery("run", job, state=state), **how)


def message(system: str, **more: Value) -> Attributes:
    return {"messaging.system": system, **{key.replace("__", "."): value for key, value in more.items()}}
