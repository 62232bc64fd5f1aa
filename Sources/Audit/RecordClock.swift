import Glibc

/// Writes times as `2006-01-02T15:04:05.000Z`; the calendar is asked once a second only.
struct RecordClock {
  private var second: Int64 = .min
  private var prefix: [UInt8] = []

  /// Milliseconds since 1970.
  static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
  }

  mutating func append(_ milliseconds: Int64, to text: inout JSONText) {
    let fraction = ((milliseconds % 1000) + 1000) % 1000
    let second = (milliseconds - fraction) / 1000
    if second != self.second {
      self.second = second
      prefix = Self.format(second)
    }
    text.bytes.append(contentsOf: prefix)
    for digit in [fraction / 100, fraction / 10 % 10, fraction % 10] {
      text.bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit))
    }
    text.append("Z")
  }

  private static func format(_ second: Int64) -> [UInt8] {
    var (time, parts) = (time_t(second), tm())
    gmtime_r(&time, &parts)
    func padded(_ number: Int32, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let (year, month, day) = (padded(parts.tm_year + 1900, 4), padded(parts.tm_mon + 1, 2), padded(parts.tm_mday, 2))
    let (hour, minute, seconds) = (padded(parts.tm_hour, 2), padded(parts.tm_min, 2), padded(parts.tm_sec, 2))
    return Array("\(year)-\(month)-\(day)T\(hour):\(minute):\(seconds).".utf8)
  }
}

/// Random UUIDs (RFC 9562, version 4), drawn from the kernel many at a time.
struct UIDSource {
  private var pool: [UInt64] = []

  private mutating func draw() -> UInt64 {
    if pool.isEmpty {
      pool = [UInt64](repeating: 0, count: 32)
      // 256 bytes are the most that getentropy(3) gives at once.
      guard pool.withUnsafeMutableBytes({ getentropy($0.baseAddress, $0.count) }) == 0 else {
        pool = []
        var generator = SystemRandomNumberGenerator()
        return generator.next()
      }
    }
    return pool.removeLast()
  }

  mutating func append(to text: inout JSONText) {
    let high = draw() & 0xffff_ffff_ffff_0fff | 0x4000
    let low = draw() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000
    for index in 0..<16 {
      if index == 4 || index == 6 || index == 8 || index == 10 { text.append("-") }
      let half = index < 8 ? high : low
      text.hex(UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * (index % 8))))
    }
  }
}
