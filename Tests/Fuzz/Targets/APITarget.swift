import AccessControl
import ControlAPI
import Foundation

extension FuzzTarget {
  /// Bodies of the HTTPS API: a byte that chooses the kind, then the JSON. What is taken is written as what reads the same.
  static let api = FuzzTarget(name: "api", maximumLength: 1024) { bytes in
    var input = FuzzInput(bytes)
    let kind = bodies[Int(input.byte()) % bodies.count]
    try kind(Data(input.rest))
  }

  /// What callers of the API send, and hosts and tools are answered.
  private static let bodies: [@Sendable (Data) throws -> Void] = [
    body(LoginRequest.self), body(DatabaseCertificateRequest.self), body(UserUpdate.self), body(TokenRequest.self),
    body(JoinRequest.self), body(RenewalRequest.self), body(HostHeartbeat.self), body(ClusterSnapshot.self),
    body(IAMJoinRequest.self), body(InviteAcceptance.self), body(RotationRequest.self),
    body(DatabaseServerCertificateRequest.self), body(DatabaseClientCertificateRequest.self),
    body(UserCertificateRequest.self), body(ExplainRequest.self), body(SessionListings.self),
    body(ResourceRequest<Role>.self), body(ResourceRequest<Lock>.self), body(ResourceRequest<UserResource>.self),
    body(ResourceRequest<TokenResource>.self), body(ResourceRequest<DatabaseResource>.self),
    body(ResourceRequest<AuthPreference>.self), body(AuditPlace.self), body(ErrorBody.self), body(Ping.self),
  ]

  private static func body<Body: Codable & SendableMetatype>(_ type: Body.Type) -> @Sendable (Data) throws -> Void {
    { data in
      guard let body = try? JSONDecoder.api.decode(type, from: data) else { return }
      let written = try JSONEncoder.api.encode(body)
      guard let again = try? JSONDecoder.api.decode(type, from: written) else {
        throw FuzzFinding(
          description: "\(type) is written as what does not read: \(String(decoding: written, as: UTF8.self))")
      }
      let encoder = JSONEncoder.api
      encoder.outputFormatting = .sortedKeys
      try require(try encoder.encode(again) == encoder.encode(body), "\(type) is written as another")
    }
  }
}
