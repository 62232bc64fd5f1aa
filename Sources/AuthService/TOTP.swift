import Crypto
import Foundation
import Secrets

/// Time-based one-time codes (RFC 6238 over RFC 4226): SHA-1, six digits, steps of 30 seconds, as every authenticator
/// app has them.
enum TOTP {
  static let digits = 6
  static let period: TimeInterval = 30
  static let secretLength = 20
  /// Steps to either side that a clock may be off.
  static let window = 1

  static func makeSecret() -> Secret { Secret((0..<secretLength).map { _ in UInt8.random(in: .min ... .max) }) }

  /// The step that `time` lies in.
  static func step(at time: Date) -> Int64 {
    Int64(clamping: Int(exactly: (time.timeIntervalSince1970 / period).rounded(.down)) ?? 0)
  }

  /// The code of one step.
  static func code(_ secret: Secret, step: Int64) -> String {
    let counter = withUnsafeBytes(of: step.bigEndian) { Data($0) }
    let digest = secret.withBytes {
      Array(HMAC<Insecure.SHA1>.authenticationCode(for: counter, using: SymmetricKey(data: $0)))
    }
    // Dynamic truncation (RFC 4226, section 5.3).
    let offset = Int(digest[digest.count - 1] & 0x0f)
    let value = digest[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7fff_ffff
    let text = String(value % 1_000_000)
    return String(repeating: "0", count: digits - text.count) + text
  }

  /// The step whose code was given, if it lies in the window around `now` and after `lastStep`.
  ///
  /// Every candidate is computed and compared in constant time: how long it takes tells nothing about the codes.
  static func match(_ code: Secret, secret: Secret, after lastStep: Int64, now: Date = Date()) -> Int64? {
    let current = step(at: now)
    var matched: Int64?
    for candidate in current - Int64(window)...current + Int64(window) {
      let isEqual = code.constantTimeEquals(Array(Self.code(secret, step: candidate).utf8))
      if isEqual, candidate > lastStep { matched = candidate }
    }
    return matched
  }

  /// What authenticator apps read, usually from a QR code (Key URI format).
  static func uri(_ secret: Secret, user: String, cluster: String) -> String {
    func escaped(_ text: String) -> String {
      text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~"))) ?? ""
    }
    return "otpauth://totp/\(escaped(cluster)):\(escaped(user))?secret=\(base32(secret))&issuer=\(escaped(cluster))"
      + "&algorithm=SHA1&digits=\(digits)&period=\(Int(period))"
  }

  /// RFC 4648 base 32; 20 bytes need no padding.
  static func base32(_ secret: Secret) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    var text = ""
    var buffer: UInt32 = 0
    var bits = 0
    secret.withBytes { bytes in
      for byte in bytes {
        buffer = buffer << 8 | UInt32(byte)
        bits += 8
        while bits >= 5 {
          bits -= 5
          text.append(alphabet[Int(buffer >> UInt32(bits) & 31)])
        }
        buffer &= (1 << UInt32(bits)) - 1
      }
    }
    if bits > 0 { text.append(alphabet[Int(buffer << UInt32(5 - bits) & 31)]) }
    return text
  }
}
