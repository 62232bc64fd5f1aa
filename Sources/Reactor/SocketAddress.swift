import CPlatform
import Glibc

/// An IPv4, IPv6 or Unix socket address, ready for the kernel.
public struct SocketAddress: Sendable {
  private var storage: sockaddr_storage
  private var length: socklen_t

  /// A copy of what the kernel or getaddrinfo(3) gave; `nil` if `length` is not one of an address.
  public init?(_ pointer: UnsafePointer<sockaddr>?, length: socklen_t) {
    guard let pointer, length > 0, Int(length) <= MemoryLayout<sockaddr_storage>.size else { return nil }
    storage = sockaddr_storage()
    self.length = length
    withUnsafeMutableBytes(of: &storage) {
      $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: Int(length)))
    }
  }

  /// A numeric IPv4 or IPv6 address.
  public init?(ip: String, port: UInt16) {
    var v4 = sockaddr_in()
    var v6 = sockaddr_in6()
    storage = sockaddr_storage()
    if inet_pton(AF_INET, ip, &v4.sin_addr) == 1 {
      v4.sin_family = sa_family_t(AF_INET)
      v4.sin_port = port.bigEndian
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v4, as: sockaddr_in.self) }
    } else if inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1 {
      v6.sin6_family = sa_family_t(AF_INET6)
      v6.sin6_port = port.bigEndian
      length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: v6, as: sockaddr_in6.self) }
    } else {
      return nil
    }
  }

  /// Bytes of the longest path of a Unix socket (unix(7)), the closing NUL not counted.
  public static let maximumUnixPath = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

  /// A Unix socket at `path`; `nil` if the path is empty, too long for unix(7) or holds a NUL.
  public init?(unixPath path: String) {
    var address = sockaddr_un()
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count <= Self.maximumUnixPath, !bytes.contains(0) else { return nil }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    storage = sockaddr_storage()
    length = socklen_t(MemoryLayout<sockaddr_un>.size)
    withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: address, as: sockaddr_un.self) }
  }

  /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
  public var family: Int32 { Int32(storage.ss_family) }

  /// Lends the address in the shape the socket calls take.
  public func withSockAddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }

  /// The numeric host without port, an IPv4-mapped IPv6 address as IPv4; empty for Unix sockets.
  public var host: String {
    guard family == AF_INET || family == AF_INET6 else { return "" }
    let host = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(NI_MAXHOST)) { text in
      guard let base = text.baseAddress else { return "" }
      let status = withSockAddr { getnameinfo($0, $1, base, socklen_t(text.count), nil, 0, NI_NUMERICHOST) }
      return status == 0 ? String(cString: base) : ""
    }
    return host.hasPrefix("::ffff:") && host.contains(".") ? String(host.dropFirst(7)) : host
  }

  /// The port in host byte order; 0 for Unix sockets.
  public var port: UInt16 {
    withUnsafeBytes(of: storage) { bytes in
      switch family {
      case AF_INET: UInt16(bigEndian: bytes.load(as: sockaddr_in.self).sin_port)
      case AF_INET6: UInt16(bigEndian: bytes.load(as: sockaddr_in6.self).sin6_port)
      default: 0
      }
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  public var description: String {
    switch family {
    case AF_INET: "\(host):\(port)"
    case AF_INET6: host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    default: "unix socket"
    }
  }
}
