"""Messages that are wrong: each must be answered by the right error, or end its connection."""

import errno
import json
import multiprocessing
import os
import random
import socket

from hostile_peer import (
    FRAME_LIMIT, INTERFACE, METHODS, NOBODY, SERVICE, Failed, Peer, answer, frame, required)

HUGE = 1 << 63  # one more than an integer of varlink's holds
# What is no value of a type. JSON text, as Python cannot write all of it.
WRONG = {
    "string": ("7", "true", "1.5", "[]", "{}", '["x"]'),
    "int": ('"4096"', "true", "1.5", "[]", "{}", "1e400", "-1e400", str(HUGE), "-1", "1" * 400),
    "strings": ('"x"', "7", "true", "{}", "[7]", "[null]", '[["x"]]', '["x",{}]'),
}


def expect(report, sentence: str, wrong: list) -> None:
    report.check(sentence, not wrong, f"{len(wrong)} were not, first: {wrong[:3]}")


def truncated(report, broker) -> None:
    wrong, count = [], 0
    for method in METHODS:
        data = frame(method, required(method))
        for end in range(len(data)):
            with Peer(broker.socket) as peer:
                peer.send(data[:end])
                peer.socket.shutdown(socket.SHUT_WR)
                count += 1
                if (reply := peer.receive()) is not None:
                    wrong.append((method, end, reply))
    expect(report, f"a call cut off at any byte is not answered ({count} calls)", wrong)


def split(report, broker) -> None:
    wrong, count = [], 0
    for method in METHODS:
        # Acquire would succeed.
        parameters = {"bytes": 0} if method.endswith("Acquire") else required(method)
        data = frame(method, parameters)
        with Peer(broker.socket) as peer:
            expected = peer.ask(data)
            for at in range(1, len(data)):
                peer.send(data[:at])
                count += 1
                reply = peer.ask(data[at:])
                if reply is None or reply.get("error") != expected.get("error"):
                    wrong.append((method, at, reply))
    expect(report, f"a call in two pieces is answered as in one ({count} calls)", wrong)


def oversized(report, broker) -> None:
    wrong = []
    for method in METHODS:
        data = frame(method, required(method))[:-1]
        with Peer(broker.socket) as peer:
            allowed = peer.ask(data.ljust(FRAME_LIMIT) + b"\0")
        if method.endswith("Acquire"):
            release(broker, allowed)
        if allowed is None:
            wrong.append((method, "refused at the limit"))
        for size in (FRAME_LIMIT + 1, 2 * FRAME_LIMIT, 10 * FRAME_LIMIT):
            for end in (b"\0", b""):
                if (said := answer(broker.socket, data.ljust(size) + end)) != "closed":
                    wrong.append((method, size, said))
    expect(report, f"a frame above {FRAME_LIMIT} bytes ends its connection, one of them does not", wrong)


def release(broker, reply: dict | None) -> None:
    if reply and "error" not in reply:
        lease = reply["parameters"]["lease"]
        with Peer(broker.socket) as peer:
            peer.call("Release", lease=lease["lease"], generation=lease["generation"])


def wrong_types(report, broker) -> None:
    """By the admin socket, where no method is refused for another reason."""
    wrong, count = [], 0
    with Peer(broker.admin_socket) as peer:
        for method, parameters in METHODS.items():
            cases = [("parameters", value) for value in ("7", '"x"', "true", "[]", "[{}]")]
            for name, (kind, must) in parameters.items():
                cases += [(name, value) for value in WRONG[kind] + (("null",) if must else ())]
            # Negative ones are numbers, of something that is not there.
            cases = [case for case in cases if case not in (("generation", "-1"), ("bar", "-1"))]
            cases.append(("unknown", "1"))
            more = str(method.endswith("Monitor")).lower()
            for name, value in cases:
                others = {} if name == "parameters" else required(method) | {name: "@"}
                text = value if name == "parameters" else json.dumps(others).replace('"@"', value)
                reply = peer.ask(f'{{"method":"{method}","more":{more},"parameters":{text}}}\0'.encode())
                count += 1
                if reply is None:
                    wrong.append((method, name, value, "closed"))
                    return expect(report, "a wrong type is answered", wrong)
                blamed = (reply.get("parameters") or {}).get("parameter", "")
                if reply.get("error") != f"{SERVICE}.InvalidParameter" or not blamed.startswith(name):
                    wrong.append((method, name, value, reply))
            for name, (_, must) in parameters.items():
                if must:
                    rest = {key: value for key, value in required(method).items() if key != name}
                    reply = peer.ask(frame(method, rest))
                    count += 1
                    if reply.get("parameters") != {"parameter": name}:
                        wrong.append((method, name, "missing", reply))
    expect(report, f"each wrong, missing or unknown parameter is named ({count} calls)", wrong)


