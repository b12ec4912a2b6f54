"""A Debian kernel for the guest: fetched with a private apt, unpacked, never installed.

The host's own apt sources say where Debian is; nothing of the host's apt state is used or changed.
The cache holds vmlinuz and the modules asked for. Its key is everything that decides its content
(package digest, module list, recipe), its manifest has a digest of each file, and it appears by one
rename, so a cache that exists is the right one and a damaged one is fetched again.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RECIPE = 1  # Raise it when the layout of a cached kernel changes.
LOOK_AGAIN_AFTER = 24 * 3600  # seconds
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class KernelUnavailable(Exception):
    """No kernel: what was tried, and why it failed."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Kernel:
    package: Package
    vmlinuz: Path
    modules: dict[str, Path]  # file name: where it is
    load_order: dict[str, list[str]]  # wanted module: file names to insert, itself last

    @property
    def series(self) -> str:
        """As people call it: 6.1."""
        return ".".join(self.package.version.split(".")[:2])


def kernel(suite: str, modules: tuple[str, ...], cache: Path) -> Kernel:
    """The newest kernel of a Debian suite, looked for once a day.

    Without a network it is the newest one that is known, and the run says so.
    """
    cache.mkdir(parents=True, exist_ok=True)
    known, fresh = remembered(suite, cache)
    cached = known and cache / key(known, modules)
    if fresh and intact(cached):
        return at(cached)
    try:
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            apt = Apt(archives(suite), Path(directory) / "apt")
            package = apt.newest_kernel()
            home = cache / key(package, modules)
            if not intact(home):
                shutil.rmtree(home, ignore_errors=True)
                fetch(apt, package, modules, Path(directory), home)
        remember(suite, cache, package)
        return at(home)
    except KernelUnavailable as reason:
        if not (known and intact(cached)):
            raise
        print(f"note: cannot look for a newer kernel, using the cached one ({reason})")
        return at(cached)


# The archive


