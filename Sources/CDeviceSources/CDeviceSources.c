/* CDeviceSources: see include/. */
