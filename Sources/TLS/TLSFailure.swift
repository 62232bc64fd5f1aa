import CPlatform

/// Why a TLS session could not be made or went wrong, in one line that also names the mend where there is one.
public struct TLSFailure: Error, Sendable, CustomStringConvertible {
  /// Classes of failure, for audit records and tests.
  public enum Reason: String, Sendable {
    case untrustedIssuer, expired, notYetValid, nameMismatch, legacyCommonName, wrongPurpose, badCertificate
    case noApplicationProtocol, alertFromPeer, truncated, protocolError
  }

  public let reason: Reason
  public let message: String
  public var description: String { message }
}

extension TLSFailure {
  /// Reads OpenSSL's error queue and the session's verification result; empties the queue.
  static func current(_ ssl: OpaquePointer) -> TLSFailure {
    let code = ERR_peek_last_error()
    defer { ERR_clear_error() }
    let verification = SSL_get_verify_result(ssl)
    if verification != Int(X509_V_OK) { return certificate(verification) }
    let reasonCode = Int32(truncatingIfNeeded: code & 0x7f_ffff)
    if code == 0 || reasonCode == SSL_R_UNEXPECTED_EOF_WHILE_READING {
      return TLSFailure(reason: .truncated, message: "the peer closed the connection without ending TLS")
    }
    let text = reasonText(code)
    if reasonCode == SSL_R_NO_APPLICATION_PROTOCOL || reasonCode == SSL_R_CALLBACK_FAILED {
      return TLSFailure(reason: .noApplicationProtocol, message: "no application protocol (ALPN) in common")
    }
    // OpenSSL numbers the alerts it receives from 1000 on (SSL_AD_REASON_OFFSET).
    let isAlert = reasonCode > SSL_AD_REASON_OFFSET && reasonCode < SSL_AD_REASON_OFFSET + 256
    return isAlert
      ? TLSFailure(reason: .alertFromPeer, message: "the peer refused TLS: \(text)")
      : TLSFailure(reason: .protocolError, message: "TLS protocol error: \(text)")
  }

  /// The peer broke the protocol; it is told so by that alert (RFC 8446 section 6.2).
  static func protocolError(_ alert: Int32) -> TLSFailure {
    TLSFailure(reason: .protocolError, message: "TLS protocol error: \(alertText(alert))")
  }

  /// The peer sent that alert.
  static func alert(_ alert: Int32) -> TLSFailure {
    TLSFailure(reason: .alertFromPeer, message: "the peer refused TLS: \(alertText(alert))")
  }

  /// OpenSSL cannot encrypt any more: it has no memory.
  static let brokenRecords = TLSFailure(reason: .protocolError, message: "a TLS record cannot be encrypted")

  private static func alertText(_ alert: Int32) -> String {
    SSL_alert_desc_string_long(alert).map { String(cString: $0) } ?? "alert \(alert)"
  }

  private static func certificate(_ result: Int) -> TLSFailure {
    let text = X509_verify_cert_error_string(result).map { String(cString: $0) } ?? "verification failed"
    switch Int32(truncatingIfNeeded: result) {
    case X509_V_ERR_APPLICATION_VERIFICATION:
      return TLSFailure(
        reason: .legacyCommonName,
        message:
          "x509: certificate relies on legacy Common Name field, use SANs instead; have the certificate reissued "
          + "with a Subject Alternative Name (for RDS and Redshift: rotate the SSL/TLS certificate)")
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
      return TLSFailure(
        reason: .nameMismatch,
        message: "the certificate is not for this host name; check the database's uri or set tls.server_name")
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return TLSFailure(reason: .expired, message: "the certificate has expired")
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return TLSFailure(reason: .notYetValid, message: "the certificate is not valid yet; check the clocks")
    case X509_V_ERR_INVALID_PURPOSE:
      return TLSFailure(reason: .wrongPurpose, message: "the certificate is not meant for this use (\(text))")
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
      X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_CHAIN_TOO_LONG, X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return TLSFailure(
        reason: .untrustedIssuer,
        message: "the certificate's issuer is not trusted (\(text)); add its CA, for a database with tls.ca_cert_file")
    default:
      return TLSFailure(reason: .badCertificate, message: "the certificate was refused: \(text)")
    }
  }

  static func reasonText(_ code: UInt) -> String {
    ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code)"
  }
}

/// A context that cannot be made: a bad certificate, key or CA file.
public struct TLSConfigurationError: Error, Sendable, CustomStringConvertible {
  public let description: String

  static func current(_ what: String) -> TLSConfigurationError {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    return TLSConfigurationError(description: code == 0 ? what : "\(what): \(TLSFailure.reasonText(code))")
  }
}
