// What is written after the options of `lease acquire`.

import ArgumentParser
import BrokerProtocol
import GenPool

/// The fits that the broker has, by the words of its interface.
enum FitChoice: String, CaseIterable, ExpressibleByArgument {
  case first
  case best
  case orderAligned = "order-aligned"
  case fixed

  /// The wire's word for it.
  var name: Broker1.FitName { .init(rawValue: rawValue) }
}

/// A time as people write it: `30` or `0.5`.
struct Seconds: ExpressibleByArgument {
  let duration: Duration

  init(duration: Duration) {
    self.duration = duration
  }

  init?(argument: String) {
    guard let number = Double(argument), number >= 0, number <= 1e9 else { return nil }
    duration = .milliseconds(Int64((number * 1000).rounded(.up)))
  }

  /// `30`, `0.5`: as it is written.
  var text: String {
    let milliseconds = duration / .milliseconds(1)
    return milliseconds.truncatingRemainder(dividingBy: 1000) == 0
      ? String(Int(milliseconds / 1000)) : String(milliseconds / 1000)
  }

  var defaultValueDescription: String { text }
}

/// A byte as people write it: `165` or `0xa5`.
struct FillByte: ExpressibleByArgument {
  let value: UInt8

  init?(argument: String) {
    guard let number = UInt64(argument) ?? parseHexadecimal(argument),
      let value = UInt8(exactly: number)
    else { return nil }
    self.value = value
  }
}

/// How much of a lease is dumped.
enum DumpLength: ExpressibleByArgument, CustomStringConvertible {
  case all
  case first(ByteCount)

  init?(argument: String) {
    if argument == "all" {
      self = .all
    } else if let count = ByteCount(argument), count.isOnWire {
      self = .first(count)
    } else {
      return nil
    }
  }

  /// As it is written on the command line.
  var description: String {
    switch self {
    case .all: "all"
    case .first(let count): count.description
    }
  }

  /// So many bytes of a lease of `size`.
  func bytes(of size: ByteCount) -> ByteCount {
    switch self {
    case .all: size
    case .first(let count): min(count, size)
    }
  }
}
