"""A Debian userland for the guest: systemd as its first process, udevd, and what they need.

Fetched like the kernel, by a private apt, and never installed: what its packages hold is put into an
archive file by file, so that it takes no root, and none of their scripts runs. The cache holds that
archive; its name is everything that decides its content, and it is looked for anew once a day.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from initramfs import Archive
from kernel import LOOK_AGAIN_AFTER, Apt, KernelUnavailable, archives, command

RECIPE = 1  # Raise it when what is kept of a package changes.
# Half of the bytes, and nothing that a service needs.
LEFT_OUT = (
    "usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/i18n/",
    "usr/share/perl5/", "usr/share/bash-completion/", "usr/share/zsh/", "usr/lib/udev/hwdb.d/",
    "usr/lib/x86_64-linux-gnu/gconv/", "usr/lib/locale/", "usr/share/lintian/")


@dataclass(frozen=True)
class Userland:
    suite: str
    packages: tuple[str, ...]


def userland_archive(wanted: Userland, cache: Path) -> Path:
    """A newc archive of the packages and all that they depend on, as new as the suite has them.

    Without a network it is the newest one that is known, and the run says so.
    """
    asked = hashlib.sha256(repr((RECIPE, LEFT_OUT, wanted)).encode()).hexdigest()[:16]
    memory = cache / f"userland-{asked}.json"
    known, looked = remembered(memory)
    if known and 0 <= time.time() - looked < LOOK_AGAIN_AFTER:
        return known
    try:
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            files = download(wanted, Path(directory) / "apt")
            content = archive(files)
            digest = hashlib.sha256(content).hexdigest()
            home = cache / f"userland-{digest[:16]}.cpio"
            for path, data in (
                (home, content),
                (memory, json.dumps({"digest": digest, "time": time.time()}).encode())):
                temporary = Path(directory) / path.name
                temporary.write_bytes(data)
                temporary.rename(path)
        if known and known != home:
            known.unlink(missing_ok=True)
        return home
    except KernelUnavailable as reason:
        if not known:
            raise
        print(f"note: cannot look for newer packages, using the cached ones ({reason})")
        return known


def remembered(memory: Path) -> tuple[Path | None, float]:
    """The archive that was made last, if it is whole, and when."""
    try:
        last = json.loads(memory.read_text())
        home = memory.parent / f"userland-{last['digest'][:16]}.cpio"
        whole = hashlib.sha256(home.read_bytes()).hexdigest() == last["digest"]
        return (home if whole else None), last["time"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0


def download(wanted: Userland, home: Path) -> list[Path]:
    """The packages' files, checked by apt against the signed index."""
    apt = Apt(archives(wanted.suite), home)
    apt.run("apt-get", "-qq", "update")
    apt.run(
        "apt-get", "-qq", "install", "--yes", "--download-only", "--no-install-recommends",
        "-o", "Debug::NoLocking=1", *wanted.packages)
    return sorted((home / "archives").glob("*.deb"))


def archive(packages: list[Path]) -> bytes:
    made = Archive()
    for name in ("bin", "sbin", "lib", "lib64"):
        made.directory(f"usr/{name}")
        made.link(name, f"usr/{name}")
    for package in packages:
        unpacked = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as files:
            for entry in files:
                name = entry.name.removeprefix("./").rstrip("/")
                if not name or f"{name}/".startswith(LEFT_OUT):
                    continue
                if entry.isdir():
                    made.directory(name)
                elif entry.issym():
                    made.link(name, entry.linkname)
                elif entry.islnk() or entry.isfile():
                    made.file(name, files.extractfile(entry).read(), entry.mode)
    return made.bytes()
