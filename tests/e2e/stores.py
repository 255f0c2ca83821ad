"""A ClickHouse elsewhere, for programs that do not start one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pipeline.testing.program import JOBSIGHT, eventually, query


class StoreAlone:
    """`jobsight store` by itself, as a ClickHouse server elsewhere."""

    def __init__(self, data: Path, port: int, username: str, password: str) -> None:
        self._process = subprocess.Popen(
            [
                *JOBSIGHT,
                "store",
                "--path",
                str(data),
                "--endpoint",
                f"127.0.0.1:{port}",
                "--user",
                username,
                "--password-env",
                "STORE_PASSWORD",
            ],
            env={**os.environ, "STORE_PASSWORD": password},
        )
        eventually(lambda: query(port, "SELECT 1") == "1\n", what="the store")

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(20) == 0
