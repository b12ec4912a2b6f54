import DeviceMemory
import GenPool
import SystemPackage

extension Region {
  /// Prints the first `count` bytes as `hexdump -C` does.
  func printDump(of count: ByteCount) throws {
    try StandardOutput.write("\n")
    var dump = HexDump()
    try readAll(count, "reading") { piece throws(Failure) in
      try StandardOutput.write(dump.add(piece))
    }
    try StandardOutput.write(dump.finish())
  }

  /// Writes all bytes to the file `name`, which is replaced if it is there.
  func writeDump(to name: String) throws {
    let file: FileDescriptor
    do {
      file = try FileDescriptor.open(
        FilePath(name), .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: FilePermissions(rawValue: 0o666))
    } catch {
      throw Failure("create \(name): \(error)")
    }
    try readAll(range.size, "dumping") { piece throws(Failure) in
      do {
        try file.writeAll(piece)
      } catch {
        throw Failure("write \(name): \(error)")
      }
    }
    do {
      // A file system that writes late says only here that it is full.
      try file.close()
    } catch {
      throw Failure("write \(name): \(error)")
    }
  }

  /// Reads the first `count` bytes piece by piece. Uncached memory takes about 1 µs for 8 bytes.
  private func readAll(
    _ count: ByteCount, _ verb: String, _ body: ([UInt8]) throws(Failure) -> Void
  ) throws {
    var progress = ProgressMeter(verb, total: count)
    defer { progress.finish() }
    var done = ByteCount.zero
    while done < count {
      let piece = try read(at: done, count: min(.kibibytes(64), count - done))
      try body(piece)
      done += ByteCount(piece.count)
      progress.show(done)
    }
  }
}
