/// What an allocation asks of a chunk.
struct ChunkRequest {
  /// The bytes asked for, not the granules that hold them: the kernel compares these.
  let size: ByteCount
  let count: GranuleCount
  /// How long a free run there must be at least for the fit to find anything.
  let run: GranuleCount
  /// What its place is a multiple of, in powers of two of granules; 0 for any.
  let order: Int
  /// Whether that is counted from the chunk's start.
  let fromChunkStart: Bool
}
