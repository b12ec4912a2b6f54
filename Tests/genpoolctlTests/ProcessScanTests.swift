import Foundation
import LinuxSystem
import PCIDevices
import TestSupport
import Testing

@testable import genpoolctl

/// Scans of directories that look like /proc, for what this machine's kernel does not show.
@Suite struct ProcessScanTests {
  /// A directory like /proc, removed with this object.
  private final class Processes {
    let path = FileManager.default.temporaryDirectory.path() + "genpool-proc-\(UUID().uuidString)"

    init() throws { try make("") }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private func make(_ directory: String) throws {
      try FileManager.default.createDirectory(
        atPath: path + "/" + directory, withIntermediateDirectories: true)
    }

    func write(_ text: String, to name: String) throws {
      try text.write(toFile: path + "/" + name, atomically: false, encoding: .utf8)
    }

    /// A thread with descriptors that lead to `links`.
    func addThread(
      _ thread: Int, of pid: Int, links: [String] = [], notes: String = "pos:\t0\n",
      maps: String = ""
    ) throws {
      let directory = "\(pid)/task/\(thread)"
      try make(directory + "/fd")
      try make(directory + "/fdinfo")
      try write("Name:\tx\nUid:\t1\t1001\t2\t3\n", to: "\(pid)/status")
      try write("name of \(pid)\n", to: "\(pid)/comm")
      try write(maps, to: directory + "/maps")
      for (descriptor, target) in links.enumerated() {
        try FileManager.default.createSymbolicLink(
          atPath: "\(path)/\(directory)/fd/\(descriptor)", withDestinationPath: target)
        try write(notes, to: "\(directory)/fdinfo/\(descriptor)")
      }
    }

    /// A file that stands for a BAR's.
    func addFile(_ name: String) throws -> ProcessScan.Memory.File {
      try write("", to: name)
      return .init(
        number: try FileNumber(at: path + "/" + name), isSysfs: false,
        name: "0000:01:00.0/resource2")
    }
  }

  private func memory(
    _ files: [ProcessScan.Memory.File] = [], device: String = "0000:01:00.0", isVFIO: Bool = false
  ) -> ProcessScan.Memory {
    .init(device: device, files: files, isVFIO: isVFIO)
  }

  private static let vfio = "anon_inode:[vfio-device]"

  @Test func `a descriptor and a mapping are told apart by their file`() throws {
    let processes = try Processes()
    let file = try processes.addFile("bar")
    _ = try processes.addFile("other")
    let number = file.number
    let device = String(number.major, radix: 16) + ":" + String(number.minor, radix: 16)
    let maps = """
      7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
      7f0000001000-7f0000002000 rw-s 00000000 \(device) \(number.inode)   \(processes.path)/b a r

      """
    try processes.addThread(10, of: 10, links: ["/dev/null", processes.path + "/bar"])
    try processes.addThread(9, of: 9, maps: maps)
    try processes.addThread(11, of: 11, links: [processes.path + "/bar"], maps: maps)
    try processes.addThread(12, of: 12, links: [processes.path + "/other", "/nowhere"])
    let scan = try ProcessScan(for: [memory(), memory([file])], in: processes.path)
    #expect(scan.holders.map(\.process.pid) == [9, 10, 11])
    #expect(scan.holders.map(\.descriptor) == [.none, .certain, .certain])
    #expect(scan.holders.map(\.mapping) == [.certain, .none, .certain])
    #expect(scan.holders.allSatisfy { $0.memory == 1 && $0.user == 1001 })
    #expect(scan.holders[0].command == "name of 9")
    #expect(scan.unexamined == 0)
    let others = try ProcessScan(for: [memory([file])], in: processes.path, excluding: 11)
    #expect(others.holders.map(\.process.pid) == [9, 10])
  }

  @Test func `a thread's own descriptors count, and mappings outlive the first thread`() throws {
    let processes = try Processes()
    let file = try processes.addFile("bar")
    let device = String(file.number.major, radix: 16) + ":" + String(file.number.minor, radix: 16)
    try processes.addThread(20, of: 20)
    try processes.addThread(21, of: 20, links: [processes.path + "/bar"])
    try processes.addThread(30, of: 30)
    try processes.addThread(
      31, of: 30, maps: "1000-2000 r--s 00000000 \(device) \(file.number.inode) /bar\n")
    let scan = try ProcessScan(for: [memory([file])], in: processes.path)
    #expect(scan.holders.map(\.process.pid) == [20, 30])
    #expect(scan.holders.map(\.descriptor) == [.certain, .none])
    #expect(scan.holders.map(\.mapping) == [.none, .certain])
  }

