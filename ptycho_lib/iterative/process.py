"""The engine in a process of its own: TensorFlow and torchvision crash when they share one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

ENGINE = "ptycho_lib.iterative.engine"


@contextmanager
def engine_room() -> Iterator[Any]:
    """Give what makes an engine: the class `Engine`, or its double in another process if TensorFlow is here.

    Imports are over when the block begins, so that they do not count as time of a reconstruction.
    """
    if "tensorflow" not in sys.modules:
        yield import_module(ENGINE).Engine
        return
    ours, theirs = Pipe()
    # Neither a fork nor multiprocessing's spawn: both bring along what the present program has imported.
    command = f"from {__name__} import serve; serve({theirs.fileno()})"
    process = subprocess.Popen([sys.executable, "-c", command], pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        double = _Double(ours)
        double.receive()
        yield double.build
    finally:
        ours.close()  # which ends the other process
        process.wait()


class _Double:
    """An `Engine` in another process: the same properties, by name."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def build(self, *arguments: Any) -> _Double:
        self.ask("build", *arguments)
        return self

    def epoch(self) -> Any:
        return self.ask("epoch")

    def __getattr__(self, name: str) -> Any:
        return self.ask(name)

    def ask(self, request: str, *arguments: Any) -> Any:
        self.connection.send((request, arguments))
        return self.receive()

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError("the iterative engine's process died: killed, or out of memory") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def serve(descriptor: int) -> None:
    """Answer requests until the other side closes the connection."""
    connection = Connection(descriptor)
    engine_type = import_module(ENGINE).Engine
    engine: Any = None
    connection.send("ready")
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            if request == "build":
                engine = engine_type(*arguments)
                answer = None
            else:
                answer = engine.epoch() if request == "epoch" else getattr(engine, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised on the other side
            answer = error
        connection.send(answer)
