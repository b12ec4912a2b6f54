public import DeviceDMA
import DeviceMemory
public import GenPool
import PCIDevices

extension Driver {
  /// Which way data goes.
  public enum Direction: Sendable {
    /// From the namespace into memory.
    case read
    /// From memory onto the namespace.
    case write
  }

  /// The most that one command can move, as far as this driver goes: `identity` may say less.
  public func largestTransfer(_ identity: ControllerIdentity) -> ByteCount {
    let listed = Self.page * UInt64(DataPointer.mostPages - 1)
    return min(identity.largestTransfer ?? listed, listed)
  }

  /// Moves `count` blocks from `first` on between a namespace and `buffers`, in one command.
  ///
  /// The data fills the buffers in order. Each starts at a page, and all but the last are whole
  /// pages long; they may lie in different memory, as far as the controller allows that. More than
  /// two pages take a PRP list, a page of ``memory`` for as long as the command runs. What was
  /// stored in the buffers before has arrived when the controller hears of them.
  /// - Throws: ``NVMeError/failed(_:command:_:)`` with the controller's status. Success does not mean that
  ///   data arrived: a controller cannot tell whether anyone took it.
  public func move(
    _ direction: Direction, _ namespace: Namespace, _ first: BlockAddress, _ count: BlockCount,
    _ buffers: [DMABuffer]
  ) throws(NVMeError) {
    let size = namespace.identity.blockSize * UInt64(count.rawValue)
    let pages = try pages(of: buffers, size)
    var left = size
    // For a read as well: what was there before must not come after the data.
    for buffer in buffers {
      let part = min(left, buffer.size)
      try settle(buffer, part)
      left -= part
    }
    let command: Command =
      direction == .read
      ? .read(namespace.number, first, count) : .write(namespace.number, first, count)
    guard pages.count > 2 else {
      return try executeOnQueues(command.with(DataPointer(pages, list: nil)))
    }
    let list = try memory.lists.page(for: .lists, by: controller.address)
    let pointer: DataPointer
    do throws(NVMeError) {
      try checkPlace(of: list)
      pointer = try DataPointer(pages, list: (buffer: list, address: address(of: list)))
      try settle(list, ByteCount(8 * (pages.count - 1)))
    } catch {
      // The controller has not heard of it.
      try free(list, in: memory.lists)
      throw error
    }
    do throws(NVMeError) {
      try executeOnQueues(command.with(pointer))
    } catch {
      // After a timeout the list is still the controller's, as the data is.
      if error.status != nil { try free(list, in: memory.lists) }
      throw error
    }
    try free(list, in: memory.lists)
  }

  /// Makes what was written last.
  public func flush(_ namespace: Namespace) throws(NVMeError) {
    try executeOnQueues(.flush(namespace.number))
  }

  /// The pages that the first `size` bytes of `buffers` lie in.
  private func pages(
    of buffers: [DMABuffer], _ size: ByteCount
  ) throws(NVMeError) -> [DMAAddress] {
    var pages: [DMAAddress] = []
    var left = size
    for buffer in buffers where left > .zero {
      let part = min(left, buffer.size)
      guard part == left || part.isMultiple(of: Self.page) else {
        throw .unsupported("a buffer of \(part), which is not whole pages, with another after it")
      }
      let start = try address(of: buffer)
      for offset in stride(from: 0, to: part.rawValue, by: Int(Self.page.rawValue)) {
        guard let page = start.advanced(by: ByteCount(offset)) else {
          throw .unsupported("a buffer past the end of all addresses")
        }
        pages.append(page)
      }
      left -= part
    }
    guard left == .zero else { throw .unsupported("\(size) in buffers that are \(left) shorter") }
    return pages
  }

  /// Refuses a list in the controller's own buffer for a command that is not there, unless CMBLOC
  /// allows that (section 4.7): the controller would fail each such command.
  private func checkPlace(of list: DMABuffer) throws(NVMeError) {
    guard let pair, list.owner == controller.address, pair.submissions.owner != controller.address
    else { return }
    let rules: CMBLocation.Rules
    do throws(DeviceError) {
      rules = CMBLocation.Rules(rawValue: try controller.load(NVMeRegisters.Offset.bufferLocation))
    } catch {
      throw .device(error)
    }
    guard rules.contains(.listsApartFromCommand) else {
      throw .unsupported(
        "a PRP list in the controller memory buffer of \(controller.address) for a command that is "
          + "not (CMBLOC.CDPCILS is clear); put the submission queue there too, or the list elsewhere"
      )
    }
  }

  private func settle(_ buffer: DMABuffer, _ count: ByteCount) throws(NVMeError) {
    try buffer.guarded { buffer throws(DeviceFault) in
      try buffer.settle(count, for: controller.address)
    }
  }

  private func executeOnQueues(_ command: Command) throws(NVMeError) {
    guard var open = pair else { throw .unsupported("\(command.name) without I/O queues") }
    defer { pair = open }
    _ = try open.execute(command, within: patience)
  }

  private func free(_ buffer: DMABuffer, in memory: BufferPool) throws(NVMeError) {
    do throws(BufferPoolError) {
      try memory.free(buffer)
    } catch {
      throw .memory(error)
    }
  }
}
