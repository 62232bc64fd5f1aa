import PostgresWire
import Reactor

/// Name resolution for the dial; blocks, so for the Dispatch pool only.
public enum Resolver {
  /// The addresses of `host`, link-local ones (among them the instance metadata service) refused after resolution.
  public static func addresses(host: String, port: UInt16) throws(WireError) -> [SocketAddress] {
    let found: [SocketAddress]
    do throws(LookupError) {
      found = try AddressLookup.addresses(host: host, port: port).filter { !isLinkLocal($0) }
    } catch {
      throw WireError(
        .cannotConnect, "cannot resolve the database's host name: \(error)",
        hint: "Check the uri of this database and the DNS of the Database Service's host.")
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
