/// What happened in a run, in order: a hash of all events, and the events themselves where somebody wants to read them.
///
/// Two runs of one seed have the same hash; a difference would mean that something besides the seed decides.
package final class Trace {
  /// Prints each event as it comes.
  package var isLoud = false
  /// FNV-1a over all events.
  package private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  package private(set) var count = 0

  package init() {}

  /// - Parameters:
  ///   - what: kind of event.
  ///   - time: virtual milliseconds.
  package func note(_ what: StaticString, _ time: UInt64, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0) {
    count += 1
    what.withUTF8Buffer { for byte in $0 { mix(UInt64(byte)) } }
    mix(time)
    mix(UInt64(bitPattern: Int64(a)))
    mix(UInt64(bitPattern: Int64(b)))
    mix(UInt64(bitPattern: Int64(c)))
    if isLoud { print("\(time) \(what) \(a) \(b) \(c)") }
  }

  /// Plaintext that arrived somewhere.
  package func note(_ bytes: UnsafeRawBufferPointer) { for byte in bytes { mix(UInt64(byte)) } }

  private func mix(_ value: UInt64) { hash = (hash ^ value) &* 0x0000_0100_0000_01b3 }
}
