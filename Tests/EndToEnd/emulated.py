"""A genpoold over an emulated device, for tests that talk to it from outside."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20


class EmulatedBroker:
    """Runs genpoold on emulated devices: the 16 MiB controller memory buffer of an NVMe device, if
    nothing else is said.
    """

    device = "0000:01:00.0"
    pool = "cmb"
    size = 16 * MIB

    def __init__(self, bindir: Path, devices: list[str] | None = None,
                 attach: list[str] | None = None, configuration: dict | None = None,
                 heartbeats: Callable[[Path], object] | None = None) -> None:
        """`heartbeats` makes the service manager's end of a socket, which the daemon tells ten times
        a second that it lives.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="genpool-"))
        self.sysfs = self.directory / "sys"
        self.socket = self.directory / "run" / "io.genpool.Broker1"
        self.admin_socket = self.directory / "run" / "io.genpool.Broker1.admin"
        self.log = self.directory / "log"
        subprocess.run(
            [bindir / "genpoolctl", "emulate", self.sysfs,
             *(f"--device={one}" for one in devices or ["nvme,cmb=16M"])],
            check=True, stdout=subprocess.DEVNULL)
        arguments = [f"--attach={one}" for one in attach or [f"{self.device}:2,name={self.pool}"]]
        if configuration is not None:
            path = self.directory / "genpoold.json"
            path.write_text(json.dumps(configuration))
            arguments.append(f"--config={path}")
        environment = dict(os.environ)
        self.heartbeats = heartbeats and heartbeats(self.directory / "notify")
        if self.heartbeats:
            environment |= {"NOTIFY_SOCKET": os.fspath(self.directory / "notify"),
                            "WATCHDOG_USEC": "200000"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [bindir / "genpoold", "--sysfs-root", self.sysfs, "--socket", self.socket,
                 *arguments], env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def __enter__(self) -> "EmulatedBroker":
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self) -> None:
        """Until it answers: it listens before its pool is attached, and calls wait until then."""
        for _ in range(1000):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(20)
                if probe.connect_ex(os.fspath(self.socket)) == 0:
                    probe.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
                    if probe.recv(1):
                        return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"genpoold does not get ready: {self.log.read_text()[-2000:]}")

    @property
    def bar(self) -> Path:
        """The file that stands for the pool's BAR: what the device would see."""
        return self.sysfs / "bus/pci/devices" / self.device / "resource2"

    def descriptors(self) -> int:
        """How many the daemon has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """The daemon's own memory in KiB: RssAnon, as mapped device pages are not its own."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise RuntimeError("no RssAnon in /proc/PID/status")

    def processor_time(self) -> float:
        """The seconds of processor time that the daemon has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Ends it as a service manager would; returns its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=10)
