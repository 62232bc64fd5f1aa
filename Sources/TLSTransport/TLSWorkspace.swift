import TLS

/// What the TLS channels of one reactor share: room for plaintext, blocks for records in pieces, sessions to resume.
public final class TLSWorkspace {
  // Invariant: allocated here, freed with the object, touched only on the reactor's thread, by one callback at a time.
  /// Room for decrypted bytes on their way from one leg to the other.
  let plaintext: UnsafeMutableRawBufferPointer
  let blocks = BlockPool()
  let resumption = ResumptionCache()

  /// Holds what one full receive buffer can decrypt to, and one record more.
  public init() { plaintext = .allocate(byteCount: 80 * 1024 + TLSSession.roomToRead, alignment: 64) }

  deinit { plaintext.deallocate() }
}
