// Types of the modules below, as arguments. Their texts are those that they parse themselves.

public import ArgumentParser
public import DeviceMemory
public import DeviceOpener
public import PCIDevices

extension PCIAddress: ExpressibleByArgument {}
extension MemoryChoice: ExpressibleByArgument {}
extension MemorySource: ExpressibleByArgument {}
