/* CPCINames: see include/. */
