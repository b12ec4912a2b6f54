"""A connection to genpoold that may break any rule."""

import json
import os
import socket
import struct

INTERFACE = "io.genpool.Broker1"
SERVICE = "org.varlink.service"
NOBODY = 65534  # a uid that has nothing
FRAME_LIMIT = 64 * 1024  # FrameDecoder.callLimit

# Every method's parameters: what type, and whether it must be there.
METHODS: dict[str, dict[str, tuple[str, bool]]] = {
    f"{SERVICE}.GetInfo": {},
    f"{SERVICE}.GetInterfaceDescription": {"interface": ("string", True)},
    f"{INTERFACE}.Hello": {"client": ("string", False)},
    f"{INTERFACE}.ListDevices": {},
    f"{INTERFACE}.ListPools": {},
    f"{INTERFACE}.DescribePool": {"pool": ("string", True)},
    f"{INTERFACE}.Acquire": {
        "pool": ("string", False), "bytes": ("int", True), "alignment": ("int", False),
        "fit": ("string", False), "offset": ("int", False), "requestKey": ("string", False),
        "wait": ("int", False), "label": ("string", False)},
    f"{INTERFACE}.Release": {"lease": ("string", True), "generation": ("int", True)},
    f"{INTERFACE}.ForceRelease": {"lease": ("string", True)},
    f"{INTERFACE}.Monitor": {},
    f"{INTERFACE}.ListLeases": {"pool": ("string", False)},
    f"{INTERFACE}.Attach": {
        "device": ("string", True), "bar": ("int", True), "offset": ("int", False),
        "size": ("int", False), "granule": ("int", False), "name": ("string", False),
        "allow": ("strings", False)},
    f"{INTERFACE}.Detach": {"pool": ("string", True)},
}

# A value of each type that is right, and names nothing that there is.
RIGHT = {"string": "nothing", "int": 4096, "strings": ["nothing"]}


def required(method: str) -> dict:
    """Parameters that lack nothing."""
    return {name: RIGHT[kind] for name, (kind, must) in METHODS[method].items() if must}


def frame(method: str, parameters: object = None, **envelope: object) -> bytes:
    call = {"method": method, **envelope}
    if parameters is not None:
        call["parameters"] = parameters
    return json.dumps(call).encode() + b"\0"


class Failed(Exception):
    """The daemon answered with an error."""

    def __init__(self, reply: dict) -> None:
        super().__init__(f"{reply['error']} {reply.get('parameters')}")
        self.name: str = reply["error"].rpartition(".")[2]
        self.parameters: dict = reply.get("parameters") or {}


class Peer:
    """Closed as a context manager; descriptors that it is sent are closed at once."""

    def __init__(self, path: os.PathLike, timeout: float = 20) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.buffer = b""
        try:
            # Python's own timeout would not wait for room in the listener's queue.
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
            self.socket.connect(os.fspath(path))
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(timeout)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False when the daemon has hung up."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> dict | None:
        """The next reply; None when the daemon has hung up."""
        while b"\0" not in self.buffer:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.socket, 65536, 8)
            except ConnectionResetError:
                return None
            for descriptor in descriptors:
                os.close(descriptor)
            if not data:
                return None
            self.buffer += data
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def ask(self, data: bytes) -> dict | None:
        """The reply to raw bytes; None for none."""
        self.send(data)
        return self.receive()

    def call(self, method: str, **parameters: object) -> dict:
        """An honest call of our interface."""
        reply = self.ask(frame(f"{INTERFACE}.{method}", parameters))
        if reply is None:
            raise ConnectionError(f"{method}: the daemon hung up")
        if "error" in reply:
            raise Failed(reply)
        return reply.get("parameters") or {}


def answer(path: os.PathLike, data: bytes) -> str:
    """What a connection of its own hears: an error's name, `ok`, or `closed`."""
    with Peer(path) as peer:
        reply = peer.ask(data)
    return "closed" if reply is None else reply.get("error", "ok").rpartition(".")[2]
