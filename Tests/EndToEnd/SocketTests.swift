import BrokerProtocol
import Foundation
import GenPool
import GenPoolClient
import LinuxSystem
import TestSupport
import Testing

/// The daemon's two sockets: which rights each gives, and their life.
@Suite(.serialized) struct SocketTests {
  private let machine: EmulatedMachine
  private var attachment: [String] { ["--attach", "\(machine.device):2,name=cmb"] }

  init() throws { machine = try EmulatedMachine() }

  private func daemon(
    _ arguments: [String], environment: [String: String] = [:]
  ) throws -> RunningDaemon {
    let daemon = try RunningDaemon(machine, arguments, environment: environment)
    try daemon.waitUntilReady(at: machine.socket)
    return daemon
  }

  private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  private func access(_ path: String) throws -> (mode: Int?, group: Int?) {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    return (
      attributes[.posixPermissions] as? Int, attributes[.groupOwnerAccountID] as? Int
    )
  }

  // MARK: Rights

  @Test func `the clients' socket attaches and detaches nothing, for root either`() throws {
    let daemon = try daemon(attachment)
    let client = try Connection(to: BrokerSocket(path: machine.socket))
    #expect(try client.hello().admin == false)
    let lease = try client.acquire(.kibibytes(4))
    let name = lease.grant.lease
    for call in [
      { try client.detach(pool: "cmb") as Any },
      { try client.attach(.init(device: machine.device, bar: 2, name: "other")) },
      { try client.forceRelease(name) },
    ] {
      let error = #expect(throws: ClientError.self) { _ = try call() }
      guard case .broker(.permissionDenied) = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    let admin = try Connection(to: BrokerSocket(path: machine.socket).admin)
    #expect(try admin.hello().admin)
    #expect(try admin.forceRelease(name).state == .revoked)
    try lease.release()
    try wait(for: "the pool's end") { (try? admin.detach(pool: "cmb")) != nil }
    _ = try admin.attach(.init(device: machine.device, bar: 2, name: "other"))
    #expect(try client.pools().map(\.name) == ["other"])
    #expect(daemon.end() == 0)
  }

  @Test func `the admins' socket is its owner's, or the admins' group's`() throws {
    let group = Accounts.group("genpool-admin")
    let daemon = try daemon(attachment)
    let (mode, owner) = try access(machine.adminSocket)
    if getuid() == 0, let group {
      #expect(mode == 0o660 && owner == Int(group))
    } else {
      #expect(mode == 0o600)
    }
    #expect(daemon.end() == 0)
    #expect(!exists(machine.socket) && !exists(machine.adminSocket))
  }

  @Test(
    .enabled(if: getuid() == 0, "only root can be two users"),
    .enabled(
      if: FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv"), "setpriv is missing"))
  func `another user lists its own leases, an admin all, and the group decides who that is`()
    throws
  {
    let configuration = machine.directory + "/genpoold.json"
    // A group that each system has.
    try #"{"adminGroup": "daemon"}"#.write(
      toFile: configuration, atomically: false, encoding: .utf8)
    let daemon = try daemon(["--config", configuration] + attachment)
    for (path, mode) in [
      (machine.directory, 0o755), (machine.directory + "/run", 0o755), (machine.socket, 0o666),
    ] {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }
    #expect(try access(machine.adminSocket) == (0o660, Int(#require(Accounts.group("daemon")))))
    let program = machine.directory + "/genpoolctl"
    try FileManager.default.copyItem(atPath: Executable.genpoolctl, toPath: program)
    func nobody(group: String = "65534", _ arguments: String...) throws -> Executable.Result {
      try Executable.run(
        "/usr/bin/setpriv",
        ["--reuid=65534", "--regid=\(group)", "--clear-groups", program] + arguments,
        environment: machine.environment)
    }
    let lease = try Connection(to: BrokerSocket(path: machine.socket)).acquire(.kibibytes(4))
    let digits = String(lease.grant.lease.rawValue.prefix(8))
    #expect(try machine.control("lease", "list").output.contains(digits))
    #expect(try nobody("lease", "list").output == "There are no leases.\n")
    for arguments in [
      ["pool", "detach", "cmb"], ["pool", "attach", "\(machine.device):2"],
      ["lease", "release", digits],
    ] {
      let denied = try Executable.run(
        "/usr/bin/setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups", program] + arguments,
        environment: machine.environment)
      #expect(denied.status == 1)
      #expect(denied.errors.contains("the admin socket is for root and the group daemon"))
    }
    #expect(try nobody(group: "daemon", "lease", "list").output.contains(digits))
    #expect(try nobody(group: "daemon", "lease", "release", digits).status == 0)
    try lease.release()
    #expect(daemon.end() == 0)
  }

  // MARK: Life

  /// Keeps the daemon from attaching the device, as another process that attaches it would.
  private final class ChangingDevice {
    private let lock: Descriptor

    init(_ machine: EmulatedMachine) throws {
      lock = try .openLock(
        machine.device, in: machine.directory + "/genpool-locks", isTrusted: false)
      try lock.lock(byte: 0, isShared: false)
    }

    func end() { lock.unlock(byte: 0) }
  }

  private var bar: String { "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2" }

  /// A `genpoolctl pool list` in the background.
  private final class Client {
    private let process = Process()
    private let output = Pipe()
    private let errors = Pipe()

    init(of machine: EmulatedMachine) throws {
      process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
      process.arguments = ["pool", "list"]
      process.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
      process.standardOutput = output
      process.standardError = errors
      try process.start()
    }

    deinit { process.end() }

    var isWaiting: Bool { process.isRunning }

    func wait() -> CommandOutput {
      let said = errors.fileHandleForReading.readDataToEndOfFile()
      let printed = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return (
        process.terminationStatus, String(decoding: printed, as: UTF8.self),
        String(decoding: said, as: UTF8.self)
      )
    }
  }

  private typealias CommandOutput = (status: Int32, output: String, errors: String)

  @Test func `sockets are there before a device is touched, and clients wait for its pool`() throws
  {
    let file = try #require(FileHandle(forWritingAtPath: bar))
    try file.write(contentsOf: Data("kept".utf8))
    try file.close()
    func text() throws -> String {
      let file = try #require(FileHandle(forReadingAtPath: bar))
      return String(decoding: try file.read(upToCount: 4) ?? Data(), as: UTF8.self)
    }
    let before = try machine.attribute("driver_override")
    let change = try ChangingDevice(machine)
    let daemon = try RunningDaemon(machine, attachment)
    try wait(for: "the sockets") { exists(machine.socket) && exists(machine.adminSocket) }
    let client = try Client(of: machine)
    let admin = try Connection(to: BrokerSocket(path: machine.socket).admin)
    usleep(200_000)
    #expect(client.isWaiting)
    #expect(try text() == "kept" && machine.attribute("driver_override") == before)
    change.end()
    let listed = client.wait()
    #expect(listed.status == 0 && listed.output.contains("cmb"), "\(listed)")
    #expect(try admin.pools().map(\.name) == ["cmb"])
    try wait(for: "the memory to be erased") { try text() != "kept" }
    #expect(daemon.end() == 0)
  }

  @Test func `a daemon that cannot attach closes what waits, and leaves no socket`() throws {
    let change = try ChangingDevice(machine)
    // The first takes its time, and would wait for the device; the second is a mistake.
    let daemon = try RunningDaemon(machine, attachment + ["--attach", "0000:09:00.0:2"])
    try wait(for: "the sockets") { exists(machine.socket) && exists(machine.adminSocket) }
    let second = try Executable.run(Executable.genpoold, [], environment: machine.environment)
    #expect(second.status == 1 && second.errors.contains("another broker answers there"))
    let client = try Client(of: machine)
    let refused = client.wait()
    #expect(refused.status == 1 || refused.status == 69)
    #expect(refused.errors.contains("genpoold has ended or closed the connection"), "\(refused)")
    daemon.process.waitUntilExit()
    #expect(daemon.process.terminationStatus == 1)
    #expect(!exists(machine.socket) && !exists(machine.adminSocket))
    change.end()
  }

  @Test func `a path without room for the admins' socket, or that is one, is refused`() throws {
    let directory = machine.directory + "/run/"
    let long = directory + String(repeating: "x", count: 104 - directory.utf8.count)
    for (path, cause) in [
      (long, "at most 107 bytes"), (directory + "x.admin", "name the clients'"),
    ] {
      let result = try Executable.run(
        Executable.genpoold, ["--socket", path], environment: machine.environment)
      #expect(result.status == 1 && result.errors.contains(cause), "\(result.errors)")
      #expect(!exists(path))
    }
  }

  @Test func `without an admins' socket the verbs of admins say where they looked`() throws {
    let daemon = try daemon(attachment)
    try FileManager.default.removeItem(atPath: machine.adminSocket)
    let result = try machine.control("pool", "detach", "cmb")
    #expect(result.status == 69 && result.errors.contains(machine.adminSocket))
    #expect(result.errors.contains("genpoold-admin.socket"))
    #expect(try machine.control("lease", "list").status == 0)
    #expect(daemon.end() == 0)
  }

  // MARK: Socket activation

  /// Starts the daemon as a service manager does, with a listening socket for each of `names`: at
  /// the admins' path for `admin`, at the clients' for the first other one.
  private func activated(
    _ names: [String], _ arguments: [String]? = nil
  ) throws -> RunningDaemon {
    let script = """
      import fcntl, os, socket, sys
      os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
      names, paths, kept = sys.argv[2].split(":"), [], []
      for name in names:
          path = sys.argv[1] + (".admin" if name == "admin" else "")
          kept.append(socket.socket(socket.AF_UNIX))
          kept[-1].bind(path + ".again" * paths.count(path))
          paths.append(path)
          kept[-1].listen()
      high = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in kept]
      for number, one in enumerate(high):
          os.dup2(one, 3 + number)
      os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(names)),
                     "LISTEN_FDNAMES": sys.argv[2]}
      os.execv(sys.argv[3], sys.argv[3:])
      """
    return try RunningDaemon(
      machine,
      ["python3", "-c", script, machine.socket, names.joined(separator: ":"), Executable.genpoold]
        + (arguments ?? attachment),
      path: "/usr/bin/env")
  }

  @Test(arguments: [["varlink", "admin"], ["admin", "varlink"], ["admin", "genpoold.socket"]])
  func `of the sockets that it is passed the one named admin is the admins'`(names: [String]) throws
  {
    let daemon = try activated(names)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try Connection(to: BrokerSocket(path: machine.socket)).hello().admin == false)
    #expect(try Connection(to: BrokerSocket(path: machine.socket).admin).hello().admin)
    #expect(daemon.end() == 0)
    #expect(exists(machine.socket) && exists(machine.adminSocket), "they are the manager's")
  }

