"""This machine as a device: the bench script in a child process with limits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.process import Limits, explain_death, repeatable_environment, run_limited
from edgekit.core.resources import resource
from edgekit.devices.base import BenchRequest, decode, relay, script_arguments

__all__ = ["LocalDevice"]


class LocalDevice:
    """The machine that edgekit runs on, with the runtimes of its own environment."""

    uri = "local"

    def bench(self, request: BenchRequest, *, blame: str, limits: Limits) -> Any:
        """As `Device.bench`."""
        return self._run(
            script_arguments(request),
            self._environment(request.threads, request.runtime),
            what=f"running {request.artifact.name}",
            blame=blame,
            limits=limits,
        )

    def probe(self) -> Any:
        """As `Device.probe`."""
        environment, limits = self._environment(1, None), Limits(seconds=120.0)
        return self._run(["--probe", "--json"], environment, what="probing", blame="edgekit", limits=limits)

    def close(self) -> None:
        """Nothing was put anywhere."""

    def _interpreter(self) -> Sequence[str]:
        """The program and arguments in front of the script."""
        return [sys.executable]

    def _environment(self, threads: int, runtime: str | None) -> Mapping[str, str]:  # noqa: ARG002 - an emulated one's
        """What the script runs in, so that it finds `runtime`."""
        return repeatable_environment(threads)

    def _run(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, what: str, blame: str, limits: Limits
    ) -> Any:
        lines: list[str] = []
        finished = run_limited(
            [*self._interpreter(), str(resource("scripts/bench_on_device.py")), *arguments],
            limits=limits,
            env=environment,
            on_line=lines.append,
            on_error_line=relay,
        )
        answer = decode(lines)
        if answer is None or (finished.returncode != 0 and "error" not in answer):
            raise explain_death(finished, what=what, limits=limits, blame=blame)
        return answer
