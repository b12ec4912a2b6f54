import BrokerProtocol
import Foundation
import GenPool
import TestSupport
import Testing

/// `genpoolctl pool`, against a running genpoold.
@Suite(.serialized) struct PoolCommandTests {
  @Test func `pools are listed for people and for programs`() throws {
    let machine = try PoolMachine()
    let table = try machine.control("pool", "list")
    #expect(table.status == 0)
    #expect(table.output.hasPrefix("POOL    SIZE  AVAILABLE  LARGEST  LEASES  ISOLATION"))
    #expect(table.output.contains("cmb   16 MiB     16 MiB   16 MiB       0  uid-exclusive"))
    #expect(table.fitsTerminal)
    let list = try machine.control("pool", "list", "--json")
    #expect(list.keys == ["pools"])
    let pools = try list.document(Broker1.ListPools.Reply.self).pools
    #expect(pools.map(\.name) == ["cmb"])
    #expect(pools[0].device == "0000:01:00.0" && pools[0].bar == 2)
  }

  @Test func `a pool is shown with its facts, its free runs and a map`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4M", "--fit", "fixed", "--offset", "4M")
    let shown = try machine.control("pool", "show", "cmb")
    #expect(shown.status == 0)
    #expect(shown.output.contains("memory      BAR 2 of 0000:01:00.0, 16 MiB from 0x0\n"))
    #expect(shown.output.contains("leased      4 MiB\n"))
    #expect(shown.output.contains("so far      1 lease, 0 ended, peak 4 MiB\n"))
    #expect(shown.output.contains("failed      0 full, 0 fragmented\n"))
    #expect(shown.output.contains("available   12 MiB\n"))
    #expect(shown.output.contains("free runs   2, the largest 8 MiB at 0x800000\n"))
    #expect(shown.output.contains("fragmented  33 %\n"))
    func cells(_ count: Int, _ cell: String) -> String { String(repeating: cell, count: count) }
    #expect(shown.output.contains("[\(cells(16, "."))\(cells(16, "#"))\(cells(32, "."))]"))
    #expect(shown.fitsTerminal)
    let document = try machine.control("pool", "show", "cmb", "--json")
    #expect(document.keys == ["chunks", "freeRuns", "largestFree", "moreFreeRuns", "pool"])
    let reply = try document.document(Broker1.DescribePool.Reply.self)
    #expect(
      reply.freeRuns == [
        .init(offset: .zero, size: .mebibytes(4)),
        .init(offset: .mebibytes(8), size: .mebibytes(8)),
      ])
    _ = held
  }

  @Test func `a pool can be attached and detached, but not while it is leased`() throws {
    let machine = try PoolMachine()
    let leased = try HeldLease(machine, "--size", "4K")
    let busy = try machine.control("pool", "detach", "cmb")
    #expect(busy.status == 75)
    #expect(busy.errors.contains("pool cmb is in use: 1 lease, 1 process"))
    #expect(leased.end(SIGTERM).status == 0)
    var detached = busy
    for _ in 0..<200 where detached.status == 75 {
      usleep(20_000)
      detached = try machine.control("pool", "detach", "cmb")
    }
    #expect(detached.status == 0)
    #expect(detached.output == "Pool cmb is detached.\n")
    #expect(try machine.control("pool", "list").output.contains("No pool is attached"))
    let none = try machine.control("lease", "acquire", "--size", "4K", "--dump")
    #expect(none.status == 1)
    #expect(none.errors.contains("no pool is attached; `genpoolctl pool attach`"))

    let attached = try machine.control(
      "pool", "attach", "01:00.0:2,offset=1M,size=2M,granule=64K,name=part", "--json")
    let pool = try attached.document(Broker1.Attach.Reply.self).pool
    #expect(pool.name == "part" && pool.offset == .mebibytes(1) && pool.size == .mebibytes(2))
    #expect(pool.granule == .kibibytes(64))
    let json = try machine.control("pool", "detach", "part", "--json")
    #expect(json.output == "{\n  \"detached\" : \"part\"\n}\n")
  }

  @Test func `what the rules forbid is refused with each rule, cause and cure`() throws {
    let machine = try PoolMachine()
    let result = try machine.control("pool", "attach", "0000:01:00.0:0")
    #expect(result.status == 1)
    #expect(result.errors.contains("registers: BAR 0 holds the NVMe controller's registers"))
    #expect(result.errors.contains("0000:01:00.0:cmb"))
    #expect(!result.errors.contains("allow="))
    #expect(machine.daemon.end() == 0)
    #expect(machine.daemon.readLog().contains("refused; registers: BAR 0"))
    #expect(result.output.isEmpty)
  }

  @Test func `registers are not zeroed, whatever is allowed`() throws {
    let machine = try PoolMachine()
    let before = try machine.bytes(ofBAR: 0)
    let result = try machine.control(
      "pool", "attach", "0000:01:00.0:0,allow=hotplug+not-prefetchable")
    #expect(result.status == 1 && result.errors.contains("registers: BAR 0"))
    #expect(try machine.bytes(ofBAR: 0) == before)
    let unknown = try machine.control("pool", "attach", "0000:01:00.0:0,allow=registers")
    #expect(unknown.errors.contains("allow=registers is not possible"), "\(unknown.errors)")
  }

  @Test func `a persistent memory region has to be there before it has to be spared`() throws {
    let missing = try PoolMachine().control("pool", "attach", "01:00.0:pmr")
    #expect(missing.status == 1 && !missing.errors.contains("erase=yes"), "\(missing.errors)")
    #expect(missing.errors.contains("persistent memory region"))
    let machine = try PoolMachine("nvme,cmb=16M,pmr=16M")
    for memory in ["pmr", "4"] {
      let spared = try machine.control("pool", "attach", "01:00.0:\(memory)")
      #expect(spared.status == 1 && spared.errors.contains("say erase=yes"), "\(spared.errors)")
    }
    #expect(try machine.control("pool", "attach", "01:00.0:pmr,erase=yes").status == 0)
  }

  @Test func `failures have their exit status and say what is wrong`() throws {
    let machine = try PoolMachine()
    let cases: [(arguments: [String], status: Int32, cause: String)] = [
      (["pool", "show", "attic"], 1, "no pool attic is attached"),
      (["pool", "detach", "attic"], 1, "no pool attic is attached"),
      (["pool", "attach", "0000:09:00.0:2"], 1, "0000:09:00.0"),
      (["pool", "attach", "01:00.0:2"], 1, "pool cmb has it: genpoolctl pool detach cmb"),
      (["pool", "attach", "01:00.0:cmb"], 1, "pool cmb has it"),
      (["pool", "attach", "01:00.0:2,granule=3K"], 64, "granule=3K is no power of two"),
      (["pool", "attach", "0000:01:00.0"], 64, "it lacks the memory of the device"),
      (["pool", "show"], 64, "name"), (["pool", "list", "more"], 64, "more"),
    ]
    for (arguments, status, cause) in cases {
      let result = try machine.control(arguments)
      #expect(result.status == status, "\(arguments): \(result.errors)")
      #expect(cause.isEmpty || result.errors.contains(cause), "\(arguments): \(result.errors)")
      #expect(result.output.isEmpty)
    }
  }

  @Test func `without a daemon the exit status is 69 and the cure is said`() throws {
    for verb in [
      ["pool", "list"], ["pool", "show", "x"], ["lease", "list"],
      ["lease", "acquire", "--size", "1"],
    ] {
      let result = try Executable.run(
        Executable.genpoolctl, verb + ["--socket", "/nonexistent/socket"])
      #expect(result.status == 69)
      #expect(
        result.errors.hasPrefix(
          "genpoolctl: connect /nonexistent/socket: no such file or directory (is genpoold running?"
        ))
      #expect(result.output.isEmpty)
    }
  }
}
