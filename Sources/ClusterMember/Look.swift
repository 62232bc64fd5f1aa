import ControlAPI
import ControlClient
import Foundation
import PKI

extension Membership {
  /// The cluster as the host of `dataDirectory` may see it now, for those who look and do not take part: nothing is joined,
  /// renewed, reported or stored.
  ///
  /// - Parameter servers: HOST:PORT of proxies or Auth Services, one at least.
  /// - Returns: `nil` if the host has not joined.
  /// - Throws: `ToolError` or `PKIError`; with status 403 the cluster shuts this host out.
  public static func look(dataDirectory: String, servers: [String]) async throws -> ClusterSnapshot? {
    // Opening the store would make its directory.
    guard FileManager.default.fileExists(atPath: HostStore.directory(in: dataDirectory)),
      let (certificate, key) = try HostStore(dataDirectory: dataDirectory).load()
    else { return nil }
    guard certificate.validUntil > Date() else {
      throw ToolError(
        "this host's certificate ended at \(certificate.validUntil.formatted(.iso8601))",
        hint: "start the service: it joins anew, with a token that is still valid")
    }
    let credentials = HostCredentials(certificate, keyPEM: key)
    return try await ServerRotation(servers).firstThatAnswers {
      try await fetch($0, credentials, certificate.authorities, after: 0, wait: 0)
    }
  }
}
