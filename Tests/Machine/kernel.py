"""A Debian kernel for the guest: fetched with a private apt, unpacked, never installed.

The host's own apt sources say where Debian is; nothing of the host's apt state is used or changed.
In newer suites a kernel is several packages (linux-image, -binary, -modules, -base), with
compressed modules, and some modules of earlier kernels are built into vmlinuz.
The cache holds vmlinuz and the modules asked for, uncompressed. Its key is everything that decides its
content (package digests, module list, recipe), its manifest has a digest of each file, and it appears by
one rename, so a cache that exists is the right one and a damaged one is fetched again.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RECIPE = 2  # Raise it when the layout of a cached kernel changes.
LOOK_AGAIN_AFTER = 24 * 3600  # seconds
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ROLLING = ("sid", "unstable")  # suites without -updates and -security
# Packages with the content of one kernel. linux-base without a version has scripts for the host.
KERNEL_PACKAGE = re.compile(r"linux-(image|binary|modules|base)-\d")


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
    load_order: dict[str, list[str]]  # wanted module: file names to insert; none if it is built in

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
            packages = apt.newest_kernel()
            home = cache / key(packages, modules)
            if not intact(home):
                shutil.rmtree(home, ignore_errors=True)
                fetch(apt, packages, modules, Path(directory), home)
        remember(suite, cache, packages)
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
    if suite in ROLLING:
        found = {"": found[""]}
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

    def newest_kernel(self) -> list[Package]:
        """The packages that the kernel consists of, the image first."""
        self.run("apt-get", "-qq", "update")
        found: dict[str, Package] = {}
        ahead = ["linux-image-amd64"]
        for name in ahead:  # which grows meanwhile
            fields = self.show(name)
            if KERNEL_PACKAGE.match(name):
                found[name] = Package(name, fields["Version"], fields["SHA256"])
            depends = re.findall(r"[a-z][a-z0-9.+-]+", fields.get("Depends", ""))
            ahead += sorted({
                needed for needed in depends if KERNEL_PACKAGE.match(needed)} - set(ahead))
        packages = sorted(found.values(), key=lambda each: not each.name.startswith("linux-image-"))
        if not packages:
            raise KernelUnavailable("linux-image-amd64 depends on no kernel")
        return packages

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
    apt: Apt, packages: list[Package], modules: tuple[str, ...], scratch: Path, home: Path
) -> None:
    """Downloads and unpacks a kernel, and keeps the files that the guest needs."""
    tree, kept = scratch / "tree", scratch / "kept"
    for package in packages:
        command("dpkg-deb", "-x", str(apt.download(package, scratch)), str(tree))
    # depmod looks in lib or in usr/lib, as it was built; a package has one of them.
    for missing, target in (("lib", "usr/lib"), ("usr/lib", "../lib")):
        if not (tree / missing).exists():
            (tree / missing).symlink_to(target)
    kept.mkdir()
    images = [*tree.glob("boot/vmlinuz-*"), *tree.glob("lib/modules/*/vmlinuz")]
    if not images:
        raise KernelUnavailable(f"no vmlinuz in {', '.join(package.name for package in packages)}")
    shutil.copy(images[0], kept / "vmlinuz")
    order = load_order(tree, modules)
    for module in {file for files in order.values() for file in files}:
        (kept / uncompressed(module)).write_bytes(
            lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes())
    manifest = {
        "package": asdict(packages[0]),
        "load_order": {
            name: [uncompressed(file) for file in files] for name, files in order.items()},
        "files": {file.name: digest(file.read_bytes()) for file in sorted(kept.iterdir())}}
    (kept / "manifest.json").write_text(json.dumps(manifest, indent=1))
    try:
        kept.rename(home)
    except OSError:
        if not intact(home):  # Otherwise another run was faster, with the same content.
            raise


def load_order(tree: Path, wanted: tuple[str, ...]) -> dict[str, list[Path]]:
    """For each wanted module the files to insert, its dependencies first; none if it is built in."""
    release = next((tree / "lib/modules").iterdir())
    command("depmod", "-b", str(tree), release.name)
    files: dict[str, list[Path]] = {
        module_name(line): [] for line in (release / "modules.builtin").read_text().splitlines()}
    for line in (release / "modules.dep").read_text().splitlines():
        file, needs = line.split(":")
        # modules.dep lists what a module needs from the nearest to the deepest.
        chain = [file, *needs.split()]
        files[module_name(file)] = [release / needed for needed in reversed(chain)]
    missing = [name for name in wanted if name not in files]
    if missing:
        raise KernelUnavailable(f"{release.name} has no module {', '.join(missing)}")
    return {name: files[name] for name in wanted}


def module_name(file: str) -> str:
    """The name that the kernel gives a module: vfio_pci, of kernel/drivers/vfio/pci/vfio-pci.ko.xz."""
    return Path(file).name.split(".ko")[0].replace("-", "_")


def uncompressed(module: Path) -> str:
    """The file name of a module in the cache: busybox inserts no compressed ones."""
    return module.name.removesuffix(".xz")


def key(packages: list[Package], modules: tuple[str, ...]) -> str:
    content = [RECIPE, [package.digest for package in packages], modules]
    return "kernel-" + digest(json.dumps(content).encode())[:16]


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


def remembered(suite: str, cache: Path) -> tuple[list[Package] | None, bool]:
    """The suite's newest kernel at the last look, and whether that was today."""
    try:
        last = json.loads((cache / f"newest-{suite}.json").read_text())
        packages = [Package(**package) for package in last["packages"]]
        return packages, 0 <= time.time() - last["time"] < LOOK_AGAIN_AFTER
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def remember(suite: str, cache: Path, packages: list[Package]) -> None:
    temporary = cache / f"newest-{suite}.{os.getpid()}"
    temporary.write_text(json.dumps(
        {"packages": [asdict(package) for package in packages], "time": time.time()}))
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