def nested(report, broker) -> None:
    wrong, count = [], 0
    for depth in (64, 65, 100, 511, 512, 513, 514, 2_000, 30_000):
        for opened, closed in (("[", "]"), ('{"a":', "}")):
            deep = opened * depth + "1" + closed * depth
            if len(deep) > FRAME_LIMIT - 200:
                continue
            for text, allowed in (
                    (deep, {"closed"}),
                    (opened * depth, {"closed"}),
                    (f'{{"method":"{INTERFACE}.Hello","x":{deep}}}', {"ok", "closed"}),
                    (f'{{"method":"{INTERFACE}.Hello","parameters":{deep}}}',
                     {"InvalidParameter", "closed"}),
                    (f'{{"method":"{INTERFACE}.Hello","parameters":{{"client":{deep}}}}}',
                     {"InvalidParameter", "closed"})):
                count += 1
                if (said := answer(broker.socket, text.encode() + b"\0")) not in allowed:
                    wrong.append((depth, text[:60], said))
    expect(report, f"deep nesting is refused ({count} frames)", wrong)


GARBAGE = (
    b"", b" ", b"{", b"}", b"[]", b"null", b"true", b"7", b'"x"', b"{}", b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"method":"\xff"}', b'{"method":"\\ud800"}', b'{"method":"x"', b"{'method':'x'}",
    b'{"method":null}', b'{"method":7}', b'{"method":["x"]}', b'{"method":"x"}{"method":"x"}',
    b'{"method":"x"} //', b'{"method":"x","more":1}', b'{"method":"x","oneway":"yes"}',
    b'{"method":"x","upgrade":[]}', b'{"method":NaN}', b'{"Method":"x"}', b'{"method":"x\n"}',
    b'{"method":"x\\u00"}', b"\x1b[2J", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02",
    b"l\1\0\1\0\0\0\0", "{\"method\":\"x\"}".encode("utf-16"), b"\0" * 1000)


def garbage(report, broker) -> None:
    said = [(data[:40], answer(broker.socket, data + b"\0")) for data in GARBAGE]
    expect(report, f"what is no varlink call ends its connection ({len(said)} frames)",
           [one for one in said if one[1] != "closed"])
    chance = random.Random(3)
    base = [frame(method, required(method)) for method in METHODS if not method.endswith("Acquire")]
    wrong, answered = [], 0
    for _ in range(2000):
        data = bytearray(chance.choice(base)[:-1])
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randint(1, 255)
        with Peer(broker.socket) as peer:
            reply = peer.ask(bytes(data) + b"\0")
        answered += reply is not None
        if reply is not None and not {"parameters", "error"} & reply.keys():
            wrong.append((bytes(data), reply))
    expect(report, f"2000 calls with bytes changed are answered ({answered}) or hung up on", wrong)


def unknown(report, broker) -> None:
    long = "x" * (FRAME_LIMIT - 100)
    cases = [
        (name, "InterfaceNotFound") for name in
        ("", ".", "x", "x.y", "..", "io.genpool.Broker1", "io.genpool.Broker2.Acquire",
         "io.genpool.broker1.Acquire", "org.varlink.resolver.Resolve", "\u0000.x", long, long + ".X")]
    cases += [
        (name, "MethodNotFound") for name in
        (f"{INTERFACE}.", f"{INTERFACE}.acquire", f"{INTERFACE}.Acquire ", f"{INTERFACE}.Steal",
         f"{SERVICE}.Nothing", f"{INTERFACE}.{long}"[:FRAME_LIMIT - 100], f"{INTERFACE}.\u00c9")]
    wrong = []
    with Peer(broker.socket) as peer:
        for name, expected in cases:
            reply = peer.ask(frame(name)) or {"error": "closed"}
            if reply.get("error") != f"{SERVICE}.{expected}":
                wrong.append((name[:60], expected, str(reply)[:200]))
    expect(report, f"unknown interfaces and methods are told as such ({len(cases)} calls)", wrong)


def refusal(peer: Peer, method: str, **parameters: object) -> str:
    try:
        peer.call(method, **parameters)
        return "ok"
    except Failed as failure:
        return failure.name


