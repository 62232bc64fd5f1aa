import CPlatform
import Glibc

/// Making and tuning sockets; all are non-blocking and close-on-exec.
public enum Sockets {
  /// A TCP listener.
  ///
  /// - Parameter sharesPort: with the other reactors' listeners (`SO_REUSEPORT`, socket(7)).
  public static func listen(
    on address: SocketAddress, backlog: Int32 = 4096, sharesPort: Bool = true
  ) throws(SystemError) -> Int32 {
    let descriptor = try open(address.family)
    do throws(SystemError) {
      try set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      if sharesPort { try set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
      try check("bind", address.withSockAddr { Glibc.bind(descriptor, $0, $1) })
      try check("listen", Glibc.listen(descriptor, backlog))
    } catch {
      Glibc.close(descriptor)
      throw error
    }
    return descriptor
  }

  /// A fresh stream socket of the given family, optionally bound to `local` before use.
  public static func open(_ family: Int32, boundTo local: SocketAddress? = nil) throws(SystemError) -> Int32 {
    let descriptor = platform_socket(family)
    guard descriptor >= 0 else { throw SystemError(call: "socket", errno: errno) }
    guard let local else { return descriptor }
    guard local.withSockAddr({ Glibc.bind(descriptor, $0, $1) }) == 0 else {
      let failure = SystemError(call: "bind", errno: errno)
      Glibc.close(descriptor)
      throw failure
    }
    return descriptor
  }

  /// No Nagle, and dead peers are noticed: probes after 30 s of silence, unacknowledged data fails after 60 s (tcp(7)).
  public static func tuneForSession(_ descriptor: Int32) throws(SystemError) {
    try set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    try set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    try set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
    try set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
    try set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    try set(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, 60_000)
  }

  /// The connection died in the backlog: accept(2) asks to treat these like EAGAIN and go on.
  static func diedInBacklog(errno: Int32) -> Bool {
    switch errno {
    case ECONNABORTED, ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH: true
    default: false
    }
  }

  /// The address at the other end, if the socket is connected.
  public static func peerAddress(_ descriptor: Int32) -> SocketAddress? { address(descriptor, getpeername) }

  /// The address at this end: tells the port after binding to port 0.
  public static func localAddress(_ descriptor: Int32) -> SocketAddress? { address(descriptor, getsockname) }

  private static func address(
    _ descriptor: Int32,
    _ call: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        call(descriptor, address, &length) == 0 ? SocketAddress(address, length: length) : nil
      }
    }
  }

  private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) throws(SystemError) {
    var value = value
    try check("setsockopt", setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)))
  }

  private static func check(_ call: String, _ result: Int32) throws(SystemError) {
    guard result == 0 else { throw SystemError(call: call, errno: errno) }
  }
}
