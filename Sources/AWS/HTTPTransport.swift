import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// The answer to one HTTP request; the body is at most 1 MiB.
public struct HTTPAnswer: Sendable {
  public let status: Int
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
  /// - Throws: `AWSError` with code `Timeout` or `InvalidResponse`.
  func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer
}

/// async-http-client with redirects off and bodies bounded.
public final class NetworkTransport: HTTPTransport {
  public static let maximumBody = 1 << 20
  private let client: HTTPClient

  public init() {
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.timeout.connect = .seconds(3)
    client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }

  /// Closes idle connections; no request may be under way.
  public func shutDown() async throws { try await client.shutdown() }

  deinit {
    // The process-wide client lives as long as the process; tests that make one call `shutDown` themselves.
    client.shutdown { _ in }
  }

  public func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    var message = HTTPClientRequest(url: request.url.absoluteString)
    message.method = .RAW(value: request.method)
    for (name, value) in request.headers where name.lowercased() != "host" {
      message.headers.add(name: name, value: value)
    }
    if !request.body.isEmpty { message.body = .bytes(request.body) }
    do {
      return try await withTimeLimit(timeout) { [client, message] in
        // The client's own limit ends with the head of the answer: a body may dribble for ever.
        let response = try await client.execute(message, timeout: .milliseconds(Int64(timeout * 1000)))
        let body = try await response.body.collect(upTo: Self.maximumBody)
        let headers = Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first }
        return HTTPAnswer(status: Int(response.status.code), headers: headers, body: Array(body.readableBytesView))
      }
    } catch is TimeLimitError {
      throw AWSError(
        "Timeout", "no complete answer from \(request.url.host ?? "AWS") within \(Int(timeout.rounded(.up))) s")
    } catch is NIOTooManyBytesError {
      throw AWSError("InvalidResponse", "the answer of \(request.url.host ?? "AWS") is larger than 1 MiB")
    } catch let error as HTTPClientError {
      throw AWSError("Timeout", "no answer from \(request.url.host ?? "AWS"): \(error.shortDescription)")
    } catch let error as AWSError {
      throw error
    } catch {
      throw AWSError(
        "Timeout", "cannot reach \(request.url.host ?? "AWS"): \(error)",
        mend: "Check the network and AWS_ENDPOINT_URL.")
    }
  }
}
