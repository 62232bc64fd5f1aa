import Foundation

/// HOST:PORT of a cluster's public port, however it was typed: with scheme, without port, IPv6 in brackets.
public struct ProxyAddress: Sendable, Equatable, CustomStringConvertible {
  public static let defaultPort: UInt16 = 3080

  public let host: String
  public let port: UInt16

  public init(_ text: String) throws {
    var rest = Substring(text)
    if rest.hasPrefix("https://") { rest = rest.dropFirst("https://".count) }
    while rest.hasSuffix("/") { rest = rest.dropLast() }
    var host = rest
    var port: Substring?
    if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
      host = rest[rest.index(after: rest.startIndex)..<end]
      let behind = rest[rest.index(after: end)...]
      port = behind.isEmpty ? nil : behind
    } else if let colon = rest.firstIndex(of: ":"), rest.lastIndex(of: ":") == colon {
      host = rest[..<colon]
      port = rest[colon...]
    }
    let number = port.map { $0.hasPrefix(":") ? UInt16($0.dropFirst()) : nil } ?? Self.defaultPort
    let isPlain = host.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || ".-_:".utf8.contains(byte)
    }
    guard let number, number > 0, !host.isEmpty, host.utf8.count <= 253, isPlain else {
      throw ToolError("'\(text)' is not a proxy address", hint: "write HOST or HOST:PORT")
    }
    self.host = String(host)
    self.port = number
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// What the files of this proxy are called: the host, with the port where it is not a usual one.
  public var profileName: String { [443, Self.defaultPort].contains(port) ? host : "\(host)_\(port)" }
}
