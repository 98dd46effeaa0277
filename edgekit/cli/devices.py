"""`edgekit devices`: where artifacts can run, and what each place is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli.options import AsJson, BoardsFile, Debug

if TYPE_CHECKING:
    from edgekit.devices.answer import DeviceState
    from edgekit.devices.fleet import Outcome
    from edgekit.pipeline.devices import Probed

__all__ = ["register"]

_HELP = """List the devices that are at hand; ask those that are named what they are, have, and how they fare.

\b
A device is one of these, or the name of a board in the file of --boards:
  local                               this machine
  ssh://USER@HOST[:PORT]              any Linux board, through the system's ssh
  adb://SERIAL or adb://HOST:PORT     a board with Android's debug bridge, through the system's adb
  qemu://CPU                          an emulated ARM one: cortex-a53, cortex-a72, cortex-a76, armv7
Behind ssh and adb stands ?python=PATH, where python3 is not the Python to use.

\b
Example:  edgekit devices ssh://pi@kitchen
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("devices", help=_HELP, short_help="List devices, and ask them what they are.")(_devices)


def _devices(
    *,
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE", help="Devices to ask.")] = None,
    boards: BoardsFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    if devices or boards:
        raise typer.Exit(_ask(devices or [], boards, as_json=as_json))
    from edgekit.cli.display import print_json
    from edgekit.cli.tables import print_rows
    from edgekit.pipeline.devices import known_devices

    found = known_devices()
    if as_json:
        print_json({"schema_version": 1, "devices": found})
    else:
        rows = [(each.device, "ready" if each.ready else "not ready", each.detail, each.remedy) for each in found]
        print_rows(("device", "state", "what is known", "what to do"), rows)


def _ask(devices: list[str], boards: Any, *, as_json: bool) -> int:
    from edgekit.cli.display import print_json, progress_display, show_error
    from edgekit.devices.fleet import fleet_exit_code, gather_boards
    from edgekit.pipeline.devices import probe_devices

    with progress_display():
        outcomes = probe_devices(gather_boards(devices, boards))
    code = fleet_exit_code(outcomes)
    if as_json:
        print_json({"schema_version": 1, "devices": [_document(each) for each in outcomes], "exit_code": code})
    else:
        _print([(each.board.name, each.result) for each in outcomes if each.result])
    for outcome in outcomes:
        if outcome.error:
            show_error(outcome.error, outcome.board.name if len(outcomes) > 1 else "")
    return code


def _document(outcome: Outcome[Probed]) -> dict[str, Any]:
    board, found, error = outcome.board, outcome.result, outcome.error
    return {
        "name": board.name,
        "device": board.device,
        "targets": found.targets if found else [],
        "probe": found.answer if found else None,
        "error": {**error.to_dict(), "exit_code": error.exit_code} if error else None,
    }


def _print(found: list[tuple[str, Probed]]) -> None:
    """One device in full, several a row each."""
    from edgekit.cli.tables import print_rows

    columns = [_column(probed) for _, probed in found]
    if len(found) == 1:
        print_rows(("", found[0][0]), [(key, text) for key, text in columns[0].items() if text])
    elif found:
        shown = ("evidence", "model", "CPU", "memory", "OS", "Python", "runtimes", "state", "is")
        rows = [(name, *(column[key] for key in shown)) for (name, _), column in zip(found, columns, strict=True)]
        print_rows(("device", *shown), rows)


def _column(probed: Probed) -> dict[str, str]:
    facts = probed.facts
    runtimes = {each["name"]: each for each in probed.answer["runtimes"] if each["version"]}
    return {
        "model": facts.model,
        "SoC": facts.soc,
        "CPU": f"{facts.cores} × {facts.cpu}",
        "architecture": facts.machine,
        "features": ", ".join(facts.features),
        "memory": f"{facts.memory_bytes / (1 << 30):.1f} GiB",
        "OS": facts.os,
        "kernel": facts.kernel,
        "Python": facts.python,
        "runtimes": ", ".join(
            f"{name} {each['version']}" + (f" (can't be used: {each['error']})" if each["error"] else "")
            for name, each in runtimes.items()
        )
        or "none",
        "state": _state(probed.state),
        "evidence": str(facts.kind),
        "is": ", ".join(probed.targets),
    }


def _state(state: DeviceState) -> str:
    """What makes it fast or slow now; many devices say little of that."""
    clock, slowed = state.frequency, state.throttling
    parts = (
        state.governor,
        f"{clock.max / 1e9:.2f} of {clock.limit / 1e9:.2f} GHz" if clock else None,
        f"{state.temperature:.0f} °C" if state.temperature is not None else None,
        f"slowed down: {', '.join(slowed.now)}" if slowed and slowed.now else None,
        f"slowed down before: {', '.join(slowed.since)}" if slowed and slowed.since else None,
        f"load {state.load:.1f}" if state.load is not None else None,
    )
    return ", ".join(filter(None, parts))
