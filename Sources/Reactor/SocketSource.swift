import Glibc

/// Makes the sockets that a back end works on, and looks at them: the kernel's, or those of a simulated network.
///
/// Asked when a connection begins or fails to, never for a message. Calls do not block.
public protocol SocketSource {
  /// A TCP listener, which shares its port with the other reactors' listeners.
  func listen(on address: SocketAddress) throws(SystemError) -> Int32
  /// A fresh stream socket of the given family.
  func open(_ family: Int32) throws(SystemError) -> Int32
  /// See `Sockets.tuneForSession(_:)`.
  func tuneForSession(_ descriptor: Int32) throws(SystemError)
  /// The address at the other end, if the socket is connected.
  func peerAddress(_ descriptor: Int32) -> SocketAddress?
  /// Closes a socket that no channel owns.
  func close(_ descriptor: Int32)
}

/// The sockets of this machine.
public struct KernelSockets: SocketSource {
  public init() {}

  public func listen(on address: SocketAddress) throws(SystemError) -> Int32 { try Sockets.listen(on: address) }
  public func open(_ family: Int32) throws(SystemError) -> Int32 { try Sockets.open(family) }
  public func tuneForSession(_ descriptor: Int32) throws(SystemError) { try Sockets.tuneForSession(descriptor) }
  public func peerAddress(_ descriptor: Int32) -> SocketAddress? { Sockets.peerAddress(descriptor) }
  public func close(_ descriptor: Int32) { Glibc.close(descriptor) }
}
