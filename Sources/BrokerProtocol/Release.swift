/// The release that broker and clients are of.
public enum Release {
  /// As semantic versioning counts.
  public static let version = "0.1.0"
}
