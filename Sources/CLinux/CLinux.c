/* CLinux: see include/. */
