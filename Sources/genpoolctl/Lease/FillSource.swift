import DeviceMemory
import GenPool
import SystemPackage

/// What a lease is filled with. Opened before anything is leased: a file that cannot be read, or is
/// too long, should not cost a lease and its zeroing.
enum FillSource {
  /// The same byte everywhere.
  case byte(UInt8)
  /// A file's bytes from its start; the rest of the lease stays zero.
  case file(FileDescriptor, name: String)

  /// The source that the options ask for, nil when they ask for none.
  init?(byte: UInt8?, file name: String?, size: ByteCount) throws(Failure) {
    if let byte {
      self = .byte(byte)
    } else if let name {
      self = .file(try Self.open(name, size: size), name: name)
    } else {
      return nil
    }
  }

  /// Fills `region` from its start.
  func fill(_ region: borrowing Region) throws {
    let size = region.range.size
    var progress = ProgressMeter("filling", total: size)
    defer { progress.finish() }
    switch self {
    case .byte(let byte):
      let piece = [UInt8](repeating: byte, count: Int(min(Self.pieceSize, size).rawValue))
      var done = ByteCount.zero
      while done < size {
        let count = min(ByteCount(piece.count), size - done)
        try region.write(Array(piece.prefix(Int(count.rawValue))), at: done)
        done += count
        progress.show(done)
      }
    case .file(let file, let name):
      var done = ByteCount.zero
      while case let piece = try Self.read(file, name), !piece.isEmpty {
        guard ByteCount(piece.count) <= size - done else { throw Self.tooLong(name, size) }
        try region.write(piece, at: done)
        done += ByteCount(piece.count)
        progress.show(done)
      }
    }
  }

  /// What is moved at a time: enough to be quick, little enough to show progress on slow BARs.
  private static let pieceSize = ByteCount.kibibytes(64)

  private static func open(_ name: String, size: ByteCount) throws(Failure) -> FileDescriptor {
    guard name != "-" else { return .standardInput }
    let file: FileDescriptor
    do {
      file = try FileDescriptor.open(FilePath(name), .readOnly, options: .closeOnExec)
    } catch {
      throw Failure("open \(name): \(error)")
    }
    // Pipes have no end to seek to; theirs is met when it comes.
    if let length = try? file.seek(offset: 0, from: .end) {
      guard length <= size.rawValue else { throw tooLong(name, size) }
      _ = try? file.seek(offset: 0, from: .start)
    }
    return file
  }

  private static func read(_ file: FileDescriptor, _ name: String) throws(Failure) -> [UInt8] {
    do {
      return try unsafe [UInt8](unsafeUninitializedCapacity: Int(pieceSize.rawValue)) {
        buffer, count in
        count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
    } catch {
      throw Failure("read \(name): \(error)")
    }
  }

  private static func tooLong(_ name: String, _ size: ByteCount) -> Failure {
    Failure("fill from \(name): it is longer than the lease of \(size); give a larger --size")
  }
}
