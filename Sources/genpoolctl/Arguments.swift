// Types of the modules below, as arguments. Their texts are those that they parse themselves.

public import ArgumentParser
public import GenPool
public import PCIDevices

extension ByteCount: ExpressibleByArgument {}
extension PCIAddress: ExpressibleByArgument {}
extension DeviceIdentity: ExpressibleByArgument {}
