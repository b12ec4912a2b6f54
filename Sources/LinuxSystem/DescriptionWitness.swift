import CLinux
import Synchronization
package import SystemPackage

/// The kernel's word on which open file descriptions are still there, each under a key of its
/// owner.
///
/// epoll(7) watches a description without keeping it, and drops its item with the last reference:
/// the last descriptor in any process and namespace, message in flight, registered file or mapping.
/// No holder can undo that but by letting go. So an item that is left says that something reaches
/// the file, and no item that nothing does.
///
/// Works for files that can be polled: sysfs, dma-buf; not for regular files, nor for VFIO devices.
/// The sets are never waited for, nor watched by another one: a device that was removed would keep
/// it busy.
///
/// Safe to use from many threads.
package final class DescriptionWitness: Sendable {
  /// The most keys of one set: a question reads all items of a set, at 1.5 to 1.9 us an item.
  private static let keysPerSet = 16

  private struct State {
    var sets: [Int: (set: WatchedSet, keys: Int)] = [:]
    /// The set of each key.
    var setOfKey: [UInt64: Int] = [:]
    /// The sets with room for another key.
    var roomy: Set<Int> = []
    var lastNumber = 0
  }

  /// An epoll set, open as long as it is asked.
  private final class WatchedSet: Sendable {
    let descriptor: Descriptor

    init() throws(Errno) {
      descriptor = try Descriptor(result: gl_epoll_create())
    }
  }

  private let state = Mutex(State())

  package init() {}

  /// Whether descriptions of `descriptor`'s file can be watched.
  package static func canWatch(_ descriptor: borrowing Descriptor) -> Bool {
    guard let set = try? WatchedSet() else { return false }
    return gl_epoll_add(set.descriptor.rawValue, descriptor.rawValue, 0, 0) == 0
  }

  /// Watches the open file description of `descriptor` under `key`, which may have others. O(1).
  /// - Throws: EPERM for a file that cannot be polled; ENOSPC when the user has too many watches
  ///   (max_user_watches); EMFILE, ENOMEM.
  package func watch(_ descriptor: borrowing Descriptor, key: UInt64) throws(Errno) {
    let watched = descriptor.rawValue
    try state.withLock { state throws(Errno) in
      let number: Int
      if let known = state.setOfKey[key] ?? state.roomy.first {
        number = known
      } else {
        let set = try WatchedSet()
        state.lastNumber += 1
        number = state.lastNumber
        state.sets[number] = (set, 0)
        state.roomy.insert(number)
      }
      guard let set = state.sets[number]?.set else { return }
      do throws(Errno) {
        _ = try gl_epoll_add(set.descriptor.rawValue, watched, 0, key).orErrno()
      } catch {
        Self.count(0, in: number, &state)
        throw error
      }
      if state.setOfKey.updateValue(number, forKey: key) == nil {
        Self.count(1, in: number, &state)
      }
    }
  }

  /// Whether a description watched under `key` is still there; false for a key that is not known.
  /// At most 16 keys are looked through.
  /// - Throws: what the kernel answers instead, as ENOENT without /proc.
  package func holds(key: UInt64) throws(Errno) -> Bool {
    let set = state.withLock { state in state.setOfKey[key].flatMap { state.sets[$0]?.set } }
    guard let set else { return false }
    return try gl_witness_holds(set.descriptor.rawValue, key).orErrno() == 1
  }

  /// Whether any description that is watched is still there. O(keys).
  /// - Throws: as ``holds(key:)``.
  package func holdsAny() throws(Errno) -> Bool {
    for key in state.withLock({ Array($0.setOfKey.keys) }) where try holds(key: key) {
      return true
    }
    return false
  }

  /// Forgets a key of which nothing is left. O(1).
  package func forget(key: UInt64) {
    state.withLock { state in
      if let number = state.setOfKey.removeValue(forKey: key) {
        Self.count(-1, in: number, &state)
      }
    }
  }

  /// A set has so many keys more.
  private static func count(_ change: Int, in number: Int, _ state: inout State) {
    guard var entry = state.sets[number] else { return }
    entry.keys += change
    state.sets[number] = entry.keys > 0 ? entry : nil
    if (1..<keysPerSet).contains(entry.keys) {
      state.roomy.insert(number)
    } else {
      state.roomy.remove(number)
    }
  }
}
