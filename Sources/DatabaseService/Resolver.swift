import Glibc
import PostgresWire
import Reactor

/// Name resolution for the dial; blocks, so for the Dispatch pool only.
public enum Resolver {
  private static let maximumAddresses = 8

  /// The addresses of `host`, link-local ones (among them the instance metadata service) refused after resolution.
  public static func addresses(host: String, port: UInt16) throws(WireError) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host, String(port), &hints, &list)
    guard status == 0 else {
      throw WireError(
        .cannotConnect, "cannot resolve the database's host name: \(String(cString: gai_strerror(status)))",
        hint: "Check the uri of this database and the DNS of the Database Service's host.")
    }
    defer { freeaddrinfo(list) }
    var found: [SocketAddress] = []
    var entry = list
    while let current = entry, found.count < maximumAddresses {
      if let address = SocketAddress(current.pointee.ai_addr, length: current.pointee.ai_addrlen), !isLinkLocal(address)
      {
        found.append(address)
      }
      entry = current.pointee.ai_next
    }
    guard !found.isEmpty else {
      throw WireError(
        .cannotConnect, "the database's host name leads to link-local addresses only, which are not dialled",
        hint: "Check the uri of this database.")
    }
    return found
  }

  private static func isLinkLocal(_ address: SocketAddress) -> Bool {
    let host = address.host
    return host.hasPrefix("169.254.") || host.hasPrefix("fe80:") || host == "fd00:ec2::254" || host == "0.0.0.0"
      || host == "::"
  }
}
