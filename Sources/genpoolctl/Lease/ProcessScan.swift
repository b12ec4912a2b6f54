import LinuxSystem
import PCIDevices
import SystemPackage

/// A look at the descriptors and mappings of every process, for those that reach a BAR's memory.
///
/// It sees the processes of this pid namespace that this user may examine, one after the other:
/// a descriptor that is passed on meanwhile may escape it. Processes that end meanwhile are left
/// out. Descriptors in flight in a socket, and files that io_uring keeps, are not in /proc.
struct ProcessScan {
  /// A BAR's memory: the files that it can be mapped from.
  struct Memory {
    /// The device's address.
    let device: String
    /// `resourceN` and `resourceN_wc`.
    let files: [File]
    /// Whether it is opened through VFIO, whose descriptors reach the whole device.
    let isVFIO: Bool

    /// A file that memory is mapped from.
    struct File {
      let number: FileNumber
      let isSysfs: Bool
      /// The end of its path: the device's address and the file's name.
      let name: String
    }
  }

  /// The strength of the evidence that a process reaches memory.
  enum Evidence: Int, Comparable {
    case none
    /// A file of VFIO without its device's name.
    case possible
    case certain

    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  }

  /// A process that reaches one of the memories.
  struct Holder {
    let process: ProcessDirectory
    let user: UInt32
    let command: String
    /// The memory's index.
    let memory: Int
    let descriptor: Evidence
    let mapping: Evidence
  }

  private(set) var holders: [Holder] = []
  /// The number of processes of which this user may not see everything.
  private(set) var unexamined = 0

  private let memories: [Memory]
  private let isVFIO: Bool
  private let inodes: Set<UInt64>

  /// Scans the processes that `proc` lists, but for `excluded`.
  init(
    for memories: [Memory], in proc: String = "/proc", excluding excluded: Int32? = nil
  ) throws(SystemError) {
    self.memories = memories
    isVFIO = memories.contains(where: \.isVFIO)
    inodes = Set(memories.flatMap { $0.files.map(\.number.inode) })
    let processes = try attempt("list processes in", proc, try ProcessDirectory.all(in: proc))
    for process in processes where process.pid != excluded {
      do {
        if try !examine(process) { unexamined += 1 }
      } catch {
        // It has ended.
      }
    }
    holders.sort { ($0.memory, $0.process.pid) < ($1.memory, $1.process.pid) }
  }

  /// Returns false when the kernel keeps something of the process from this user.
  private mutating func examine(_ process: ProcessDirectory) throws(Errno) -> Bool {
    var isWhole = true
    var descriptors = [Evidence](repeating: .none, count: memories.count)
    var mappings = descriptors
    var hasMappings = false
    for thread in try process.threads() {
      isWhole =
        try Self.isAllowed { () throws(Errno) in
          try examineDescriptors(of: process, thread, &descriptors)
        } && isWhole
      // All threads have the same mappings, but for those that have ended.
      guard !hasMappings else { continue }
      isWhole =
        try Self.isAllowed { () throws(Errno) in
          hasMappings = try examineMappings(of: process, thread, &mappings)
        } && isWhole
    }
    let found = memories.indices.filter { max(descriptors[$0], mappings[$0]) != .none }
    guard !found.isEmpty else { return isWhole }
    let user = try process.user()
    let command = try process.command()
    holders += found.map {
      Holder(
        process: process, user: user, command: command, memory: $0, descriptor: descriptors[$0],
        mapping: mappings[$0])
    }
    return isWhole
  }

  /// Returns false when `body` may not read what it reads. A thread that has ended has nothing.
  private static func isAllowed(_ body: () throws(Errno) -> Void) throws(Errno) -> Bool {
    do throws(Errno) {
      try body()
    } catch .permissionDenied, .notPermitted {
      return false
    } catch .noSuchFileOrDirectory, .noSuchProcess {
      return true
    }
    return true
  }

