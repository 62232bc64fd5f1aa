import Glibc
import Reactor
import Simulation
import Testing

/// The other end of a connection, played by hand without blocking.
protocol ContractPeer {
  /// How much was taken.
  func write(_ bytes: [UInt8]) -> Int
  /// What has arrived; empty at the end of the stream, `nil` if there is nothing yet.
  func read(_ limit: Int) -> [UInt8]?
  func close()
}

/// What a back end works on in a contract test.
protocol ContractKernel {
  associatedtype Peer: ContractPeer
  /// A connected socket and the other end.
  func pair() throws -> (Int32, Peer)
  func listen() throws -> (Int32, SocketAddress)
  /// A connection that may not have been accepted yet.
  func connect(to address: SocketAddress) throws -> Peer
}

/// This machine's.
struct RealKernel: ContractKernel {
  struct Peer: ContractPeer {
    let descriptor: Int32

    func write(_ bytes: [UInt8]) -> Int { Glibc.write(descriptor, bytes, bytes.count) }

    func read(_ limit: Int) -> [UInt8]? {
      var bytes = [UInt8](repeating: 0, count: limit)
      let count = recv(descriptor, &bytes, limit, Int32(MSG_DONTWAIT))
      return count < 0 ? nil : Array(bytes.prefix(count))
    }

    func close() { Glibc.close(descriptor) }
  }

  func pair() throws -> (Int32, Peer) {
    var descriptors: [Int32] = [0, 0]
    try #require(
      socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0, &descriptors) == 0)
    return (descriptors[0], Peer(descriptor: descriptors[1]))
  }

  func listen() throws -> (Int32, SocketAddress) {
    let listener = try Sockets.listen(on: #require(SocketAddress(ip: "127.0.0.1", port: 0)))
    return (listener, try #require(Sockets.localAddress(listener)))
  }

  func connect(to address: SocketAddress) throws -> Peer {
    let client = try Sockets.open(AF_INET)
    _ = address.withSockAddr { Glibc.connect(client, $0, $1) }
    return Peer(descriptor: client)
  }
}

extension RawSocket: ContractPeer {}

/// The simulated one, whose clock moves as the back end waits.
struct SimulatedKernel: ContractKernel {
  let network: SimulatedNetwork

  init(_ temper: Temper) {
    var temper = temper
    temper.latency = 0
    network = SimulatedNetwork(seed: 1, temper: temper)
  }

  func pair() throws -> (Int32, RawSocket) {
    let (mine, theirs) = network.pair(hosts: (0, 1))
    return (mine, try #require(RawSocket(network, theirs)))
  }

  func listen() throws -> (Int32, SocketAddress) {
    let address = try #require(SocketAddress(ip: "10.0.0.1", port: 5432))
    return (try SimulatedBackend(network, host: 0).listen(on: address), address)
  }

  func connect(to address: SocketAddress) throws -> RawSocket {
    RawSocket(network, host: 1, connectingTo: address)
  }
}
