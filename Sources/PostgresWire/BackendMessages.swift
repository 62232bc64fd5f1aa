/// Readers of backend message bodies.
public enum BackendMessage {
  /// `S`: name and value; `nil` if it is malformed.
  public static func parameterStatus(_ body: UnsafeRawBufferPointer) -> (name: [UInt8], value: [UInt8])? {
    var reader = ByteReader(body)
    guard let name = reader.cString(), let value = reader.cString() else { return nil }
    return (name, value)
  }
}
