"""A small adbd for the tests: the device's end of the ADB protocol over TCP, so that the real adb client talks to it.

Commands run as real processes of this machine; the device's /data is a private folder. It follows AOSP's own papers
(packages/modules/adb: protocol.txt, SYNC.TXT, shell_protocol.h): one thread reads the connection, each stream has one.

As a program, `adbd.py ROOT [--port N] [--old-shell] [--unauthorized]` prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import queue
import re
import signal
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

VERSION = 0x01000001  # since this one, the checksum of a message is not looked at
MAX_DATA = 1 << 18
SYNC_CHUNK = 1 << 16
TOKEN, PUBLIC_KEY = 1, 3
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
DATA = re.compile(r"(?<![\w./-])/data/")


@dataclass
class Stream:
    """One service that the client opened. The two ends take turns: a WRTE is answered by an OKAY before the next."""

    send: Callable[[bytes, int, int, bytes], None]
    local: int
    remote: int
    received: queue.Queue[bytes] = field(default_factory=queue.Queue)
    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    closed: threading.Event = field(default_factory=threading.Event)
    rest: bytes = b""

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            self.send(b"WRTE", self.local, self.remote, data[start : start + MAX_DATA])
            self.ready.acquire()
            if self.closed.is_set():
                raise BrokenPipeError

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; EOFError when the client has gone."""
        while len(self.rest) < size:
            data = self.received.get()
            if not data:
                raise EOFError
            self.rest += data
            self.send(b"OKAY", self.local, self.remote, b"")
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def hang_up(self) -> None:
        """The client has gone: whoever waits hears it."""
        self.closed.set()
        self.received.put(b"")
        self.ready.release()


