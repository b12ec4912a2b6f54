/* CDeviceMemory: see include/. */
