import Foundation
import TestSupport
import Testing

/// What genpool-bench says of files and options that are not as they should be.
struct BenchTests {
  private func bench(_ arguments: String...) throws -> (
    status: Int32, output: String, errors: String
  ) {
    let result = try Executable.run(Executable.genpoolBench, arguments)
    return (result.status, result.output, result.errors)
  }

  @Test func `one bad file does not keep the others from being replayed`() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    func file(_ name: String, _ text: String) throws -> String {
      let url = directory.appending(path: name)
      try Data(text.utf8).write(to: url)
      return url.path
    }
    let head = "GENPOOL-TRACE 1 field\nP c\nC 100000 0 4000 4 = 0\nA 1 5000 = 0 0\n"
    let empty = try file("empty.gpt", "")
    let good = try file("good.gpt", head)
    let torn = try file("torn.gpt", head + "A 2")
    let wrong = try file("wrong.gpt", head + "V = 1\n")

    let two = try bench("replay", good, torn)
    #expect(
      two.status == 0 && two.errors.isEmpty && two.output.hasSuffix("\n6 records, 0 mismatches\n"))
    let three = try bench("replay", empty, good, torn, "--failures")
    #expect(three.status == 65 && three.errors.contains("genpool-bench: \(empty): empty: "))
    #expect(three.output.hasSuffix("\n6 records, 0 mismatches, 1 of 3 files not replayed\n"))
    #expect(three.output.contains("\(good):4: 20 KiB, first fit: 16 KiB available"))
    #expect(try bench("replay", good, "/nonexistent/a.gpt").status == 66)
    #expect(try bench("replay", empty, wrong).status == 1)
    let json = try bench("replay", "--json", empty, torn, good)
    let objects = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]]
    #expect(json.status == 65 && objects?.map { $0["records"] as? Int } == [0, 3, 3])
  }

  @Test(arguments: [
    ("latency --lives --granules 4096", "--granules is of the hard states"),
    ("latency --lives --state empty", "--state is of the hard states"),
    ("latency --case 64MiB@4KiB", "--case is of lives"),
    ("latency --allocations 9", "--allocations is of lives"),
    ("latency --lives --case 64x16MiB@4KiB --fit fixed", "has no fixed fit"),
    ("compare --quick --occupancy 50", "--quick has 90 percent only"),
    ("compare --quick --case 1GiB@64B --fit best", "of 1GiB@64B the first fit only"),
    ("compare --case 64x16MiB@4KiB --fit fixed", "64x16MiB@4KiB has no fixed fit"),
    ("compare --case empty --occupancy 90", "empty has no occupancy"),
  ])
  func `options that select nothing or say nothing are refused`(
    command: String, reason: String
  ) throws {
    let result = try Executable.run(
      Executable.genpoolBench, command.split(separator: " ").map(String.init))
    #expect(result.status == 64 && result.output.isEmpty)
    #expect(result.errors.contains(reason), "\(result.errors)")
  }

  @Test func `a file that cannot be written is found out before anything is measured`() throws {
    for option in ["--save", "--plot"] {
      let result = try bench("compare", "--case", "empty", option, "/nonexistent/x")
      #expect(result.status == 1 && result.output.isEmpty)
      #expect(result.errors == "Error: write /nonexistent/x: No such file or directory\n")
    }
  }

  @Test func `a chunk takes memory for what is used of it, and gives it back`() throws {
    let result = try bench("memory", "--chunks-only", "--json")
    #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
    let rows = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]]
    let chunks = (rows ?? []).filter { $0["heap_bytes"] != nil }
    #expect(chunks.map { $0["granules"] as? Int } == [64, 16 << 10, 1 << 28, 1 << 34])
    for chunk in chunks {
      let granules = chunk["granules"] as? Int ?? 0
      func bytes(_ name: String) -> Int { chunk[name] as? Int ?? .max }
      // 64 TiB of pages: their map alone would be 2 GiB.
      #expect(bytes("resident_bytes") < 256 << 10, "\(granules)")
      #expect(bytes("resident_bytes_in_use") < 4 << 20, "\(granules)")
      #expect(bytes("resident_bytes_afterwards") < 32 << 10, "\(granules)")
      #expect(bytes("heap_bytes") < (granules == 64 ? 2 << 10 : 8 << 10), "\(granules)")
    }
  }

  @Test func `a chunk whose map has no room in the process is refused for want of memory`() throws {
    let command = "ulimit -v 4194304; exec \"$0\" memory --chunks-only"
    let result = try Executable.run("/bin/sh", ["-c", command, Executable.genpoolBench])
    #expect(result.status == 1 && result.output.isEmpty)
    #expect(result.errors == "Error: no memory for the chunk's bitmap\n")
  }

  @Test func `leases are timed beside a process that echoes, while others are held`() throws {
    let machine = try EmulatedMachine("nvme,cmb=1M")
    let daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
    let result = try bench(
      "lease", "--socket", machine.socket, "--rounds", "20", "--held", "2", "--held", "5", "--json")
    #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
    let rows = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]]
    #expect(rows?.map { $0["held"] as? Int } == [2, 5])
    for row in rows ?? [] {
      for name in ["acquire", "release", "both", "echo", "epoll"] {
        #expect(((row[name] as? [String: Double])?["p50"] ?? 0) > 0, "\(name)")
      }
      #expect((row["ratio"] as? Double ?? 0) > 0 && row["machine"] is String)
    }
    // Neither the leases nor the process that echoes outlive it.
    try wait(for: "the leases' end") {
      try !machine.control("lease", "list").output.contains("leased")
    }
    #expect(try bench("lease", "--held", "5", "--held", "2").status == 64)
    #expect(daemon.end() == 0)
  }
}
