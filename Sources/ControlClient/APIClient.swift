import AsyncHTTPClient
import ControlAPI
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import Secrets

/// What a tool prints on stderr, with the next command to type, before it exits with 1.
public struct ToolError: Error, Sendable, CustomStringConvertible {
  /// What is wrong.
  public let message: String
  /// What to type or change.
  public let hint: String?
  /// HTTP status of the answer it comes from; 0 for others.
  public let status: Int
  /// There was no answer: the same may work a moment later.
  public let isUnreachable: Bool

  public init(_ message: String, hint: String? = nil, status: Int = 0, isUnreachable: Bool = false) {
    self.isUnreachable = isUnreachable
    self.message = message
    self.hint = hint
    self.status = status
  }

  /// Message and hint in one line.
  public var description: String { hint.map { "\(message) (\($0))" } ?? message }
}

/// A certificate and its key, for calls that need to be someone.
public struct ClientIdentity: Sendable {
  /// The certificate.
  public let certificatePEM: String
  /// Its private key.
  public let keyPEM: Secret

  public init(certificatePEM: String, keyPEM: Secret) {
    self.certificatePEM = certificatePEM
    self.keyPEM = keyPEM
  }
}

/// The tools' side of the HTTPS API. One per command; `shutDown` before exit.
public final class APIClient: Sendable {
  private let client: HTTPClient
  private let base: String
  private let hasIdentity: Bool

  private static let maximumBody = 64 << 20

  /// - Parameters:
  ///   - address: HOST:PORT of the proxy.
  ///   - trustedCAPEMs: trusted besides the system's CAs (and `SSL_CERT_FILE`).
  ///   - insecure: verify nothing.
  public init(
    address: String, identity: ClientIdentity? = nil, trustedCAPEMs: [String] = [], insecure: Bool = false
  ) throws {
    base = "https://\(address)"
    hasIdentity = identity != nil
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.applicationProtocols = ["http/1.1"]
    do {
      if insecure { tls.certificateVerification = .none }
      if let file = ProcessInfo.processInfo.environment["SSL_CERT_FILE"], !file.isEmpty { tls.trustRoots = .file(file) }
      tls.additionalTrustRoots = try trustedCAPEMs.map {
        .certificates(try NIOSSLCertificate.fromPEMBytes(Array($0.utf8)))
      }
      if let identity {
        tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(Array(identity.certificatePEM.utf8)).map {
          .certificate($0)
        }
        tls.privateKey = .privateKey(
          try identity.keyPEM.withBytes { try NIOSSLPrivateKey(bytes: Array($0), format: .pem) })
      }
    } catch {
      throw ToolError("a stored certificate or key is damaged", hint: "log in again with 'tsh login'")
    }
    var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
    configuration.timeout.connect = .seconds(10)
    configuration.httpVersion = .http1Only
    client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  /// Closes the connections.
  public func shutDown() async { try? await client.shutdown() }

  /// Fetches and decodes; throws `ToolError`, as all calls do.
  public func get<Answer: Decodable>(_ path: String) async throws -> Answer {
    try decode(try await send("GET", path, nil))
  }
  /// Fetches text as it is, such as a certificate.
  public func getText(_ path: String) async throws -> String { String(buffer: try await send("GET", path, nil)) }
  /// Sends `body` as JSON and decodes the answer.
  public func post<Answer: Decodable>(_ path: String, _ body: some Encodable) async throws -> Answer {
    try decode(try await send("POST", path, try JSONEncoder.api.encode(body)))
  }
  /// Sends lines as they are and decodes the answer.
  public func post<Answer: Decodable>(_ path: String, lines: [UInt8]) async throws -> Answer {
    try decode(try await send("POST", path, Data(lines), type: "application/x-ndjson"))
  }
  /// Likewise with PUT.
  public func put<Answer: Decodable>(_ path: String, _ body: some Encodable) async throws -> Answer {
    try decode(try await send("PUT", path, try JSONEncoder.api.encode(body)))
  }
  /// Sends `body`, for routes that answer with a status alone.
  public func send(_ path: String, _ body: some Encodable) async throws {
    _ = try await send("POST", path, try JSONEncoder.api.encode(body))
  }
  /// Removes what `path` names.
  public func delete(_ path: String) async throws { _ = try await send("DELETE", path, nil) }

  /// One path segment, escaped.
  public static func segment(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.union(CharacterSet(charactersIn: "-._~"))) ?? ""
  }

  private func decode<Answer: Decodable>(_ body: ByteBuffer) throws -> Answer {
    do {
      return try JSONDecoder.api.decode(Answer.self, from: Data(body.readableBytesView))
    } catch {
      throw ToolError("the server's answer is not understood; its version may differ from this tool's")
    }
  }

  private func send(
    _ method: String, _ path: String, _ body: Data?, type: String = "application/json"
  ) async throws -> ByteBuffer {
    var request = HTTPClientRequest(url: base + path)
    request.method = .RAW(value: method)
    if let body {
      request.headers.add(name: "Content-Type", value: type)
      request.body = .bytes(body)
    }
    let (status, answer) = try await exchange(request)
    guard (200..<300).contains(status) else {
      let problem = try? JSONDecoder.api.decode(ErrorBody.self, from: Data(answer.readableBytesView)).error
      throw ToolError(
        problem?.message ?? "the server answered with status \(status)", hint: problem?.hint, status: Int(status))
    }
    return answer
  }

  private func exchange(_ request: HTTPClientRequest) async throws -> (UInt, ByteBuffer) {
    let began = ContinuousClock.now
    do {
      let response = try await client.execute(request, timeout: .seconds(30))
      // Of an invite's path only the beginning: the rest is the secret.
      let path = request.url.dropFirst(base.count).split(separator: "/").prefix(3).joined(separator: "/")
      DebugLog.write(
        "\(request.method.rawValue) \(base)/\(path): \(response.status.code) in \(began.duration(to: .now))")
      return (response.status.code, try await response.body.collect(upTo: Self.maximumBody))
    } catch let error as NIOSSLError {
      throw tlsError("\(error)")
    } catch let error as NIOSSLExtraError {
      throw tlsError(error.description)
    } catch let error as HTTPClientError where error == .connectTimeout || error == .deadlineExceeded {
      throw ToolError("no answer from \(base)", hint: "check --proxy and the network", isUnreachable: true)
    } catch {
      let text = "\(error)"
      if text.contains("handshake") || text.contains("CERTIFICATE") || text.contains("_ALERT_") { throw tlsError(text) }
      throw ToolError(
        "cannot reach \(base): \(text)", hint: "check --proxy and that 'teleport start' runs there",
        isUnreachable: true)
    }
  }

  private func tlsError(_ text: String) -> ToolError {
    // With TLS 1.3 a server refuses a certificate after the client's side of the handshake.
    if hasIdentity, text.contains("_ALERT_") {
      return ToolError(
        "\(base) does not accept the certificate in use (any more)",
        hint: "the cluster's CAs may have been rotated since the login; log in again with 'tsh login'")
    }
    return text.contains("CERTIFICATE_VERIFY_FAILED")
      ? ToolError(
        "the certificate of \(base) is not trusted",
        hint: hasIdentity
          ? "if the cluster's CAs were rotated since the login, log in again with 'tsh login'"
          : "set SSL_CERT_FILE to its CA, or use --insecure for a test cluster")
      : ToolError("TLS with \(base) failed: \(text)", hint: "log in again with 'tsh login'")
  }
}
