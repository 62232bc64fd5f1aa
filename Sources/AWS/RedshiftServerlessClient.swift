import Foundation
import Secrets

/// A temporary login at a database.
public struct DatabaseCredentials: Sendable {
  public let user: String
  public let password: Secret
  public let expiration: Date
  /// When asking again begins to give a new password, if AWS said so.
  public let nextRefresh: Date?
}

/// redshift-serverless over AWS JSON 1.1 (Amazon Redshift Serverless API Reference, GetCredentials).
struct RedshiftServerlessClient: Sendable {
  let caller: AWSCaller
  let region: String

  private struct Input: Encodable {
    let workgroupName: String
    let dbName: String
    let durationSeconds: Int
  }

  private struct Output: Decodable {
    let dbUser: String
    let dbPassword: String
    let expiration: Double
    let nextRefreshTime: Double?
  }

  private struct Problem: Decodable {
    let type: String?
    let message: String?
    /// Some services capitalise it.
    let capitalMessage: String?

    enum CodingKeys: String, CodingKey {
      case type = "__type"
      case message
      case capitalMessage = "Message"
    }
  }

  func getCredentials(
    workgroup: String, database: String, with credentials: AWSCredentials
  ) async throws -> DatabaseCredentials {
    let input = try JSONEncoder().encode(Input(workgroupName: workgroup, dbName: database, durationSeconds: 900))
    let answer = try await caller.call(
      "GetCredentials", service: "redshift-serverless", region: region, credentials: credentials,
      headers: [
        ("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "RedshiftServerless.GetCredentials"),
      ], body: Array(input)
    ) { readError($0, workgroup: workgroup) }
    guard let output = try? JSONDecoder().decode(Output.self, from: Data(answer.body)) else {
      throw AWSError("InvalidResponse", "redshift-serverless answered GetCredentials without credentials")
    }
    return DatabaseCredentials(
      user: output.dbUser, password: Secret(utf8: output.dbPassword),
      expiration: Date(timeIntervalSince1970: output.expiration),
      nextRefresh: output.nextRefreshTime.map { Date(timeIntervalSince1970: $0) })
  }

  private func readError(_ answer: HTTPAnswer, workgroup: String) -> AWSError {
    let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body))
    // "prefix#Code:uri": only the middle is the code.
    let type = problem?.type ?? answer.headers["x-amzn-errortype"] ?? "HTTP \(answer.status)"
    let code = String((type.split(separator: "#").last ?? "").split(separator: ":").first ?? "Unknown")
    let message = problem?.message ?? problem?.capitalMessage ?? "redshift-serverless refused GetCredentials"
    let mend: String? =
      code.hasPrefix("AccessDenied")
      ? "Allow redshift-serverless:GetCredentials on workgroup '\(workgroup)' in the role's permission policy."
      : code == "ResourceNotFoundException"
        ? "Check the workgroup name '\(workgroup)' and the region '\(region)' of this database." : nil
    return AWSError(code, message, mend: mend, status: answer.status)
  }
}
