/// One link of the way from this host to a database, as it was found.
public struct Finding: Sendable, Encodable {
  /// The links: of a Database Service's host, then of a user's.
  public enum Link: String, Sendable, Encodable, CaseIterable {
    case configuration
    case cluster
    case discovery
    case credentials
    case callerIdentity = "caller identity"
    case assumeRole = "assume role"
    case databaseCredentials = "database credentials"
    case nameResolution = "name resolution"
    case connection
    case tls = "TLS"
    case authentication
    case firstQuery = "first query"

    case profile
    case loginCertificate = "login certificate"
    case proxy
    case roles
    case databaseCertificate = "database certificate"
    case databaseService = "database service"
  }

  /// What became of the link.
  public enum Outcome: String, Sendable, Encodable { case works, broken, skipped }

  public let link: Link
  public let outcome: Outcome
  /// What was seen, in one line; never a secret.
  public let detail: String
  /// What to do about it: lines to read, or to paste.
  public let mend: [String]

  public static func works(_ link: Link, _ detail: String) -> Finding {
    Finding(link: link, outcome: .works, detail: detail, mend: [])
  }

  public static func broken(_ link: Link, _ detail: String, mend: [String]) -> Finding {
    Finding(link: link, outcome: .broken, detail: detail, mend: mend)
  }

  /// A link that could not be looked at, since it hangs on one that is broken, or does not exist for this database.
  public static func skipped(_ link: Link, _ detail: String) -> Finding {
    Finding(link: link, outcome: .skipped, detail: detail, mend: [])
  }

  /// Links that hang on one that is broken.
  public static func skipped(_ links: [Link], after broken: Link) -> [Finding] {
    links.map { .skipped($0, "not tried: \(broken.rawValue) comes first") }
  }
}

/// All findings about one database.
public struct Report: Sendable, Encodable {
  public let database: String
  /// `nil`: it has not come to choosing one.
  public let databaseUser: String?
  public let databaseName: String?
  public let findings: [Finding]

  public init(database: String, databaseUser: String?, databaseName: String?, findings: [Finding]) {
    self.database = database
    self.databaseUser = databaseUser
    self.databaseName = databaseName
    self.findings = findings
  }

  /// Whether a login would go through: nothing is broken.
  public var isHealthy: Bool { !findings.contains { $0.outcome == .broken } }

  /// The report as a person reads it: a line a link, the mend below each broken one.
  public var text: String {
    let width = Finding.Link.allCases.map(\.rawValue.count).max() ?? 0
    let user = databaseUser.map { " as user '\($0)'" } ?? ""
    let name = databaseName.map { ", database name '\($0)'" } ?? ""
    var lines = ["Database '\(database)'\(user)\(name):", ""]
    for finding in findings {
      let name = finding.link.rawValue.padding(to: width)
      lines.append("\(finding.outcome.mark) \(name)  \(finding.detail)")
      guard !finding.mend.isEmpty else { continue }
      lines += [""] + finding.mend.map { $0.isEmpty ? "" : "      \($0)" } + [""]
    }
    let broken = findings.filter { $0.outcome == .broken }.count
    lines += [
      "",
      isHealthy ? "Everything works." : "\(broken) of \(findings.count) links \(broken == 1 ? "is" : "are") broken.",
    ]
    return lines.joined(separator: "\n")
  }
}

extension Finding.Outcome {
  fileprivate var mark: String {
    switch self {
    case .works: "✔"
    case .broken: "✘"
    case .skipped: "-"
    }
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
