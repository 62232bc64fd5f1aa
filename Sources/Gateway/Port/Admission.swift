import Glibc
import Reactor
import Synchronization
import TextForms

/// Decides before a connection costs anything whether it is taken, by its source and by what is open already.
///
/// Shared by all reactors and thread-safe. A lock is held for a look into a table when a connection comes, authenticates
/// and goes; never for a message. Tables have an entry a source with open connections, which the totals bound, and a
/// bounded number of sources that came lately.
final class Admission: Sendable {
  /// Why a connection is closed at once.
  enum Refusal: String, Error, Sendable {
    case total, source
    case totalUnauthenticated = "unauthenticated_total"
    case unauthenticated = "unauthenticated_source"
    case rate = "unauthenticated_rate"
  }

  /// What is accounted for a connection that was taken.
  struct Ticket: Sendable {
    /// `nil`: exempt from the limits of a source.
    let source: AddressBlock?
    /// More than may be open: it may come as far as being told so.
    let isExcess: Bool
    var isAuthenticated = false
  }

  private struct Counts {
    var open = 0
    var unauthenticated = 0
  }

  private struct Table {
    var sources: [AddressBlock: Counts] = [:]
    /// Connections that came within `window` and have not authenticated.
    var arrivals: [AddressBlock: Int] = [:]
    var window: UInt64 = 0
  }

  private final class Shard: Sendable {
    let table = Mutex(Table())
  }

  /// Milliseconds.
  static let window: UInt64 = 10_000
  /// Connections beyond a limit of open ones that may still be told so, of one source and in all.
  private static let excess = 8
  private static let totalExcess = 64
  /// Sources a shard remembers the arrivals of; those beyond are held by the totals only.
  private static let maximumArrivals = 4_096

  private let shards = (0..<16).map { _ in Shard() }
  private let open = Atomic<Int>(0)
  private let unauthenticated = Atomic<Int>(0)

  /// Takes a connection into account.
  ///
  /// - Parameter now: milliseconds of the reactor's clock.
  func admit(_ address: SocketAddress, _ limits: AdmissionLimits, now: UInt64) throws(Refusal) -> Ticket {
    let total = open.add(1, ordering: .relaxed).newValue
    let waiting = unauthenticated.add(1, ordering: .relaxed).newValue
    do throws(Refusal) {
      guard total <= limits.totalConnections + Self.totalExcess else { throw .total }
      guard waiting <= limits.totalUnauthenticated else { throw .totalUnauthenticated }
      let isExcess = total > limits.totalConnections
      guard let source = AddressBlock(sourceOf: address), !limits.exempt.contains(where: { $0.contains(source) }) else {
        return Ticket(source: nil, isExcess: isExcess)
      }
      let isSourceExcess = try enter(source, limits, now)
      return Ticket(source: source, isExcess: isExcess || isSourceExcess)
    } catch {
      open.subtract(1, ordering: .relaxed)
      unauthenticated.subtract(1, ordering: .relaxed)
      throw error
    }
  }

  private func enter(_ source: AddressBlock, _ limits: AdmissionLimits, _ now: UInt64) throws(Refusal) -> Bool {
    let result = shard(of: source).table.withLock { table -> Result<Bool, Refusal> in
      if table.window != now / Self.window {
        table.window = now / Self.window
        table.arrivals.removeAll(keepingCapacity: true)
      }
      var counts = table.sources[source] ?? Counts()
      guard counts.open < limits.connections + Self.excess else { return .failure(.source) }
      guard counts.unauthenticated < limits.unauthenticated else { return .failure(.unauthenticated) }
      let arrived = table.arrivals[source] ?? 0
      guard arrived < limits.unauthenticatedRate * Int(Self.window / 1000) else { return .failure(.rate) }
      if arrived > 0 || table.arrivals.count < Self.maximumArrivals { table.arrivals[source] = arrived + 1 }
      counts.open += 1
      counts.unauthenticated += 1
      table.sources[source] = counts
      return .success(counts.open > limits.connections)
    }
    return try result.get()
  }

  /// The client has shown a certificate of the cluster: it is no part of a flood.
  func authenticate(_ ticket: inout Ticket) {
    guard !ticket.isAuthenticated else { return }
    ticket.isAuthenticated = true
    unauthenticated.subtract(1, ordering: .relaxed)
    guard let source = ticket.source else { return }
    shard(of: source).table.withLock { table in
      table.sources[source]?.unauthenticated -= 1
      if let arrived = table.arrivals[source], arrived > 0 { table.arrivals[source] = arrived - 1 }
    }
  }

  /// The connection is closed, or somebody else's.
  func release(_ ticket: Ticket) {
    open.subtract(1, ordering: .relaxed)
    if !ticket.isAuthenticated { unauthenticated.subtract(1, ordering: .relaxed) }
    guard let source = ticket.source else { return }
    shard(of: source).table.withLock { table in
      guard var counts = table.sources[source] else { return }
      counts.open -= 1
      if !ticket.isAuthenticated { counts.unauthenticated -= 1 }
      table.sources[source] = counts.open > 0 ? counts : nil
    }
  }

  private func shard(of source: AddressBlock) -> Shard {
    shards[Int(UInt(bitPattern: source.hashValue) % UInt(shards.count))]
  }
}

extension AddressBlock {
  /// What stands for one client: its IPv4 address, or its network of IPv6, in which it may choose any address.
  init?(sourceOf address: SocketAddress) {
    let exact = address.withSockAddr { pointer, length -> AddressBlock? in
      let bytes = UnsafeRawBufferPointer(start: pointer, count: Int(length))
      switch address.family {
      case AF_INET:
        guard bytes.count >= MemoryLayout<sockaddr_in>.size else { return nil }
        return withUnsafeBytes(of: bytes.loadUnaligned(as: sockaddr_in.self).sin_addr) {
          AddressBlock(bytes: $0, length: 32)
        }
      case AF_INET6:
        guard bytes.count >= MemoryLayout<sockaddr_in6>.size else { return nil }
        return withUnsafeBytes(of: bytes.loadUnaligned(as: sockaddr_in6.self).sin6_addr) {
          AddressBlock(bytes: $0, length: 128)
        }
      default: return nil
      }
    }
    guard let exact else { return nil }
    self = exact.isIPv4 ? exact : exact.widened(to: 64)
  }
}
