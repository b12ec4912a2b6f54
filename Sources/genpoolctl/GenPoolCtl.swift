import ArgumentParser
import BrokerProtocol
import Glibc

/// The root of the command line: parse, run, say what went wrong.
@main
struct GenPoolCtl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpoolctl",
    abstract: "Shows PCIe device memory, and leases it from genpoold.",
    discussion: """
      doctor says what works on this machine. doctor, device, nvme, emulate and --help work without a \
      daemon. pool, lease, monitor and wait talk to genpoold at \
      --socket, else GENPOOL_SOCKET, else /run/genpool/io.genpool.Broker1 (root) or \
      $XDG_RUNTIME_DIR/genpool/io.genpool.Broker1. pool attach, pool drain, pool detach and lease release use the admin \
      socket: the same path and .admin, for root and the group genpool-admin. lease list, lease holders and \
      monitor use it where they may, and show the leases of all users then.

      Results go to standard output, everything else to standard error. With --json the result is \
      one JSON document with sorted keys: addresses are strings ("0x" and 16 digits), sizes are \
      numbers of bytes, unknown facts are left out. Pools and leases have the fields of the varlink \
      interface io.genpool.Broker1.

      Sizes may be written 65536, 0x10000, 64K or "64 KiB"; K, M, G and T are binary.

      With --json a failure is one line of JSON on standard error: {"error":{"message":...,"name":...,\
      "status":...}}. Names are stable: those of the daemon's errors (io.genpool.Broker1.PoolFull), else \
      no-daemon, usage, refused, no-such-device and the like; "refusals" has the rules that refused, "errno" the \
      system's number.

      Exit status: 0 done, 1 failed, 64 wrong usage, 69 no daemon, 75 memory full or busy (try \
      again later). `lease acquire -- COMMAND` ends as COMMAND does (126, 127: it cannot be run).

      EXAMPLE: device memory on a machine without a device
        eval "$(genpoolctl emulate --ephemeral --device nvme,cmb=64M)"
        genpoold --attach 0000:01:00.0:2 &
        genpoolctl lease acquire --size 2M --align 2M --fill 0x5a --dump=64
      """,
    version: "genpoolctl " + Release.version,
    subcommands: [
      Doctor.self, DeviceCommand.self, NVMeCommand.self, PoolCommand.self, LeaseCommand.self,
      Monitor.self, WaitCommand.self, Emulate.self,
    ])

  static func main() {
    StandardStreams.open()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let arguments = Array(CommandLine.arguments.dropFirst())
      // ArgumentParser's own: help, version, wrong usage.
      guard let failure = Failure(error) ?? wrongUsage(error, arguments) else {
        exit(withError: error)
      }
      failure.report(isJSON: Failure.isJSON(arguments))
      Glibc.exit(failure.status)
    }
  }

  /// The failure of a command line that cannot be parsed: the command that was meant, and all of it
  /// where a program asks; nil for what ArgumentParser prints better.
  private static func wrongUsage(_ error: any Error, _ arguments: [String]) -> Failure? {
    guard exitCode(for: error) == .validationFailure else { return nil }
    let nearMiss = NearMiss(arguments)?.message
    guard nearMiss != nil || Failure.isJSON(arguments) else { return nil }
    return Failure(
      nearMiss ?? message(for: error), status: Failure.usage, name: "usage", errno: EINVAL)
  }
}
