/// The demands of an allocation on a chunk.
struct ChunkRequest {
  /// The bytes asked for, not the granules that hold them: the kernel compares these.
  let size: ByteCount
  let count: GranuleCount
  /// The shortest free run in which the fit may find a place.
  let run: GranuleCount
  /// The alignment of its place, in powers of two of granules; 0 for any.
  let order: Int
  /// Whether that is counted from the chunk's start.
  let fromChunkStart: Bool
}
