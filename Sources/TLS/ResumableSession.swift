import CPlatform

/// What a server offered to make the next handshake with it shorter: a ticket and the keys it stands for.
///
/// It carries the outcome of its handshake's verification along, so it may be used towards the same server only, by a
/// context that verifies in the same way. Bound to one thread.
public final class ResumableSession {
  // Invariant: owned by this object, freed with it; never changed.
  let session: OpaquePointer

  init(owning session: OpaquePointer) { self.session = session }

  deinit { SSL_SESSION_free(session) }

  /// With TLS 1.3 each ticket is for one handshake: who watches the network could else tell that two belong together
  /// (RFC 8446 appendix C.4).
  public var isForOneUse: Bool { SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION }

  /// Whether the certificate that the server showed has not expired since.
  public var isInDate: Bool { platform_tls_is_in_date(session) == 1 }
}
