import Glibc
import Reactor

/// A simulated socket without a reactor, for who plays the other end by hand; calls do not block.
package final class RawSocket {
  private let network: SimulatedNetwork
  private let socket: SimulatedSocket

  package init?(_ network: SimulatedNetwork, _ descriptor: Int32) {
    guard let socket = network.socket(descriptor) else { return nil }
    self.network = network
    self.socket = socket
  }

  /// A fresh socket that connects to `address`.
  package init(_ network: SimulatedNetwork, host: Int, connectingTo address: SocketAddress) {
    self.network = network
    socket = network.makeSocket(host: host)
    network.connect(socket, to: address.port)
  }

  /// Sends as much as there is room for; returns how much that was.
  package func write(_ bytes: [UInt8]) -> Int {
    let count = min(bytes.count, network.space(socket))
    bytes.withUnsafeBytes { network.transmit(UnsafeRawBufferPointer(rebasing: $0[..<count]), from: socket) }
    return count
  }

  /// What has arrived, at most `limit` bytes; empty at the end of the stream, `nil` if there is nothing yet.
  package func read(_ limit: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    while bytes.count < limit, let segment = socket.first, segment.arrival <= network.now {
      if segment.end != nil { return bytes }
      let part = segment.bytes[segment.start...].prefix(limit - bytes.count)
      bytes += part
      socket.unread -= part.count
      socket.read += part.count
      if segment.start + part.count == segment.bytes.count {
        socket.dropFirst()
      } else {
        socket.inbox[socket.head].start += part.count
      }
    }
    return bytes.isEmpty ? nil : bytes
  }

  package func close() { network.close(socket) }
}
