extension AuditEvent {
  /// Bytes of one text in a record, the marker of a cut included. Names and reasons fit; what is longer was sent to fill
  /// the disk.
  public static let maximumText = 1024

  /// With every text cut to `maximumText`.
  func bounded() -> AuditEvent {
    var event = self
    event.event = event.event.bounded(Self.maximumText)
    for field: WritableKeyPath<AuditEvent, String?> in [
      \.clusterName, \.user, \.sessionID, \.message, \.databaseService, \.databaseURI, \.databaseName, \.databaseUser,
      \.clientAddress, \.userAgent, \.name, \.error,
    ] {
      event[keyPath: field] = event[keyPath: field]?.bounded(Self.maximumText)
    }
    return event
  }
}

extension String {
  /// The text if it has at most `maximum` bytes, else its beginning and how long it was.
  public func bounded(_ maximum: Int) -> String {
    let length = utf8.count
    guard length > maximum else { return self }
    let marker = "… (cut, \(length) bytes)"
    var end = utf8.index(utf8.startIndex, offsetBy: max(0, maximum - marker.utf8.count))
    // Not within a scalar.
    while end > startIndex, String.Index(end, within: unicodeScalars) == nil { end = utf8.index(before: end) }
    return self[..<end] + marker
  }
}