def archives(suite: str) -> list[str]:
    """Lines of a sources.list for `suite`, from the URIs of the host's own Debian sources."""
    uri = os.environ.get("GENPOOL_DEBIAN_ARCHIVE")
    found = {"": uri} if uri else {}
    if not found:
        host = dict(
            line.split("=", 1)
            for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
        codename = host.get("VERSION_CODENAME", "").strip('"')
        listed = command(
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages")
        for line in listed.splitlines():
            uri, release, component = line.split()
            for kind in ("", "-updates", "-security"):
                if component == "main" and release == codename + kind:
                    found.setdefault(kind, uri)
    if "" not in found:
        raise KernelUnavailable(
            "the host's apt sources name no Debian archive for its own release;"
            " set GENPOOL_DEBIAN_ARCHIVE to the URI of one")
    trust = f"[arch=amd64 signed-by={KEYRING}]" if KEYRING.exists() else "[arch=amd64]"
    return [f"deb {trust} {uri} {suite}{kind} main" for kind, uri in sorted(found.items())]


class Apt:
    """apt over directories of its own. The host's proxy settings stay in force, its hooks do not."""

    def __init__(self, sources: list[str], home: Path):
        (home / "lists/partial").mkdir(parents=True)
        (home / "archives/partial").mkdir(parents=True)
        (home / "status").touch()
        (home / "sources.list").write_text("\n".join(sources) + "\n")
        self.configuration = home / "apt.conf"
        self.configuration.write_text(f"""
            #clear APT::Update;
            #clear DPkg;
            #clear Acquire::IndexTargets::deb::DEP-11;
            Dir::Etc::SourceList "{home}/sources.list";
            Dir::Etc::SourceParts "/dev/null";
            Dir::Etc::Preferences "/dev/null";
            Dir::Etc::PreferencesParts "/dev/null";
            Dir::State "{home}";
            Dir::State::Lists "{home}/lists";
            Dir::State::status "{home}/status";
            Dir::Cache "{home}";
            APT::Architecture "amd64";
            APT::Architectures "amd64";
            APT::Sandbox::User "";
            APT::Update::Error-Mode "any";
            Acquire::Languages "none";
            Acquire::Retries "2";
        """)

    def newest_kernel(self) -> Package:
        self.run("apt-get", "-qq", "update")
        name = self.show("linux-image-amd64")["Depends"].split()[0]
        fields = self.show(name)
        return Package(name, fields["Version"], fields["SHA256"])

    def download(self, package: Package, into: Path) -> Path:
        self.run("apt-get", "-qq", "download", f"{package.name}={package.version}", into=into)
        file = next(into.glob(f"{package.name}_*.deb"))
        if digest(file.read_bytes()) != package.digest:
            raise KernelUnavailable(f"{file.name} does not have the digest its index announced")
        return file

    def show(self, name: str) -> dict[str, str]:
        """The fields of the newest version of a package."""
        text = self.run("apt-cache", "show", "--no-all-versions", name)
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    def run(self, tool: str, *arguments: str, into: Path | None = None) -> str:
        return command(tool, "-c", str(self.configuration), *arguments, into=into)


# The cache


def fetch(
    apt: Apt, package: Package, modules: tuple[str, ...], scratch: Path, home: Path
) -> None:
    """Downloads and unpacks a kernel, and keeps what the guest needs of it."""
    tree, kept = scratch / "tree", scratch / "kept"
    command("dpkg-deb", "-x", str(apt.download(package, scratch)), str(tree))
    kept.mkdir()
    shutil.copy(next(tree.glob("boot/vmlinuz-*")), kept / "vmlinuz")
    order = load_order(tree, modules)
    for module in {file for files in order.values() for file in files}:
        shutil.copy(module, kept)
    manifest = {
        "package": asdict(package),
        "load_order": {name: [file.name for file in files] for name, files in order.items()},
        "files": {file.name: digest(file.read_bytes()) for file in sorted(kept.iterdir())}}
    (kept / "manifest.json").write_text(json.dumps(manifest, indent=1))
    try:
        kept.rename(home)
    except OSError:
        if not intact(home):  # Otherwise another run was faster, with the same content.
            raise


def load_order(tree: Path, wanted: tuple[str, ...]) -> dict[str, list[Path]]:
    """For each wanted module the files to insert: what it needs first, itself last."""
    release = next((tree / "lib/modules").iterdir())
    command("depmod", "-b", str(tree), release.name)
    files: dict[str, list[Path]] = {}
    for line in (release / "modules.dep").read_text().splitlines():
        file, needs = line.split(":")
        # modules.dep lists what a module needs from the nearest to the deepest.
        chain = [file, *needs.split()]
        name = Path(file).name.split(".ko")[0].replace("-", "_")
        files[name] = [release / needed for needed in reversed(chain)]
    missing = [name for name in wanted if name not in files]
    if missing:
        raise KernelUnavailable(f"{release.name} has no module {', '.join(missing)}")
    return {name: files[name] for name in wanted}


def key(package: Package, modules: tuple[str, ...]) -> str:
    return "kernel-" + digest(json.dumps([RECIPE, package.digest, modules]).encode())[:16]


def intact(home: Path) -> bool:
    try:
        files = json.loads((home / "manifest.json").read_text())["files"]
        return all(digest((home / name).read_bytes()) == value for name, value in files.items())
    except (OSError, ValueError, KeyError):
        return False


def at(home: Path) -> Kernel:
    manifest = json.loads((home / "manifest.json").read_text())
    modules = {name: home / name for name in manifest["files"] if name != "vmlinuz"}
    return Kernel(
        Package(**manifest["package"]), home / "vmlinuz", modules, manifest["load_order"])


def remembered(suite: str, cache: Path) -> tuple[Package | None, bool]:
    """What was the suite's newest kernel when last looked, and whether that was today."""
    try:
        last = json.loads((cache / f"newest-{suite}.json").read_text())
        return Package(**last["package"]), 0 <= time.time() - last["time"] < LOOK_AGAIN_AFTER
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def remember(suite: str, cache: Path, package: Package) -> None:
    temporary = cache / f"newest-{suite}.{os.getpid()}"
    temporary.write_text(json.dumps({"package": asdict(package), "time": time.time()}))
    temporary.rename(cache / f"newest-{suite}.json")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def command(*arguments: str, into: Path | None = None) -> str:
    try:
        done = subprocess.run(
            arguments, cwd=into, capture_output=True, text=True, timeout=180,
            env=os.environ | {"LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise KernelUnavailable(f"{' '.join(arguments)}: no answer within 180 s") from None
    if done.returncode:
        raise KernelUnavailable(f"{' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
