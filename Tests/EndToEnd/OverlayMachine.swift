import Foundation
import Glibc
import TestSupport
import Testing

/// A file system that does not see bare mappings, in a mount namespace of its own.
final class OverlayMachine {
  let directory =
    FileManager.default.temporaryDirectory.path() + "genpool-overlay-\(UUID().uuidString)"
  private let keeper = Process()

  init() throws {
    try FileManager.default.createDirectory(
      atPath: directory + "/run", withIntermediateDirectories: true)
    keeper.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    keeper.arguments = [
      "unshare", "--mount", "sh", "-ec",
      """
      cd \(directory) && mkdir base tree && mount -t tmpfs base base
      mkdir base/lower base/upper base/work
      mount -t overlay -o lowerdir=base/lower,upperdir=base/upper,workdir=base/work overlay tree
      \(Executable.genpoolctl) emulate tree/sys --device nvme,cmb=1M >/dev/null
      touch run/mounted && exec sleep 600
      """,
    ]
    keeper.standardInput = FileHandle.nullDevice
    try keeper.start()
    for _ in 0..<1000 where !FileManager.default.fileExists(atPath: directory + "/run/mounted") {
      try #require(keeper.isRunning, "an overlay can be mounted")
      usleep(10_000)
    }
  }

  deinit {
    keeper.end(SIGTERM)
    try? FileManager.default.removeItem(atPath: directory)
  }

  var socket: String { directory + "/run/socket" }

  private var variables: [String: String] {
    [
      "GENPOOL_SYSFS_ROOT": directory + "/tree/sys", "GENPOOL_SOCKET": socket,
      "RUNTIME_DIRECTORY": directory + "/run/records",
    ]
  }

  private func command(_ arguments: [String]) -> [String] {
    ["nsenter", "--target", "\(keeper.processIdentifier)", "--mount"] + arguments
  }

  func control(uid: Int? = nil, _ arguments: String...) throws -> Executable.Result {
    let user = uid.map { ["setpriv", "--reuid=\($0)", "--clear-groups"] } ?? []
    return try Executable.run(
      "/usr/bin/env", command(user + [Executable.genpoolctl] + arguments),
      environment: variables)
  }

  /// A daemon, to which all users may connect.
  func daemon(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command([Executable.genpoold] + arguments)
    process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
    process.standardError = FileHandle.standardError
    try process.start()
    for _ in 0..<1000 {
      if try control("pool", "list").status == 0 { break }
      try #require(process.isRunning)
      usleep(10_000)
    }
    _ = unsafe chmod(socket, 0o666)
    return process
  }
}