class Connection:
    """One connected adb server."""

    def __init__(self, connected: socket.socket, arguments: argparse.Namespace) -> None:
        self._socket = connected
        self._arguments = arguments
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}

    def serve(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                command, first, second, size, _check, _magic = struct.unpack("<4s5I", self._receive(24))
                self._handle(command, first, second, self._receive(size))
        for stream in list(self._streams.values()):
            stream.hang_up()

    def send(self, command: bytes, first: int, second: int, data: bytes) -> None:
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        header = struct.pack("<4s5I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, magic)
        with self._sending:
            self._socket.sendall(header + data)

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command in {b"CNXN", b"AUTH"}:
            self._greet(command, first)
        elif command == b"OPEN":
            stream = Stream(self.send, local=max(self._streams, default=0) + 1, remote=first)
            self._streams[stream.local] = stream
            threading.Thread(target=self._open, args=(stream, data.rstrip(b"\0").decode()), daemon=True).start()
        elif stream_or_none := self._streams.get(second):
            if command == b"WRTE":
                stream_or_none.received.put(data)
            elif command == b"OKAY":
                stream_or_none.ready.release()
            elif command == b"CLSE":
                stream_or_none.hang_up()

    def _greet(self, command: bytes, kind: int) -> None:
        if self._arguments.unauthorized:
            # The user has not confirmed the key on the board's screen: signatures are refused, the key is not answered.
            if command == b"CNXN" or kind != PUBLIC_KEY:
                self.send(b"AUTH", TOKEN, 0, os.urandom(20))
            return
        features = "cmd,stat_v2" if self._arguments.old_shell else "cmd,stat_v2,shell_v2"
        about = (
            f"device::ro.product.name=bench;ro.product.model=Bench_Board;ro.product.device=bench;features={features}"
        )
        self.send(b"CNXN", VERSION, MAX_DATA, about.encode())

    def _open(self, stream: Stream, destination: str) -> None:
        service, _, command = destination.partition(":")
        kind, *options = service.split(",")
        with contextlib.suppress(EOFError, OSError):
            if kind == "shell" and ("v2" in options) is not self._arguments.old_shell:
                self.send(b"OKAY", stream.local, stream.remote, b"")
                run_command(stream, command, self._arguments.root, separate="v2" in options)
            elif kind == "sync":
                self.send(b"OKAY", stream.local, stream.remote, b"")
                Sync(stream, self._arguments.root).serve()
        del self._streams[stream.local]
        with contextlib.suppress(OSError):
            self.send(b"CLSE", stream.local, stream.remote, b"")


def run_command(stream: Stream, command: str, root: Path, *, separate: bool) -> None:
    """The shell service: packets with the stream's number and an exit code, or (old) everything as it comes.

    The device's paths stand for those of its private folder, wherever in the command.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        ["/bin/sh", "-c", DATA.sub(f"{root}/data/", command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if separate else subprocess.STDOUT,
        env=environment,
        cwd=root,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    writing = threading.Lock()

    def pass_output(number: int, source: int) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(source, SYNC_CHUNK):
                hidden = data.replace(os.fsencode(root), b"")
                with writing:
                    stream.write(struct.pack("<BI", number, len(hidden)) + hidden if separate else hidden)

    def pass_input() -> None:
        assert process.stdin
        with contextlib.suppress(OSError), process.stdin:
            while True:
                number, size = struct.unpack("<BI", stream.read(5)) if separate else (STDIN, 1)
                data = stream.read(size)
                if number == CLOSE_STDIN:
                    break
                if number == STDIN:
                    process.stdin.write(data)
                    process.stdin.flush()

    def watch_client() -> None:
        with contextlib.suppress(EOFError):
            pass_input()
        stream.closed.wait()
        if process.poll() is None:
            process.send_signal(signal.SIGHUP)

    threading.Thread(target=watch_client, daemon=True).start()
    outputs = [(STDOUT, process.stdout)] + ([(STDERR, process.stderr)] if process.stderr else [])
    readers = [threading.Thread(target=pass_output, args=(n, s.fileno()), daemon=True) for n, s in outputs]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    code = process.wait()
    if separate:
        stream.write(struct.pack("<BIB", EXIT, 1, code if code >= 0 else 128 - code))


class Sync:
    """The file service: push and pull, file by file."""

    def __init__(self, stream: Stream, root: Path) -> None:
        self._stream = stream
        self._root = root

    def serve(self) -> None:
        answers = {b"STA2": self._stat, b"LST2": self._stat, b"SEND": self._take, b"RECV": self._give}
        while True:
            name, path = self._request()
            if name == b"QUIT":
                return
            if name not in answers:
                self._fail(f"unknown command {name!r}")
                return
            answers[name](name, path)

    def _request(self) -> tuple[bytes, str]:
        name, size = struct.unpack("<4sI", self._stream.read(8))
        return name, self._stream.read(size).decode()

    def _place(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _fail(self, reason: str) -> None:
        self._stream.write(struct.pack("<4sI", b"FAIL", len(reason.encode())) + reason.encode())

    def _stat(self, name: bytes, path: str) -> None:
        code, found = 0, os.stat_result([0] * 10)
        try:
            found = self._place(path).stat() if name == b"STA2" else self._place(path).lstat()
        except OSError as error:
            code = error.errno or errno.EIO
        self._stream.write(
            struct.pack(
                "<4sI2Q4IQ3q", name, code, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid,
                found.st_gid, found.st_size, int(found.st_atime), int(found.st_mtime), int(found.st_ctime),
            )
        )  # fmt: skip

    def _chunks(self) -> Iterator[bytes]:
        while True:
            name, size = struct.unpack("<4sI", self._stream.read(8))
            if name == b"DONE":
                return
            yield self._stream.read(size)

    def _take(self, _name: bytes, path_and_mode: str) -> None:
        path, _, mode = path_and_mode.rpartition(",")
        target = self._place(path)
        chunks = self._chunks()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            target.chmod(stat.S_IMODE(int(mode)))
        except OSError as error:
            for _ in chunks:
                pass
            self._fail(f"couldn't create file: {error.strerror}")
        else:
            self._stream.write(struct.pack("<4sI", b"OKAY", 0))

    def _give(self, _name: bytes, path: str) -> None:
        try:
            data = self._place(path).read_bytes()
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        for start in range(0, len(data), SYNC_CHUNK):
            chunk = data[start : start + SYNC_CHUNK]
            self._stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
        self._stream.write(struct.pack("<4sI", b"DONE", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--old-shell", action="store_true", help="as before Android 7: no exit codes, no stderr")
    parser.add_argument("--unauthorized", action="store_true", help="nobody confirms the computer's key")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    (arguments.root / "data/local/tmp").mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", arguments.port)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connected, _ = server.accept()
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(connected, arguments).serve, daemon=True).start()


if __name__ == "__main__":
    main()
