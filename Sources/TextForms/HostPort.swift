/// Where something listens or is dialled: `HOST:PORT`, `1.2.3.4:PORT` or `[v6]:PORT`.
public struct HostPort: Sendable, Equatable, CustomStringConvertible {
  /// A name or an address, without the brackets of the written form.
  public let host: String
  /// 1 to 65535.
  public let port: UInt16

  /// Reads the written form. A host with colons needs its brackets: `::1:80` could be cut in two ways.
  ///
  /// - Parameter defaultPort: taken where `text` names none; without it the port is needed.
  public init?(_ text: String, defaultPort: UInt16? = nil) {
    var host = text[...]
    var port = defaultPort
    if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") {
      // UInt16 alone would take a sign as well.
      let digits = text[text.index(after: colon)...]
      guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(digits) else { return nil }
      host = text[..<colon]
      port = number
    }
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]") && host.utf8.count > 2
    if isBracketed { host = host.dropFirst().dropLast() }
    guard let port, port > 0, host.contains(":") == isBracketed, Self.isSafe(host) else { return nil }
    self.host = String(host)
    self.port = port
  }

  /// The written form.
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Names and addresses only: nothing that could reach into a connection string or a URL.
  private static func isSafe(_ host: Substring) -> Bool {
    (1...253).contains(host.utf8.count)
      && host.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || ".-_:".utf8.contains(byte)
      }
  }
}
