import Glibc

/// A block of IP addresses as `10.0.0.0/8` or `2001:db8::/32` names it; one address without a length.
///
/// IPv4 addresses are kept in their mapped form (RFC 4291 section 2.5.5.2): an IPv4 client of an IPv6 socket is in the
/// same block as one of an IPv4 socket.
public struct AddressBlock: Sendable, Hashable, CustomStringConvertible {
  private let high: UInt64
  private let low: UInt64
  /// Leading bits that the block's addresses have in common, of 128.
  private let length: UInt8

  private static let mappedPrefix: UInt64 = 0xffff_0000_0000

  /// The first `length` bits of `bytes`, which are 4 or 16, in network order; `nil` for other numbers.
  public init?(bytes: UnsafeRawBufferPointer, length: Int) {
    switch bytes.count {
    case 4:
      guard (0...32).contains(length) else { return nil }
      let address = UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
      self.init(0, Self.mappedPrefix | UInt64(address), length + 96)
    case 16:
      guard (0...128).contains(length) else { return nil }
      self.init(
        UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)), length)
    default: return nil
    }
  }

  private init(_ high: UInt64, _ low: UInt64, _ length: Int) {
    // A shift by the width or more gives 0.
    self.high = length >= 64 ? high : high & ~(UInt64.max >> UInt64(length))
    self.low = low & ~(UInt64.max >> UInt64(max(0, length - 64)))
    self.length = UInt8(clamping: length)
  }

  /// Reads the written form. Bits beyond the length have to be zero: whoever sets some meant something else.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let host = parts.first, parts.count <= 2 else { return nil }
    var v4 = in_addr()
    var v6 = in6_addr()
    let exact: AddressBlock?
    let width: Int
    if inet_pton(AF_INET, String(host), &v4) == 1 {
      width = 32
      exact = withUnsafeBytes(of: v4) { AddressBlock(bytes: $0, length: 32) }
    } else if inet_pton(AF_INET6, String(host), &v6) == 1 {
      width = 128
      exact = withUnsafeBytes(of: v6) { AddressBlock(bytes: $0, length: 128) }
    } else {
      return nil
    }
    guard let exact else { return nil }
    guard parts.count == 2 else {
      self = exact
      return
    }
    guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let bits = Int(parts[1]), bits <= width else {
      return nil
    }
    self.init(exact.high, exact.low, bits + 128 - width)
    guard high == exact.high, low == exact.low else { return nil }
  }

  /// The block of the `length` first bits that this one's addresses begin with; itself if it is as short.
  public func widened(to length: Int) -> AddressBlock {
    length < Int(self.length) ? AddressBlock(high, low, max(0, length)) : self
  }

  /// Whether every address of `other` is one of this block.
  public func contains(_ other: AddressBlock) -> Bool {
    length <= other.length && other.widened(to: Int(length)) == self
  }

  /// Whether it has IPv4 addresses only.
  public var isIPv4: Bool { length >= 96 && high == 0 && low >> 32 == 0xffff }

  /// The written form.
  public var description: String {
    let width = isIPv4 ? 32 : 128
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    if isIPv4 {
      var address = in_addr(s_addr: UInt32(truncatingIfNeeded: low).bigEndian)
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    } else {
      var address = (high.bigEndian, low.bigEndian)
      inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
    }
    let host = text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    let bits = Int(length) - 128 + width
    return bits == width ? host : "\(host)/\(bits)"
  }
}
