import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl db explain`.
struct Explain: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tell whether a user may open a session, which role statements say so, and what would change it.",
    discussion: "Exit code: 0 if the session is allowed, 1 if it is denied, 2 if that could not be found out.")

  @Option(help: "Name of the user; counted are the roles that he has now.") var user: String
  @Option(help: "Name of the database in the cluster.") var db: String
  @Option(help: "The database user: for Redshift Serverless an IAM role, by name or ARN.") var dbUser: String
  @Option(help: "Name of the database within it.") var dbName: String
  @Flag(help: "Ask for a replication connection.") var replication = false
  @Option(help: "text, json or yaml.") var format = OutputFormat.text
  @OptionGroup var connection: ConnectionOptions

  private static let denied = ExitCode(1)
  private static let unknown = ExitCode(2)

  func run() async throws {
    let request = ExplainRequest(
      user: user, database: db, databaseUser: dbUser, databaseName: dbName, wantsReplication: replication)
    var isAllowed = false
    do {
      try await connection.withClient { client in
        let answer: ExplainResponse = try await client.post("/v1/explain", request)
        print(format == .text ? answer.text : try Terminal.formatted(answer, format))
        isAllowed = answer.allowed
      }
    } catch let code as ExitCode where code == .failure {
      throw Self.unknown
    }
    if !isAllowed { throw Self.denied }
  }
}

extension ExplainResponse {
  /// For people: the verdict, why, what would change it, then what each role says, and the way through AWS.
  fileprivate var text: String {
    let session =
      "user '\(request.user)', database '\(request.database)', database user '\(request.databaseUser)', "
      + "database name '\(request.databaseName)'" + (request.wantsReplication ? ", for replication" : "")
    var lines = ["\(allowed ? "ALLOWED" : "DENIED"): \(session)"]
    if let labels {
      lines.append("labels of the database: \(labels.isEmpty ? "none" : Databases.text(labels: labels))")
    }
    lines += section("why", problems) + section("what would change it", mends)
    lines += roles.flatMap { ["", "role '\($0.role)' \($0.verdict)"] + $0.lines }
    if let aws {
      lines += ["", "AWS account \(aws.account), region \(aws.region):"]
      lines += aws.roles.map { "  assume role \($0)" }
      let place = aws.workgroup.map { "workgroup \($0)" } ?? "cluster \(aws.cluster ?? "")"
      lines.append("  get credentials of \(place); the session is user \(aws.databaseUser) there")
      lines.append("  Whether AWS agrees is not tried here.")
    }
    return lines.map(Terminal.safe).joined(separator: "\n")
  }

  private func section(_ title: String, _ items: [String]) -> [String] {
    items.isEmpty ? [] : ["", title + ":"] + items.map { "  * \($0)" }
  }
}

extension RoleFinding {
  fileprivate var verdict: String {
    denies.isEmpty ? isAllowing ? "allows it" : "does not allow it" : "denies it, whatever other roles allow"
  }

  fileprivate var lines: [String] {
    denies.map { "  deny.\($0.field.rawValue) matches: \($0.match ?? "")" }
      + allows.map { finding in
        let key = "  allow.\(finding.field.rawValue)"
        if let match = finding.match { return "\(key) matches: \(match)" }
        return "\(key) does not match: "
          + (finding.entries.isEmpty ? "it is empty" : finding.entries.joined(separator: ", "))
      }
  }
}
