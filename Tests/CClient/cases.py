"""A broker in Python that keeps the interface's promises but for the faults that a case names, and what it
saw of the client in C: which calls came, on which connection, and which leases were left.
"""

import array
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERFACE = "io.genpool.Broker1."
PAGE = 4096
# What a fault does; others are functions of the reply that give bytes and a number of descriptors.
CLOSE_UNREAD = "the connection closes before the call is done"
LOSE = "the call is done, and the connection closes without a reply"
HANG = "the call is done, and no reply comes"
DEAF = "the call is done, and nothing is read any more"
DRIP = "the call is done, and its reply comes byte by byte, without an end"

FLOOD = "the call is done, and its reply never ends"
PAGES = "the call is done, and its reply comes again and again, as a page that others follow"


def error(name: str, **parameters: object) -> Callable[[dict], "tuple[bytes, int]"]:
    """A fault that answers an error; nothing is done."""
    answer = json.dumps({"error": name, "parameters": parameters}).encode() + b"\0"

    def fault(_: dict) -> "tuple[bytes, int]":
        return answer, 0

    fault.does_nothing = True
    return fault


def changed(**fields: object) -> Callable[[dict], "tuple[bytes, int]"]:
    """A fault that changes fields of the lease."""
    def fault(reply: dict) -> "tuple[bytes, int]":
        reply["parameters"]["lease"].update(fields)
        return json.dumps(reply).encode() + b"\0", 1
    return fault


