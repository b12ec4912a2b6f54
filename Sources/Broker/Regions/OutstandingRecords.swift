import BrokerLeases
import DeviceMemory
import Glibc
import LinuxSystem
import StrictJSON
import SystemPackage

/// The records of memory that is outstanding: a file each in a directory that outlives the broker's
/// runs but not the machine's, so that a run that was killed leaves word.
///
/// A record is replaced by a rename, so it is there as a whole or not at all. Several brokers may
/// share a directory: each writes and removes what concerns its own memory. Without a directory the
/// records live as long as the broker.
final class OutstandingRecords {
  /// A file longer than this is no record.
  private static let sizeLimit = 1 << 20

  /// Names a record, and its file.
  struct ID: Hashable {
    let name: String

    init() { name = randomName() + Self.suffix }
    fileprivate init?(fileName: String) {
      guard fileName.hasSuffix(Self.suffix), !fileName.hasPrefix(".") else { return nil }
      name = fileName
    }

    private static let suffix = ".outstanding"
  }

  /// Nil where there is none.
  let directory: String?
  private let boot: String?
  /// The records where there is no directory.
  private var kept: [ID: OutstandingMemory] = [:]
  /// The records of the directory that were read, each with its file as it was then: attaching many
  /// pools reads each once.
  private var known: [ID: (version: FileVersion, record: OutstandingMemory)] = [:]

  /// Records in `directory`, which is made if it is not there. Removes those of earlier boots.
  /// - Throws: when it cannot be made, or is another user's, or others may write to it.
  init(directory: String?) throws(SystemError) {
    self.directory = directory
    boot = (try? fileContents("/proc/sys/kernel/random/boot_id", limit: 4096)).map {
      String(decoding: $0, as: UTF8.self).trimmed
    }
    guard let directory else { return }
    try Self.prepare(directory)
    guard let boot else { return }
    for case (let id, let record?) in try all() where record.boot != nil && record.boot != boot {
      try remove(id)
    }
  }

  /// A record for memory that nothing was lent of yet.
  func blank(
    _ label: String, _ reach: OutstandingMemory.Reach, _ source: MemorySource?
  ) -> OutstandingMemory {
    OutstandingMemory(
      label: label, reach: reach, source: source?.rawValue, users: [], state: .ended, boot: boot)
  }

  /// Every record, nil for one that cannot be read. The directory is looked at each time: other
  /// brokers have theirs there.
  func all() throws(SystemError) -> [(ID, OutstandingMemory?)] {
    guard let directory else { return kept.map { ($0.key, $0.value) } }
    let names: [String]
    do {
      names = try directoryNames(directory)
    } catch {
      throw SystemError(operation: "read", subject: directory, errno: error)
    }
    let ids = names.compactMap(ID.init(fileName:)).sorted { $0.name < $1.name }
    let present = Set(ids)
    known = known.filter { present.contains($0.key) }
    return ids.compactMap { id in
      let path = path(of: id)
      // Before it is read: a record that is replaced meanwhile is read again the next time.
      let version = FileVersion(of: path)
      if let version, let known = known[id], known.version == version { return (id, known.record) }
      known[id] = nil
      guard let text = try? fileContents(path, limit: Self.sizeLimit) else {
        // Another broker may have removed it meanwhile.
        return unsafe access(path, F_OK) == 0 ? (id, nil) : nil
      }
      guard let record = try? JSONTree(text).root.decode(OutstandingMemory.self) else {
        return (id, nil)
      }
      if let version { known[id] = (version, record) }
      return (id, record)
    }
  }

  /// Writes a record, or writes it anew.
  func save(_ record: OutstandingMemory, as id: ID) throws(SystemError) {
    guard let directory else {
      kept[id] = record
      return
    }
    known[id] = nil
    let path = path(of: id)
    let draft = "\(directory)/.\(id.name)"
    do {
      let bytes = try JSONWriter.bytes(of: record)
      let file = try FileDescriptor.open(
        FilePath(draft), .writeOnly, options: [.create, .truncate, .noFollow, .closeOnExec],
        permissions: [.ownerRead, .ownerWrite])
      do {
        try file.closeAfter { _ = try file.writeAll(bytes) }
      } catch {
        _ = unsafe unlink(draft)
        throw error
      }
    } catch {
      throw SystemError(operation: "write", subject: path, errno: error as? Errno ?? .ioError)
    }
    guard unsafe rename(draft, path) == 0 else {
      let number = Errno(rawValue: errno)
      _ = unsafe unlink(draft)
      throw SystemError(operation: "write", subject: path, errno: number)
    }
  }

  /// Removes a record. One that is not there is as good as removed.
  func remove(_ id: ID) throws(SystemError) {
    guard directory != nil else {
      kept[id] = nil
      return
    }
    known[id] = nil
    let path = path(of: id)
    guard unsafe unlink(path) == 0 || errno == ENOENT else {
      throw SystemError(operation: "remove", subject: path, errno: Errno(rawValue: errno))
    }
  }

  /// The path of a record's file.
  func path(of id: ID) -> String { "\(directory ?? "")/\(id.name)" }

  /// Makes the directory, and sees that no other user can put records there or take some away.
  private static func prepare(_ directory: String) throws(SystemError) {
    func failure(_ number: CInt, _ cause: String? = nil) -> SystemError {
      SystemError(
        operation: "keep records in", subject: directory, errno: Errno(rawValue: number),
        cause: cause)
    }
    guard unsafe mkdir(directory, 0o700) == 0 || errno == EEXIST else { throw failure(errno) }
    var link = stat()
    var status = stat()
    guard unsafe lstat(directory, &link) == 0, unsafe stat(directory, &status) == 0 else {
      throw failure(errno)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw failure(ENOTDIR) }
    // systemd makes it a link to a directory of the service's user. A link or directory that
    // another user has made in a shared place would be a trap. Root may read a service's.
    let own = geteuid()
    guard link.st_uid == own || link.st_uid == 0, own == 0 || status.st_uid == own,
      status.st_mode & 0o022 == 0
    else {
      throw failure(
        EPERM, "another user made it, or may write to it; give --runtime-directory one of your own")
    }
  }
}

/// A file as it is at a moment. A record is replaced by another file, which changes all of this.
private struct FileVersion: Equatable {
  private let inode: UInt64
  private let size: Int64
  private let written: Int
  private let changed: Int

  /// Nil where there is no regular file.
  init?(of path: String) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    written = status.st_mtim.tv_sec &* 1_000_000_000 &+ status.st_mtim.tv_nsec
    changed = status.st_ctim.tv_sec &* 1_000_000_000 &+ status.st_ctim.tv_nsec
  }
}

extension String {
  /// Without white space at its ends.
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
