/// Room for decrypted bytes on their way from one leg to the other; shared by all channels of one reactor, since each
/// uses it within one callback only.
public final class RecordBuffer {
  // Invariant: allocated here, freed with the object, touched only on the reactor's thread.
  let bytes: UnsafeMutableRawBufferPointer

  /// The most plaintext one TLS record carries (RFC 8446 section 5.1).
  static let largestRecord = 16 * 1024

  /// Holds what one full receive buffer can decrypt to, and one record more.
  public init() { bytes = .allocate(byteCount: 5 * Self.largestRecord, alignment: 64) }

  deinit { bytes.deallocate() }
}