class Broker:
    """Faults: what happens to the N-th call of a method, from 1 on; to all from the N-th on when N is negative."""

    def __init__(self, path: str, faults: "dict[tuple[str, int], object]", accepts: bool = True,
                 refuses: "tuple[int, ...]" = (), refusal: str = "QuotaExceeded") -> None:
        self.faults = faults
        self.refuses = refuses
        self.refusal = refusal
        self.calls: "list[tuple[int, str, dict, bool]]" = []  # connection, method, parameters, oneway
        self.held: "dict[str, dict]" = {}
        self.keys: "dict[str, str]" = {}
        self.granted = 0
        self.connections = 0
        self.refused = threading.Event()
        self.open: "list[socket.socket]" = []
        self.lock = threading.Lock()
        self.file = tempfile.TemporaryFile()
        self.file.truncate(1 << 20)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16 if accepts else 0)
        self.is_closed = False
        if accepts:
            threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.is_closed = True
        self.listener.close()
        for connection in self.open:
            connection.close()

    def named(self, method: str) -> "list[dict]":
        with self.lock:
            return [parameters for _, name, parameters, _ in self.calls if name == method]

    def settled(self) -> "dict[str, dict]":
        """The leases that are left, once all that was sent was read."""
        for _ in range(200):
            with self.lock:
                if not self.held:
                    break
            time.sleep(0.005)
        with self.lock:
            return dict(self.held)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if number in self.refuses:
                connection.sendall(json.dumps({"error": INTERFACE + self.refusal, "parameters": {
                    "what": "connections", "limit": 1, "used": 1}}).encode() + b"\0")
                connection.shutdown(socket.SHUT_RDWR)
                self.refused.set()
                return
            self._talk(connection, number)
        except OSError:
            pass  # the client has had enough
        finally:  # also after a call that is no JSON: the client need not wait
            if not self.is_closed:
                connection.close()

    def _talk(self, connection: socket.socket, number: int) -> None:
        text = b""
        while True:
            while b"\0" not in text:
                received = connection.recv(65536)
                if not received:
                    return
                text += received
            frame, text = text.split(b"\0", 1)
            call = json.loads(frame)
            assert call["method"].startswith(INTERFACE), call
            method, parameters, oneway = call["method"][len(INTERFACE):], call.get("parameters", {}), call.get("oneway", False)
            with self.lock:
                self.calls.append((number, method, parameters, oneway))
                count = sum(name == method for _, name, _, _ in self.calls)
                fault = self.faults.get((method, count)) or next(
                    (one for (name, first), one in self.faults.items() if name == method and first < 0 and count >= -first), None)
                if fault == CLOSE_UNREAD:
                    return
                does_nothing = getattr(fault, "does_nothing", False)
                reply, descriptors = ({}, 0) if does_nothing else self._do(method, parameters)
            if fault == LOSE:
                return
            if fault == DEAF:
                while not self.is_closed:
                    time.sleep(0.01)
                return
            if fault == HANG or oneway:
                continue
            bytes_ = json.dumps(reply).encode() + b"\0"
            if callable(fault):
                bytes_, descriptors = fault(reply)
            if fault == DRIP:
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.001)
            if fault == PAGES:
                # As long as what ask-slow takes at a time: a page is there whenever it looks, and all of it.
                page = json.dumps(reply | {"continues": True}).encode().ljust(63) + b"\0"
                assert len(page) == 64, page
                while True:
                    connection.sendall(page * 1024)
            if fault == FLOOD:
                while True:
                    connection.sendall(b" " * 32768)
            rights = array.array("i", [self.file.fileno()] * descriptors)
            connection.sendmsg([bytes_], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else [])

    def _do(self, method: str, parameters: dict) -> "tuple[dict, int]":
        if method == "Hello":
            return {"parameters": {"session": "1", "version": "0", "uid": 0, "pid": 1, "admin": False}}, 0
        if method == "ListLeases":
            return {"parameters": {"leases": list(self.held.values())}}, 0
        if method == "Monitor":
            return {"parameters": {"event": {"event": "started", "label": "slurm job 12"}}, "continues": True}, 0
        if method == "Release":
            if parameters["lease"] in self.held:
                del self.held[parameters["lease"]]
                return {"parameters": {}}, 0
            return {"error": INTERFACE + "NoSuchLease", "parameters": {"lease": parameters["lease"]}}, 0
        assert method == "Acquire", method
        key = parameters["requestKey"]
        asked = {name: value for name, value in parameters.items() if name != "wait"}
        if self.keys.get(key) in self.held:
            lease = self.held[self.keys[key]]
            if lease["asked"] != asked:
                return {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "requestKey"}}, 0
        else:
            self.granted += 1
            lease = {"lease": f"{self.granted:032x}", "generation": self.granted, "pool": parameters.get("pool", "cmb"),
                     "offset": parameters.get("offset", 0), "size": -(-parameters["bytes"] // PAGE) * PAGE,
                     "physical": "0x0000008000000000", "bus": None, "mapOffset": 0, "caching": "cached",
                     "isolation": "range", "uid": 0, "pid": 1, "state": "leased", "label": parameters.get("label"),
                     "asked": asked}
            self.held[lease["lease"]] = lease
            self.keys[key] = lease["lease"]
        return {"parameters": {"lease": dict(lease), "descriptor": 0}}, 1


def swift_errors(repository: Path) -> "dict[str, str]":
    """The errno of each error that the interface or varlink has, by name, as clients in Swift have it."""
    protocol = repository / "Sources/BrokerProtocol"
    declared = set(re.findall(r"^error (\w+)", (protocol / "io.genpool.Broker1.varlink").read_text(), re.MULTILINE))
    coding = (protocol / "BrokerError+Coding.swift").read_text()
    names = dict(re.findall(r'case \.(\w+): "(\w+)"', coding))
    service = re.search(r"var isOfService: Bool \{.*?switch self \{\s*case (.*?):", coding, re.DOTALL)[1]
    declared |= {names[case] for case in re.findall(r"\.(\w+)", service)}
    numbers = re.search(r"var errorNumber: Int32 \{.*?\n  \}\n", (protocol / "BrokerError.swift").read_text(), re.DOTALL)[0]
    found = {}
    for cases, number in re.findall(r"case ((?:[^:(]|\([^)]*\))*): (\w+)", numbers):
        for case in re.findall(r"\.(\w+)", cases):
            found[names[case]] = number
    assert set(found) == declared, set(found) ^ declared
    return found
