import Glibc

/// A name that leads to no address: what the resolver said.
public struct LookupError: Error, Sendable, CustomStringConvertible {
  public let description: String
}

/// Name resolution by getaddrinfo(3). Blocks: never on a reactor's thread.
public enum AddressLookup {
  private static let maximumAddresses = 8

  /// The first addresses of `host`, a name or an address, in the resolver's order.
  public static func addresses(host: String, port: UInt16) throws(LookupError) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let status = getaddrinfo(host, String(port), &hints, &list)
    guard status == 0 else { throw LookupError(description: String(cString: gai_strerror(status))) }
    defer { freeaddrinfo(list) }
    var found: [SocketAddress] = []
    var entry = list
    while let current = entry, found.count < maximumAddresses {
      if let address = SocketAddress(current.pointee.ai_addr, length: current.pointee.ai_addrlen) {
        found.append(address)
      }
      entry = current.pointee.ai_next
    }
    return found
  }
}
