import Audit
import Foundation
import PKI

@testable import AuthService

/// An Auth Service on a directory of its own, removed afterwards.
func withServer(_ body: (AuthServer, String) async throws -> Void) async throws {
  let directory = NSTemporaryDirectory() + "auth-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try PrivateFile.makeDirectory(directory)
  try await body(try openServer(directory), directory)
}

/// An Auth Service on a directory that is there already.
func openServer(_ directory: String) throws -> AuthServer {
  try AuthServer(
    dataDirectory: directory, clusterName: "test", publicAddress: "localhost:3080",
    audit: AuditLog(path: directory + "/events.log"))
}
