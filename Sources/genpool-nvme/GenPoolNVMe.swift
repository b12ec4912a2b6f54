import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceSources
import Glibc
import LinuxSystem
import NVMe

/// The root of the command line: parse, run, say what went wrong.
@main
struct GenPoolNVMe: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpool-nvme",
    abstract:
      "Drives an NVMe controller, its queues, lists and data lying in memory of your choice.",
    discussion: """
      A driver on genpool, in user space, by polling: a lesson, and a tool to find out whether a \
      controller reaches another device's memory. It takes a controller that no driver uses, \
      resets it, and shuts it down in the end.

      PLACES for --queues, --completions, --lists and --data
        host                    huge pages of 2 MiB (CAP_SYS_ADMIN, nr_hugepages above 0)
        BDF:cmb                 the controller memory buffer of an NVMe controller
        BDF:pmr,erase=yes       its persistent memory region, whose contents are lost
        BDF:N                   BAR N of any device
      A part of a device's memory is named by ,offset=SIZE and ,size=SIZE.

      Without an IOMMU, or with one that passes everything through, controllers are given bus \
      addresses. Attach rules hold for every device that is touched, as for genpoold.

      EXAMPLE: the controller at 01:00.0 identifies itself into the buffer of the one at 02:00.0
        genpool-nvme identify 01:00.0 --data 02:00.0:cmb
      """,
    subcommands: [Identify.self, ReadBlocks.self, WriteBlocks.self])

  static func main() {
    do {
      var command = try parseAsRoot()
      // Memory that stops answering is an error, not a signal.
      try FaultGuard.enable()
      try command.run()
    } catch let error as any ErrnoError {
      end(error.description)
    } catch let error as Problem {
      end(error.description)
    } catch {
      // ArgumentParser's own: help, version, wrong usage.
      exit(withError: error)
    }
  }

  private static func end(_ message: String) -> Never {
    Streams.complain(message)
    Glibc.exit(EXIT_FAILURE)
  }
}

/// What this program itself found wrong.
struct Problem: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }
}
