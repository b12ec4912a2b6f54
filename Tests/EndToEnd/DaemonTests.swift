import Foundation
import GenPool
import LinuxSystem
import TestSupport
import Testing

/// genpoold as its users run it, over an emulated device.
@Suite(.serialized) struct DaemonTests {
  private let machine: EmulatedMachine
  private var attachment: [String] { ["--attach", "\(machine.device):2,name=cmb"] }

  init() throws {
    machine = try EmulatedMachine()
  }

  private func daemon(_ arguments: [String]) throws -> RunningDaemon {
    let daemon = try RunningDaemon(machine, arguments)
    try daemon.waitUntilReady(at: machine.socket)
    return daemon
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGHUP])
  func `a signal stops it, with the device as it was and the socket gone`(signal: Int32) throws {
    let before = try machine.attribute("driver_override")
    let daemon = try daemon(attachment)
    #expect(try machine.attribute("driver_override") != before)
    #expect(try machine.control("pool", "list").output.contains("cmb"))
    #expect(daemon.end(signal) == 0)
    #expect(try machine.attribute("driver_override") == before)
    #expect(!FileManager.default.fileExists(atPath: machine.socket))
    let log = daemon.readLog()
    #expect(log.contains("pool=cmb") && log.contains("ready") && log.contains("stopped"))
  }

  @Test func `places that are not there end it, and who named them is said`() throws {
    let devices = try Executable.run(
      Executable.genpoold, ["--sysfs-root", "/nonexistent", "--socket", machine.socket])
    #expect(devices.status == 1)
    #expect(devices.errors.contains("no such file or directory (--sysfs-root names it)"))
    let variable = try Executable.run(
      Executable.genpoold, ["--socket", machine.socket],
      environment: ["GENPOOL_SYSFS_ROOT": "/nonexistent", "GENPOOL_LOG": "loud"])
    #expect(variable.status == 1 && variable.errors.contains("(GENPOOL_SYSFS_ROOT names it)"))
    #expect(variable.errors.contains("warning not a level GENPOOL_LOG=loud then=ignored"))
    let socket = try Executable.run(
      Executable.genpoold, ["--socket", "/proc/genpool/socket"], environment: machine.environment)
    #expect(socket.status == 1 && socket.errors.contains("--socket or GENPOOL_SOCKET names"))
    #expect(!socket.errors.contains("listen socket="))
  }

  @Test func `its socket is for its owner and its group`() throws {
    let daemon = try daemon(attachment)
    let attributes = try FileManager.default.attributesOfItem(atPath: machine.socket)
    #expect(attributes[.posixPermissions] as? Int == 0o660)
    _ = daemon.end()
  }

  @Test func `what cannot be attached keeps it from starting, and the cause is said`() throws {
    for (specification, cause) in [
      ("0000:09:00.0:2", "no such device"), ("\(machine.device):5", "[Bb]AR 5"),
      ("\(machine.device):2,offset=100", "page size"),
      ("\(machine.device):2,size=1G", "pass the BAR's end"),
      ("\(machine.device):2,allow=everything", "allow=everything is not possible"),
    ] {
      let result = try Executable.run(
        Executable.genpoold, ["--attach", specification], environment: machine.environment)
      #expect(result.status == 1, "\(specification)")
      #expect(
        try Regex(cause).firstMatch(in: result.errors) != nil, "\(specification): \(result.errors)")
      #expect(result.output.isEmpty)
      #expect(!FileManager.default.fileExists(atPath: machine.socket))
    }
  }

  @Test(arguments: [
    "x", "01:00.0", "01:00.0:6", "01:00.0:2,size=x", "01:00.0:2,colour=red", "01:00.0:2,granule=3",
  ])
  func `an attachment that cannot be read is wrong usage`(specification: String) throws {
    let result = try Executable.run(
      Executable.genpoold, ["--attach", specification], environment: machine.environment)
    #expect(result.status == 64 && result.errors.contains("attach \(specification): "))
  }

  @Test func `a second daemon does not take the first one's place`() throws {
    let first = try daemon(attachment)
    let second = try Executable.run(Executable.genpoold, [], environment: machine.environment)
    #expect(second.status == 1 && second.errors.contains("another broker answers there"))
    #expect(try machine.control("pool", "list").output.contains("cmb"))
    #expect(first.end() == 0)
  }

  @Test func `a daemon that crashed is followed by one at the same place`() throws {
    let first = try daemon(attachment)
    _ = first.end(SIGKILL)
    #expect(FileManager.default.fileExists(atPath: machine.socket))
    let second = try daemon(attachment)
    #expect(try machine.control("lease", "acquire", "--size", "64K", "--dump=16").status == 0)
    #expect(second.end() == 0)
  }

  @Test func `a file that is no socket is not removed for one`() throws {
    let directory = (machine.socket as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try "mine".write(toFile: machine.socket, atomically: false, encoding: .utf8)
    let result = try Executable.run(Executable.genpoold, [], environment: machine.environment)
    #expect(result.status == 1 && result.errors.contains("no socket"))
    #expect(try String(contentsOfFile: machine.socket, encoding: .utf8) == "mine")
  }

  @Test func `a client that is killed gives its lease back`() throws {
    let daemon = try daemon(attachment)
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    holder.arguments = ["lease", "acquire", "--size", "16M", "--hold"]
    holder.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    holder.standardOutput = FileHandle.nullDevice
    holder.standardError = FileHandle.nullDevice
    try holder.start()
    try wait(for: "the lease") { try machine.control("lease", "list").output.contains("leased") }
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 75)
    holder.end()
    try wait(for: "its end") {
      try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 0
    }
    #expect(daemon.end() == 0)
  }

  @Test func `clients that come and go leave no descriptor behind`() throws {
    let daemon = try daemon(attachment)
    func open() throws -> Int {
      try FileManager.default.contentsOfDirectory(
        atPath: "/proc/\(daemon.process.processIdentifier)/fd"
      ).count
    }
    _ = try machine.control("lease", "acquire", "--size", "4K", "--dump=16")
    usleep(100_000)
    let before = try open()
    for _ in 0..<20 { _ = try machine.control("lease", "acquire", "--size", "4K", "--dump=16") }
    for _ in 0..<500 {
      _ = try StreamSocket(connectingTo: machine.socket)
    }
    try wait(for: "all to be closed") { try open() == before }
    #expect(daemon.end() == 0)
  }

  @Test func `more connections than descriptors wait, and cost no time`() throws {
    // Hard and soft, so that the daemon cannot raise it.
    let daemon = try RunningDaemon(
      machine, ["-c", "ulimit -n 40; exec \"$0\" \"$@\"", Executable.genpoold] + attachment,
      path: "/bin/sh")
    try daemon.waitUntilReady(at: machine.socket)
    do {
      let crowd = try (0..<70).map { _ in try ConnectedSocket(to: machine.socket) }
      let ticks = try processorTime(of: daemon)
      usleep(1_500_000)
      // In hundredths of a second.
      #expect(try processorTime(of: daemon) - ticks < 20)
      withExtendedLifetime(crowd) {}
    }
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 0)
    #expect(daemon.end() == 0)
  }

  /// User and system time, in clock ticks: fields 14 and 15 of /proc/PID/stat.
  private func processorTime(of daemon: RunningDaemon) throws -> Int {
    let text = try String(
      contentsOfFile: "/proc/\(daemon.process.processIdentifier)/stat", encoding: .utf8)
    let fields = text.split(separator: " ")
    return try #require(Int(fields[13])) + #require(Int(fields[14]))
  }

  @Test func `it serves a socket that it is passed`() throws {
    let directory = (machine.socket as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let listener = try SocketListener(path: machine.socket, mode: 0o600)
    // As the service manager does: descriptor 3, and variables that name the process.
    let script = """
      exec 3<&0 </dev/null
      LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"
      """
    let daemon = try RunningDaemon(
      machine, ["-c", script, Executable.genpoold] + attachment, path: "/bin/sh",
      input: FileHandle(fileDescriptor: listener.rawValue))
    #expect(try machine.control("pool", "list").output.contains("cmb"))
    #expect(daemon.end() == 0)
    // It is the manager's: the next daemon will be passed it.
    #expect(FileManager.default.fileExists(atPath: machine.socket))
  }

  @Test func `it tells the service manager when it is ready and when it stops`() throws {
    let path = machine.directory + "/notify"
    let notifications = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
    try #require(notifications >= 0)
    defer { close(notifications) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
      unsafe room.copyBytes(from: path.utf8)
    }
    let bound = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe bind(notifications, address, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0)
    func next() -> String {
      var end = pollfd(fd: notifications, events: Int16(POLLIN), revents: 0)
      guard unsafe poll(&end, 1, 10_000) == 1 else { return "" }
      var bytes = [UInt8](repeating: 0, count: 128)
      let count = unsafe recv(notifications, &bytes, bytes.count, 0)
      return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
    let daemon = try RunningDaemon(machine, attachment, environment: ["NOTIFY_SOCKET": path])
    #expect(next() == "STATUS=Attaching \(machine.device):2")
    #expect(next() == "READY=1\nSTATUS=1 pool, 0 leases, 0 connections")
    // Ready means that it answers.
    #expect(try machine.control("pool", "list").status == 0)
    #expect(daemon.end() == 0)
    #expect(next().hasPrefix("STOPPING=1\n"))
  }

  @Test func `it says its version and nothing else on standard output`() throws {
    let result = try Executable.run(Executable.genpoold, ["--version"])
    #expect(result.status == 0 && result.output.wholeMatch(of: /genpoold \d+\.\d+\.\d+\n/) != nil)
    #expect(result.errors.isEmpty)
  }
}

/// Thrown when a condition did not become true in time: what comes next in the test would only wait
/// in vain as well.
struct TimedOut: Error {
  let what: String
}

/// Asks again and again for at most ten seconds.
func wait(for what: String, until condition: () throws -> Bool) throws {
  let deadline = ContinuousClock.now + .seconds(10)
  repeat {
    if try condition() { return }
    usleep(20_000)
  } while .now < deadline
  throw TimedOut(what: "waited in vain for \(what)")
}
