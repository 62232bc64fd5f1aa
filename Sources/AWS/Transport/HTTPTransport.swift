import Foundation

/// An HTTP request to AWS before and after signing.
public struct AWSRequest: Sendable {
  public var method: String
  public var url: URL
  public var headers: [(name: String, value: String)]
  public var body: [UInt8]

  public init(method: String, url: URL, headers: [(name: String, value: String)], body: [UInt8]) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

/// The answer to one HTTP request; the body is at most 1 MiB.
public struct HTTPAnswer: Sendable {
  public let status: Int
  /// By names in lower case.
  public let headers: [String: String]
  public let body: [UInt8]

  public init(status: Int, headers: [String: String], body: [UInt8]) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

/// Sends requests: over the network, or scripted in tests.
public protocol HTTPTransport: Sendable {
  /// - Parameter timeout: seconds until the whole answer is there, body included.
  /// - Throws: `AWSError` with code `Timeout`, `Unreachable`, `InvalidResponse` or `InvalidParameter`.
  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer
}
