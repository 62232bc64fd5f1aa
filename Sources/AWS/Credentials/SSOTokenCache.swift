import Crypto
import Foundation
import Glibc
import Logging
import PKI
import Secrets
import TextForms

/// The token of a login by `aws sso login`, in the file where that tool and the SDKs keep it.
///
/// As in botocore, the token of a session (`sso_session`) that is about to end is renewed with the refresh token beside it, and
/// written back for the others. Whoever renews holds a lock on the directory: the refresh token is good once.
struct SSOTokenCache {
  let environment: AWSEnvironment
  /// Of the source, for errors.
  let name: String
  /// What the login is kept under: the session's name or, in the older form, the portal's address.
  let key: String
  /// Whether it is a session's: logins of the older form have nothing to renew with.
  let isOfSession: Bool
  let region: String
  /// The command that makes a new login.
  let mend: String

  /// Seconds before the end from which on a new token is looked for.
  private static let window: TimeInterval = 15 * 60

  private struct Token: Decodable {
    let accessToken: String
    let expiresAt: String
    let refreshToken: String?
    let clientId: String?
    let clientSecret: String?
    let registrationExpiresAt: String?
  }

  /// A token as it was found, good or not.
  private struct Found {
    let token: Token
    let end: Date
    /// The whole file: what others keep in it stays.
    let contents: [String: Any]
  }

  private var directory: String { "\(environment.variable("HOME") ?? NSHomeDirectory())/.aws/sso/cache" }
  private var file: String { "\(directory)/\(Hex.encode(Insecure.SHA1.hash(data: Data(key.utf8)))).json" }
  private var logger: Logger { Logger(label: "aws") }

  /// A token that is good now.
  func accessToken() async throws -> String {
    var found = try read()
    var obstacle: (any Error)?
    if isOfSession, isEnding(found), refresh(of: found) != nil {
      do {
        found = try await renewed()
      } catch {
        obstacle = error
      }
    }
    guard found.end > environment.clock.now else {
      let (end, reason) = (found.end.formatted(.iso8601), obstacle.map { " and could not be renewed: \($0)" } ?? "")
      throw AWSError("ExpiredToken", "\(name): the login ended at \(end)\(reason)", mend: mend)
    }
    if let obstacle {
      // The present one does for a while.
      logger.warning("the login of IAM Identity Center could not be renewed", metadata: ["error": "\(obstacle)"])
    }
    return found.token.accessToken
  }

  private func read() throws -> Found {
    guard FileManager.default.fileExists(atPath: file) else {
      throw AWSError("InvalidParameter", "\(name): nobody has logged in (no \(file))", mend: mend)
    }
    return try parse(Data(try SmallFile.text(file, name).utf8))
  }

  private func parse(_ data: Data) throws -> Found {
    guard let token = try? JSONDecoder().decode(Token.self, from: data), let end = Self.date(token.expiresAt),
      let contents = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
      token.accessToken.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else { throw AWSError("InvalidParameter", "\(name): \(file) holds no token that can be read", mend: mend) }
    return Found(token: token, end: end, contents: contents)
  }

  private func isEnding(_ found: Found) -> Bool { found.end.timeIntervalSince(environment.clock.now) < Self.window }

  /// Older versions of botocore wrote the zone as `UTC`.
  private static func date(_ text: String) -> Date? {
    Timestamp.date(text.hasSuffix("UTC") ? text.dropLast(3) + "Z" : text)
  }

  // MARK: Renewal

  private struct Refresh: Encodable {
    let grantType = "refresh_token"
    let clientId: String
    let clientSecret: String
    let refreshToken: String
  }

  /// What renews it; `nil` if it has nothing to be renewed with, or the tool's registration has ended.
  private func refresh(of found: Found) -> Refresh? {
    let token = found.token
    guard let refreshToken = token.refreshToken, let id = token.clientId, let secret = token.clientSecret,
      let end = token.registrationExpiresAt.flatMap(Self.date), end > environment.clock.now
    else { return nil }
    return Refresh(clientId: id, clientSecret: secret, refreshToken: refreshToken)
  }

  private func renewed() async throws -> Found {
    let lock = try await DirectoryLock(directory)
    defer { withExtendedLifetime(lock) {} }
    // Another process may have been here while this one waited.
    let found = try read()
    guard isEnding(found), let refresh = refresh(of: found) else { return found }
    struct Answer: Decodable {
      let accessToken: String
      let expiresIn: Int
      let refreshToken: String?
    }
    let answer = try await AWSCaller(environment: environment).send(
      .ssoOIDC, "CreateToken", path: "/token", region: region, credentials: nil,
      headers: [("Content-Type", "application/json")], body: Array(try JSONEncoder().encode(refresh)))
    guard let new = try? JSONDecoder().decode(Answer.self, from: Data(answer.body)), new.expiresIn > 0 else {
      throw AWSError("InvalidResponse", "IAM Identity Center gave no token that can be read")
    }
    var contents = found.contents
    contents["accessToken"] = new.accessToken
    contents["expiresAt"] = (environment.clock.now + Double(new.expiresIn)).formatted(.iso8601)
    // As in botocore: without a new one there is none any more.
    contents["refreshToken"] = new.refreshToken
    let bytes = try JSONSerialization.data(withJSONObject: contents, options: [.sortedKeys, .withoutEscapingSlashes])
    do {
      try PrivateFile.write(Secret(Array(bytes)), to: file)
      logger.info("the login of IAM Identity Center is renewed")
    } catch {
      // It is good all the same, for this once.
      logger.error("the renewed login of IAM Identity Center is not kept", metadata: ["error": "\(error)"])
    }
    return try parse(bytes)
  }
}

/// An exclusive lock on a directory among processes (flock(2)); held as long as the object lives. Leaves no file behind.
private final class DirectoryLock: Sendable {
  private let descriptor: Int32

  /// Waits for its turn, until the task is cancelled.
  init(_ path: String) async throws {
    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw AWSError("InvalidParameter", "\(path) cannot be opened: \(String(cString: strerror(errno)))")
    }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else {
        throw AWSError("InvalidParameter", "\(path) cannot be locked: \(String(cString: strerror(errno)))")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }
}
