import Crypto
import Foundation
import TextForms

/// The parts of a stored line that tie it to its neighbours: `{"seq":N,` at its start and `"prev":"HEX"}` at its end,
/// HEX being the SHA-256 of the line before, without its line end.
enum AuditRecord {
  static let opening: StaticString = "{\"seq\":"
  static let link: StaticString = "\"prev\":\""
  /// What the first record of all is linked to.
  static let origin = [UInt8](repeating: 0, count: digestLength)
  static let digestLength = 32
  private static let suffixLength = 8 + 2 * digestLength + 2

  static func digest(_ line: UnsafeRawBufferPointer) -> [UInt8] {
    SHA256.hash(data: line).withUnsafeBytes { Array($0) }
  }

  /// The number of a record, if the line begins like one.
  static func sequence(_ line: UnsafeRawBufferPointer) -> Int? {
    let opening = UnsafeRawBufferPointer(start: Self.opening.utf8Start, count: Self.opening.utf8CodeUnitCount)
    guard line.starts(with: opening) else { return nil }
    var number = 0
    for byte in line[opening.count...] {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else {
        return byte == UInt8(ascii: ",") && number > 0 ? number : nil
      }
      let (scaled, overflow) = number.multipliedReportingOverflow(by: 10)
      guard !overflow, scaled < .max - 9 else { return nil }
      number = scaled + Int(byte - UInt8(ascii: "0"))
    }
    return nil
  }

  /// The name of the event of a record, which stands right behind its number.
  static func event(_ line: UnsafeRawBufferPointer) -> Slice<UnsafeRawBufferPointer>? {
    guard let comma = line.firstIndex(of: UInt8(ascii: ",")) else { return nil }
    let key = Array("\"event\":\"".utf8)
    let rest = line[(comma + 1)...]
    guard rest.starts(with: key) else { return nil }
    let name = rest.dropFirst(key.count)
    return name.firstIndex(of: UInt8(ascii: "\"")).map { name[..<$0] }
  }

  /// The digest of the line before, in hex, if the line ends like a record.
  static func previous(_ line: UnsafeRawBufferPointer) -> String? {
    guard line.count > suffixLength else { return nil }
    let suffix = line[(line.count - suffixLength)...]
    let link = UnsafeRawBufferPointer(start: Self.link.utf8Start, count: Self.link.utf8CodeUnitCount)
    guard suffix.starts(with: link), suffix.last == UInt8(ascii: "}") else { return nil }
    return String(decoding: suffix.dropFirst(link.count).dropLast(2), as: UTF8.self)
  }

  static func digest(hex: String) -> [UInt8]? {
    guard let digest = Hex.decode(hex), digest.count == digestLength else { return nil }
    return digest
  }
}

/// Where the chain of records ends.
public struct AuditHead: Sendable, Equatable {
  /// Number of the last record, 0 before the first.
  public internal(set) var sequence: Int
  /// SHA-256 of its line.
  public internal(set) var digest: [UInt8]

  /// The place before the first record.
  public static let origin = AuditHead(sequence: 0, digest: AuditRecord.origin)

  init(sequence: Int, digest: [UInt8]) {
    self.sequence = sequence
    self.digest = digest
  }

  /// A place as another host names it; `nil` if it is none.
  public init?(sequence: Int, digestHex: String) {
    guard sequence >= 0, let digest = AuditRecord.digest(hex: digestHex) else { return nil }
    self.init(sequence: sequence, digest: digest)
  }

  public var digestHex: String { Hex.encode(digest) }
}