  @Test func `the kernel's note tells devices of VFIO apart`() throws {
    let processes = try Processes()
    try processes.addThread(
      1, of: 1, links: [Self.vfio],
      notes: "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0\n")
    try processes.addThread(2, of: 2, links: [Self.vfio])
    try processes.addThread(3, of: 3, maps: "1000-2000 rw-s 00000000 00:0e 7   \(Self.vfio)\n")
    let pools = [
      memory(isVFIO: true), memory(device: "0000:02:00.0", isVFIO: true), memory(),
    ]
    let scan = try ProcessScan(for: pools, in: processes.path)
    #expect(scan.holders.map(\.memory) == [0, 0, 0, 1, 1])
    #expect(scan.holders.map(\.process.pid) == [1, 2, 3, 2, 3])
    #expect(scan.holders.map(\.descriptor) == [.certain, .possible, .none, .possible, .none])
    #expect(scan.holders.map(\.mapping) == [.none, .none, .possible, .none, .possible])
    let sysfs = try ProcessScan(for: [memory()], in: processes.path)
    #expect(sysfs.holders.isEmpty, "memory that is not opened through VFIO has no such holders")
  }

  @Test func `a mapping whose device number differs is known by its path`() throws {
    let processes = try Processes()
    let file = try processes.addFile("bar")
    let inode = file.number.inode
    try processes.addThread(
      1, of: 1, maps: "1000-2000 rw-s 0 ff:ff \(inode) /tree/devices/0000:01:00.0/resource2\n")
    try processes.addThread(2, of: 2, maps: "1000-2000 rw-s 0 ff:ff \(inode) /tree/resource2\n")
    let scan = try ProcessScan(for: [memory([file])], in: processes.path)
    #expect(scan.holders.map(\.process.pid) == [1])
  }

  /// No BAR: any file of sysfs has a number in each network namespace.
  @Test(.enabled(if: getuid() == 0, "only root can mount"))
  func `a file of another network namespace's sysfs is the same file`() throws {
    let name = "kernel/uevent_seqnum"
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "unshare", "--net", "--mount", "sh", "-ec",
      "mount -t sysfs sysfs /mnt; exec 5</mnt/\(name); stat -L -c %d /dev/fd/5; exec sleep 30",
    ]
    process.standardOutput = output
    try process.start()
    defer { process.end() }
    let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    let number = try FileNumber(at: "/sys/" + name)
    try #require(line.split(separator: "\n").first.map(String.init) != "\(number.minor)")
    let memory = memory([.init(number: number, isSysfs: true, name: name)])
    let scan = try ProcessScan(for: [memory])
    #expect(scan.holders.contains { $0.process.pid == process.processIdentifier })
  }

  @Test func `a process that ends during the scan is left out`() throws {
    let processes = try Processes()
    let file = try processes.addFile("bar")
    try processes.addThread(1, of: 1, links: [processes.path + "/bar"])
    try processes.addThread(2, of: 2, links: [processes.path + "/bar"])
    try FileManager.default.removeItem(atPath: processes.path + "/1/status")
    try FileManager.default.createDirectory(
      atPath: processes.path + "/3", withIntermediateDirectories: false)
    let scan = try ProcessScan(for: [memory([file])], in: processes.path)
    #expect(scan.holders.map(\.process.pid) == [2] && scan.unexamined == 0)
  }

  @Test(arguments: [
    "", "1000-2000", "1000-2000 rw-p 0 00:00 0", "1000-2000 rw-p 0 00:00 0   [heap]",
    "1000-2000 rw-p 0 xx:00 7 /a", "1000-2000 rw-p 0 0000 7 /a", "1000-2000 rw-p 0 00:00 -1 /a",
  ])
  func `a line of maps without a file is none`(line: String) {
    #expect(FileMapping(line[...]) == nil)
  }
}
