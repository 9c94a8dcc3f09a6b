"""The engine in a separate process: TensorFlow and torchvision crash when they share one."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

ENGINE = "ptycho_lib.iterative.ptychi_engine"
DIED = "the iterative engine's process died: killed, or out of memory"


class EngineRoom:
    """Makes engines: in this process or, where TensorFlow is loaded, in one other process for all of them.

    Entering costs nothing. The first engine, or `open`, imports PyTorch, which takes seconds; leaving ends
    the process.
    """

    def __init__(self) -> None:
        self._engine_type: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> EngineRoom:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection and self._process:
            self._connection.close()  # which ends the other process
            self._process.wait()

    def open(self) -> None:
        """Load and warm up what engines need, unless that is done: it is not time of a reconstruction."""
        if self._engine_type is not None:
            return
        if "tensorflow" not in sys.modules:
            self._engine_type = _ready_engine()
            return
        self._connection, theirs = Pipe()
        # Neither a fork nor multiprocessing's spawn: both import what the present program has imported.
        command = f"from {__name__} import serve; serve({theirs.fileno()})"
        self._process = subprocess.Popen([sys.executable, "-c", command], pass_fds=[theirs.fileno()])
        theirs.close()
        double = _Double(self._connection)
        double.receive()
        self._engine_type = double.build

    def engine(self, *arguments: Any) -> Any:
        """Return an `Engine`, or its double; it ends the one before."""
        self.open()
        return self._engine_type(*arguments)


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
        try:
            self.connection.send((request, arguments))
        except BrokenPipeError:
            raise RuntimeError(DIED) from None
        return self.receive()

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError(DIED) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _ready_engine() -> Any:
    """Return the class `Engine`, PyTorch loaded and warm."""
    module = import_module(ENGINE)
    module.warm_up()
    return module.Engine


def serve(descriptor: int) -> None:
    """Answer requests until the other side closes the connection."""
    connection = Connection(descriptor)
    engine_type = _ready_engine()
    engine: Any = None
    connection.send("ready")
    while True:
        try:
            request, arguments = connection.recv()
        except EOFError:
            return
        try:
            if request == "build":
                engine = None  # before the next one needs memory
                engine = engine_type(*arguments)
                answer = None
            else:
                answer = engine.epoch() if request == "epoch" else getattr(engine, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised on the other side
            answer = error
        connection.send(answer)
