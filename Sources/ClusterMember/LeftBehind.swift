import ControlAPI
import ControlClient
import PKI

/// A host that was away while the cluster's host CA was rotated: nobody trusts its certificate, and it trusts nobody.
extension Membership {
  /// Whether that is what `error`, of a call with `authorities`, comes from.
  ///
  /// Asks without checking whom: a liar could only make this host give up sooner what fails anyway.
  static func isLeftBehind(_ server: String, _ authorities: AuthorityCertificates, by error: any Error) async -> Bool {
    // With an HTTP status the call went through TLS on both sides: that is something else.
    guard let error = error as? ToolError, error.status == 0 || error.status == 401 else { return false }
    do {
      let text = try await APIClient(address: server, insecure: true).closing { try await $0.getText("/v1/webapi/cas") }
      let current = Set(try Self.certificates(in: text).map { try caPin(ofPEM: $0) })
      return try !current.isEmpty && current.isDisjoint(with: authorities.hostPEMs.map { try caPin(ofPEM: $0) })
    } catch {
      // The Auth Service is out of reach, which the first error says too.
      return false
    }
  }

  static func leftBehind(_ options: Options) -> ToolError {
    ToolError(
      "the cluster's host CA was rotated while this host was away, so its certificate counts no more",
      hint:
        "join again: set ca_pin to what 'tctl status' prints, make a token with 'tctl tokens add --type="
        + "\(options.services.map(\.rawValue).joined(separator: ","))', remove \(options.dataDirectory)/host and start again"
    )
  }

  /// The certificates of a PEM text, each by itself.
  static func certificates(in text: String) -> [String] {
    text.components(separatedBy: "-----END CERTIFICATE-----").filter { $0.contains("-----BEGIN CERTIFICATE-----") }
      .map { $0 + "-----END CERTIFICATE-----\n" }
  }
}
