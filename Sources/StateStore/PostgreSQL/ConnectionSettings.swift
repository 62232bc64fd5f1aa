import CLibPQ

/// How to reach a PostgreSQL that keeps the state: libpq's parameters, from a connection string and our own defaults.
///
/// libpq's environment (PGPASSFILE and the like) counts as in every client of it.
public struct ConnectionSettings: Sendable, Equatable {
  let parameters: [String: String]

  /// What may be told to people: where it is, never how to get in.
  let place: String

  /// Seconds one statement may take, and one connect.
  static let limit = 5

  /// Reads `postgresql://...` or `key=value ...` (PostgreSQL documentation, "Connection Strings").
  ///
  /// Without an `sslmode` of its own a host that is not this one must prove who it is: libpq would fall back to no
  /// encryption, and the password and the cluster's state with it.
  ///
  /// - Throws: `StateError` for a string that libpq cannot read, or that names several hosts.
  public init(_ text: String) throws {
    var message: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(text, &message) else {
      // The message quotes the string, which may hold a password.
      PQfreemem(message)
      throw StateError(
        .refused, "storage.conn_string is not a connection string; write postgresql://USER@HOST/DATABASE?sslmode=...")
    }
    defer { PQconninfoFree(options) }
    var parameters: [String: String] = [:]
    var option = options
    while let keyword = option.pointee.keyword {
      if let value = option.pointee.val { parameters[String(cString: keyword)] = String(cString: value) }
      option += 1
    }
    let host = parameters["host"] ?? parameters["hostaddr"] ?? "local socket"
    guard !host.contains(",") else {
      throw StateError(
        .refused, "storage.conn_string names several hosts; name one, or an address that follows the primary")
    }
    if parameters["sslmode"] == nil, !Self.isLocal(host) { parameters["sslmode"] = "verify-full" }
    let own = [
      "application_name": "sallyport", "connect_timeout": "\(Self.limit)", "client_encoding": "UTF8",
      "tcp_user_timeout": "\(Self.limit * 1000)", "keepalives_idle": "10", "keepalives_interval": "5",
      "keepalives_count": "3",
    ]
    parameters.merge(own) { given, _ in given }
    let milliseconds = Self.limit * 1000
    let limits =
      "-c statement_timeout=\(milliseconds) -c lock_timeout=\(milliseconds) "
      + "-c idle_in_transaction_session_timeout=\(2 * milliseconds)"
    parameters["options"] = [limits, parameters["options"]].compactMap { $0 }.joined(separator: " ")
    self.parameters = parameters
    place = "PostgreSQL at \(host)" + (parameters["port"].map { ":\($0)" } ?? "")
  }

  private static func isLocal(_ host: String) -> Bool {
    host.hasPrefix("/") || ["local socket", "localhost", "127.0.0.1", "::1"].contains(host)
  }
}