  private func examineDescriptors(
    of process: ProcessDirectory, _ thread: String, _ evidence: inout [Evidence]
  ) throws(Errno) {
    for descriptor in try process.descriptors(of: thread) {
      do {
        if isVFIO, try process.name(descriptor, of: thread) == Self.vfioName {
          let device = try Self.device(in: process.notes(descriptor, of: thread))
          noteVFIO(device, in: &evidence)
          continue
        }
        let path = process.file(descriptor, of: thread)
        let number = try FileNumber(at: path)
        guard inodes.contains(number.inode) else { continue }
        note(number.inode, in: &evidence) { file in
          number == file.number || file.isSysfs && FileNumber.isSysfs(at: path)
        }
      } catch .noSuchFileOrDirectory, .noSuchProcess, .badFileDescriptor {
        // It was closed.
        continue
      }
    }
  }

  /// Returns whether there are any mappings.
  private func examineMappings(
    of process: ProcessDirectory, _ thread: String, _ evidence: inout [Evidence]
  ) throws(Errno) -> Bool {
    let mappings = try process.mappings(of: thread)
    for mapping in mappings {
      if isVFIO, mapping.name == Self.vfioName {
        noteVFIO(nil, in: &evidence)
        continue
      }
      guard inodes.contains(mapping.number.inode) else { continue }
      note(mapping.number.inode, in: &evidence) { file in
        if mapping.number == file.number { return true }
        // Maps names the device of the inode. Overlayfs and btrfs, say, give their files others to
        // stat(2), and each network namespace has a sysfs of its own.
        let path = process.file(of: mapping)
        guard let number = try? FileNumber(at: path) else {
          return mapping.name.hasSuffix("/" + file.name)
        }
        return number == file.number || file.isSysfs && FileNumber.isSysfs(at: path)
      }
    }
    return !mappings.isEmpty
  }

  private func note(
    _ inode: UInt64, in evidence: inout [Evidence], where isSame: (Memory.File) -> Bool
  ) {
    for (index, memory) in memories.enumerated() {
      if memory.files.contains(where: { $0.number.inode == inode && isSame($0) }) {
        evidence[index] = .certain
      }
    }
  }

  /// - Parameter device: the device's address, nil where the kernel does not name it.
  private func noteVFIO(_ device: String?, in evidence: inout [Evidence]) {
    for (index, memory) in memories.enumerated() where memory.isVFIO {
      if device == memory.device {
        evidence[index] = .certain
      } else if device == nil {
        evidence[index] = max(evidence[index], .possible)
      }
    }
  }

  /// The name of a device's file that was opened by its VFIO group.
  private static let vfioName = "anon_inode:[vfio-device]"

  /// The address of a VFIO file's device; nil where the kernel does not write it down.
  private static func device(in notes: [Substring]) -> String? {
    for note in notes where note.hasPrefix("vfio-device-syspath:") {
      return note.split(separator: "/").last.map(String.init)
    }
    return nil
  }
}

extension ProcessScan.Memory {
  /// The memory of BAR `bar` of `device` in `tree`; nil when it is not there.
  init?(device: String, bar: Int, isVFIO: Bool, in tree: SysfsRoot) throws(SystemError) {
    self.device = device
    self.isVFIO = isVFIO
    var files: [File] = []
    // Memory that is not prefetchable has no second file.
    for name in ["\(device)/resource\(bar)", "\(device)/resource\(bar)_wc"] {
      let path = "\(tree)/bus/pci/devices/\(name)"
      do throws(Errno) {
        files.append(
          File(number: try FileNumber(at: path), isSysfs: FileNumber.isSysfs(at: path), name: name))
      } catch .noSuchFileOrDirectory {
        continue
      } catch {
        throw SystemError(operation: "examine", subject: path, errno: error)
      }
    }
    guard !files.isEmpty else { return nil }
    self.files = files
  }
}
