/// Readers of backend message bodies.
public enum BackendMessage {
  /// The first five bytes of a message.
  public static func header(_ type: UInt8, bodyLength: UInt32) -> [UInt8] {
    FrontendMessage.header(type, bodyLength: bodyLength)
  }

  /// `S`: name and value; `nil` if it is malformed.
  public static func parameterStatus(_ body: UnsafeRawBufferPointer) -> (name: [UInt8], value: [UInt8])? {
    var reader = ByteReader(body)
    guard let name = reader.cString(), let value = reader.cString() else { return nil }
    return (name, value)
  }
}
