import PostgresWire
import Reactor
import TextForms

/// Name resolution for the dial; blocks (`NameLookups` does not).
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
    let host = address.host.prefix { $0 != "%" }
    // What cannot be judged is not dialled either.
    guard let block = AddressBlock(String(host)) else { return true }
    return undialled.contains { $0.contains(block) }
  }

  /// Link-local networks, the instance metadata service's address of IPv6, and "any address", which means this host. IPv4
  /// blocks hold mapped addresses too; the last two are the other ways to write IPv4 in IPv6 (RFC 4291, RFC 6052).
  private static let undialled = [
    "169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "0.0.0.0/8", "::", "::a9fe:0/112", "64:ff9b::a9fe:0/112",
  ].compactMap { AddressBlock($0) }
}