def forged(report, broker) -> None:
    chance = random.Random(4)
    with Peer(broker.socket) as peer:
        mine = peer.call("Acquire", bytes=4096)["lease"]
        name, generation = mine["lease"], mine["generation"]
        names = ["", "0", "0" * 32, name[:-1], name + "0", name + "\0", " " + name, "\u0000", "../" + name,
                 "%s%n", "x" * 60_000, name.translate(str.maketrans("abcdef", "ABCDEF")) + " "]
        names += [f"{chance.getrandbits(128):032x}" for _ in range(1000)]
        wrong = [(one[:40], said) for one in names
                 if (said := refusal(peer, "Release", lease=one, generation=generation)) != "NoSuchLease"]
        expect(report, f"a lease that is not there is told as such ({len(names)} names)", wrong)
        others = [0, generation - 1, generation + 1, generation + (1 << 32), HUGE - 1]
        wrong = [(other, said) for other in others if
                 (said := refusal(peer, "Release", lease=name, generation=other)) not in
                 ("StaleGeneration", "InvalidParameter")]
        expect(report, "another generation does not release", wrong)
        said = [refusal(peer, "Release", lease=name, generation=generation) for _ in range(2)]
        report.equal("a lease is released once", said, ["ok", "NoSuchLease"])


def others(report, broker) -> None:
    context = multiprocessing.get_context("fork")
    control, end = context.Pipe()
    victim = context.Process(target=hold, args=(broker.socket, end), daemon=True)
    victim.start()
    lease, generation = control.recv()
    with Peer(broker.socket) as peer:
        said = [refusal(peer, "Release", lease=lease, generation=generation)]
        control.send("hang up")
        control.recv()
        said.append(refusal(peer, "Release", lease=lease, generation=generation))
        report.equal("another process's lease cannot be released, nor once its connection is closed",
                     said, ["PermissionDenied"] * 2)
        report.equal("the clients' socket detaches nothing, for root either",
                     refusal(peer, "Detach", pool=broker.pool), "PermissionDenied")
        with Peer(broker.admin_socket) as admin:
            report.equal("an admin cannot detach what another process has",
                         refusal(admin, "Detach", pool=broker.pool), "PoolBusy")
        listed = [one["state"] for one in peer.call("ListLeases")["leases"] if one["lease"] == lease]
        report.equal("it is still its process's", listed, ["orphaned"])
    control.send("die")
    victim.join()
    strangers(report, broker)


def strangers(report, broker) -> None:
    """Another user, who knows the name of a lease."""
    if os.geteuid() != 0:
        print("strangers skipped: only root can be another user")
        return
    context = multiprocessing.get_context("fork")
    control, end = context.Pipe()
    with Peer(broker.socket) as peer:
        lease = peer.call("Acquire", bytes=4096)["lease"]
        stranger = context.Process(
            target=meddle, args=(broker, lease, end), daemon=True)
        stranger.start()
        report.equal("another user can neither see, end, take nor wait away what root has",
                     control.recv(), {
                         "Release": "PermissionDenied", "ForceRelease": "PermissionDenied",
                         "Attach": "PermissionDenied", "Detach": "PermissionDenied",
                         "Acquire": "PoolBusy", "ListLeases": [],
                         "connect as an admin": "EACCES"})
        stranger.join()
        peer.call("Release", lease=lease["lease"], generation=lease["generation"])


def meddle(broker, lease, control) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with Peer(broker.socket) as peer:
        said = {
            "Release": refusal(
                peer, "Release", lease=lease["lease"], generation=lease["generation"]),
            "ForceRelease": refusal(peer, "ForceRelease", lease=lease["lease"]),
            "Attach": refusal(peer, "Attach", device=broker.device, bar=2),
            "Detach": refusal(peer, "Detach", pool=broker.pool),
            "Acquire": refusal(peer, "Acquire", bytes=4096, wait=0),
        }
        said["ListLeases"] = peer.call("ListLeases")["leases"]
    try:
        with Peer(broker.admin_socket):
            said["connect as an admin"] = "ok"
    except OSError as error:
        said["connect as an admin"] = errno.errorcode[error.errno]
    control.send(said)


def hold(path, control) -> None:
    with Peer(path) as peer:
        lease = peer.call("Acquire", bytes=4096)["lease"]
        control.send((lease["lease"], lease["generation"]))
        control.recv()
    control.send("hung up")
    control.recv()


ATTACKS = (truncated, split, oversized, wrong_types, nested, garbage, unknown, forged, others)
