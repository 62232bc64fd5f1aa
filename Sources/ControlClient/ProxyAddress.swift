import Foundation
import TextForms

/// HOST:PORT of a cluster's public port, however it was typed: with scheme, without port, IPv6 in brackets.
public struct ProxyAddress: Sendable, Equatable, CustomStringConvertible {
  public static let defaultPort: UInt16 = 3080

  public let host: String
  public let port: UInt16

  public init(_ text: String) throws {
    var rest = Substring(text)
    if rest.hasPrefix("https://") { rest = rest.dropFirst("https://".count) }
    while rest.hasSuffix("/") { rest = rest.dropLast() }
    guard let target = HostPort(String(rest), defaultPort: Self.defaultPort) else {
      throw ToolError("'\(text)' is not a proxy address", hint: "write HOST, HOST:PORT or [IPv6]:PORT")
    }
    (host, port) = (target.host, target.port)
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// What the files of this proxy are called: the host, with the port where it is not a usual one.
  public var profileName: String { [443, Self.defaultPort].contains(port) ? host : "\(host)_\(port)" }
}
