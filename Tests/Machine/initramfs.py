"""The guest's first and only file system: a newc cpio archive, written here.

Without cpio(1), so that an ordinary user can put a device node in it; not compressed, because
unpacking under TCG costs more than reading.
"""

import re
import stat
import subprocess
from pathlib import Path

from kernel import Kernel


class Archive:
    """A newc archive in the making (the kernel's Documentation/driver-api/early-userspace)."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.names: set[str] = set()

    def directory(self, name: str) -> None:
        if name not in ("", "."):
            self._parent(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._parent(name)
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        self._parent(name)
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int) -> None:
        self._parent(name)
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def bytes(self) -> bytes:
        self._entry("TRAILER!!!", 0)
        return b"".join(self.parts)

    def _parent(self, name: str) -> None:
        self.directory(str(Path(name).parent))

    def _entry(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        if name in self.names:
            return
        self.names.add(name)
        path = name.encode() + b"\0"
        fields = (
            len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self.parts += [_padded(header + path), _padded(data)]


def initramfs(kernel: Kernel, programs: list[Path], scripts: dict[str, Path]) -> bytes:
    """busybox, the kernel's modules, the programs with their shared libraries, the scripts."""
    archive = Archive()
    for name in ("proc", "sys", "dev", "run", "tmp", "host"):
        archive.directory(name)
    archive.character_device("dev/console", 5, 1)
    busybox = Path("/bin/busybox")
    for program in [busybox, *programs]:
        archive.file(f"bin/{program.name}", program.read_bytes(), 0o755)
        for library in shared_libraries(program):
            archive.file(str(library).lstrip("/"), library.read_bytes(), 0o755)
    for applet in applets(busybox):
        archive.link(f"bin/{applet}", "busybox")
    for name, file in kernel.modules.items():
        archive.file(f"modules/{name}", file.read_bytes())
    for name, order in kernel.load_order.items():
        archive.file(f"modules/{name}.order", " ".join(order).encode())
    for name, script in scripts.items():
        archive.file(name, script.read_bytes(), 0o755)
    return archive.bytes()


def applets(busybox: Path) -> list[str]:
    return subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()


def shared_libraries(program: Path) -> list[Path]:
    """What the loader maps for a program, and the loader."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True)
    missing = re.findall(r"(\S+) => not found", told.stdout)
    if missing:
        raise FileNotFoundError(f"{program} needs {', '.join(missing)}, which the host has not")
    return [Path(path) for path in re.findall(r"^\s(?:\S+ => )?(/\S+) \(0x", told.stdout, re.M)]


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
