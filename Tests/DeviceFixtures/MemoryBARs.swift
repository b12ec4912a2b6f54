package import GenPool
package import PCIDevices

/// The memory BARs of a device whose `resource` file has `sizes`, by number; each lies at a multiple of its
/// size, and nothing is known of buses.
package func memoryBARs(_ sizes: [Int: ByteCount]) throws -> [BAR] {
  let rows = (0..<6).map { index -> String in
    guard let size = sizes[index] else { return "0x0 0x0 0x0" }
    let start = size.rawValue
    // IORESOURCE_MEM, IORESOURCE_PREFETCH and a 64-bit register.
    return [start, start + size.rawValue - 1, 0x14220c]
      .map { "0x" + String($0, radix: 16) }.joined(separator: " ")
  }
  let text = Array(rows.joined(separator: "\n").utf8)
  return try BARReading(
    of: ResourceTable(AttributeText(text, at: "resource")), nil, readAt: "config",
    hasOwnRegisters: true, windows: { [] }, hasFile: { _ in false }
  ).bars
}