  @Test func `passed the clients' socket alone it makes the admins' beside it`() throws {
    let daemon = try activated(["varlink"])
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try Connection(to: BrokerSocket(path: machine.socket).admin).hello().admin)
    #expect(daemon.end() == 0)
    #expect(exists(machine.socket) && !exists(machine.adminSocket))
  }

  @Test func `where it cannot make one it serves clients, and the log has the cause`() throws {
    // Not a socket, so that it is not removed.
    let place = URL(fileURLWithPath: machine.adminSocket)
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    let daemon = try activated(["varlink"])
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try machine.control("pool", "list").output.contains("cmb"))
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    #expect(log.contains("warning no admin socket cause=") && log.contains("it is no socket"))
    #expect(exists(machine.adminSocket))
  }

  @Test(arguments: [
    (["admin"], "the clients' socket is missing"), (["a", "b"], "has to be named admin"),
    (["admin", "admin"], "the clients' socket is missing"), (["a", "b", "admin"], "3 were passed"),
  ])
  func `sockets that it cannot tell apart end it`(names: [String], cause: String) throws {
    let daemon = try activated(names)
    daemon.process.waitUntilExit()
    #expect(daemon.process.terminationStatus == 1)
    #expect(daemon.readLog().contains(cause))
  }

  /// Starts the daemon with `arguments` and both sockets, and `genpoolctl pool list` ten times.
  private func rejected(
    _ arguments: [String]
  ) throws -> (daemon: RunningDaemon, clients: [CommandOutput]) {
    let daemon = try activated(["varlink", "admin"], arguments)
    try wait(for: "the sockets") { exists(machine.socket) && exists(machine.adminSocket) }
    let clients = try (0..<10).map { _ in try Client(of: machine) }
    let admin = try machine.control("pool", "detach", "cmb")
    let outputs =
      clients.map { $0.wait() } + [(admin.status, admin.output, admin.errors)]
    daemon.process.waitUntilExit()
    return (daemon, outputs)
  }

  @Test func `a daemon with a wrong configuration answers the clients that wait, and ends`() throws
  {
    let configuration = machine.directory + "/genpoold.json"
    try #"{"color": "red", "socket": 1}"#.write(
      toFile: configuration, atomically: false, encoding: .utf8)
    let (daemon, clients) = try rejected(["--config", configuration])
    for client in clients {
      #expect(client.status == 1)
      #expect(
        client.errors.contains("read genpoold's configuration \(configuration): ")
          && client.errors.contains("2 mistakes; `genpoold --check-config` shows them"),
        "\(client)")
    }
    #expect(daemon.process.terminationStatus == 78)
    #expect(daemon.readLog().contains("color"))
  }

  @Test func `with a wrong command line, too`() throws {
    let (daemon, clients) = try rejected(["--no-such-option"])
    for client in clients {
      #expect(client.status == 1 && client.errors.contains("read genpoold's command line: "))
    }
    #expect(daemon.process.terminationStatus == 64)
    #expect(daemon.readLog().contains("--no-such-option"))
  }
}
