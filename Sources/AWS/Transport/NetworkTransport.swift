import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization

/// async-http-client with redirects off and bodies bounded. Thread-safe.
public final class NetworkTransport: HTTPTransport {
  public static let maximumBody = 1 << 20
  private let proxies: ProxySettings
  private let caBundle: String?
  /// One client a proxy, since each has connections of its own; the key `nil` connects directly.
  private let clients = Mutex<[ProxySettings.Proxy?: HTTPClient]>([:])

  /// - Parameter caBundle: PEM file to trust AWS by instead of the system's certificates.
  init(proxies: ProxySettings, caBundle: String? = nil) {
    self.proxies = proxies
    self.caBundle = caBundle
  }

  /// Without proxies.
  public convenience init() { self.init(proxies: ProxySettings([:])) }

  /// Closes idle connections; no request may be under way.
  public func shutDown() async throws {
    let clients = clients.withLock { clients in
      defer { clients = [:] }
      return Array(clients.values)
    }
    for client in clients { try await client.shutdown() }
  }

  deinit {
    // The process-wide clients live as long as the process; tests that make one call `shutDown` themselves.
    for client in clients.withLock({ $0.values }) { client.shutdown { _ in } }
  }

  private func client(for url: URL) throws -> HTTPClient {
    let proxy = try proxies.proxy(for: url)
    return try clients.withLock { clients in
      if let known = clients[proxy] { return known }
      var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
      configuration.timeout.connect = .seconds(3)
      // Each caller has retry rules of its own, which have to hear that a connection was refused.
      configuration.connectionPool.retryConnectionEstablishment = false
      configuration.proxy = proxy.map { proxy in
        .server(
          host: proxy.host, port: proxy.port,
          authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
      }
      if let caBundle {
        do {
          var tls = TLSConfiguration.makeClientConfiguration()
          tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(caBundle))
          configuration.tlsConfiguration = tls
        } catch {
          throw AWSError(
            "InvalidParameter", "AWS_CA_BUNDLE (ca_bundle) \(caBundle) cannot be read as PEM certificates",
            mend: "Name a readable PEM file, or unset it to trust the system's certificates.")
        }
      }
      let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
      clients[proxy] = client
      return client
    }
  }

  public func send(_ request: AWSRequest, timeout: TimeInterval) async throws -> HTTPAnswer {
    var message = HTTPClientRequest(url: request.url.absoluteString)
    message.method = .RAW(value: request.method)
    for (name, value) in request.headers where name.lowercased() != "host" {
      message.headers.add(name: name, value: value)
    }
    if !request.body.isEmpty { message.body = .bytes(request.body) }
    let client = try client(for: request.url)
    let host = request.url.authority
    do {
      return try await withTimeLimit(timeout) { [message] in
        // The client's own limit ends with the head of the answer: a body may dribble for ever.
        let response = try await client.execute(message, timeout: .milliseconds(Int64(timeout * 1000)))
        let body = try await response.body.collect(upTo: Self.maximumBody)
        let headers = Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first }
        return HTTPAnswer(status: Int(response.status.code), headers: headers, body: Array(body.readableBytesView))
      }
    } catch is TimeLimitError {
      throw AWSError("Timeout", "no complete answer from \(host) within \(Int(timeout.rounded(.up))) s")
    } catch is NIOTooManyBytesError {
      throw AWSError("InvalidResponse", "the answer of \(host) is larger than 1 MiB")
    } catch let error as HTTPClientError {
      let isTimeout = [.connectTimeout, .deadlineExceeded, .readTimeout].contains(error)
      throw AWSError(isTimeout ? "Timeout" : "Unreachable", "no answer from \(host): \(error.shortDescription)")
    } catch let error as AWSError {
      throw error
    } catch {
      throw AWSError("Unreachable", "cannot reach \(host): \(error)", mend: "Check the network and AWS_ENDPOINT_URL.")
    }
  }
}
