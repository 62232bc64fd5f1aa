import Foundation
import Hummingbird
import Logging
import NIOCore

/// `diag_addr`: plain HTTP for load balancers, systemd and Prometheus. Tells nothing secret, but listen on loopback or an
/// operations network: it asks nobody who they are.
public struct DiagnosticsServer: Sendable {
  private let host: String
  private let port: UInt16
  private let health: Health
  private let registry: MetricsRegistry
  private let version: String

  public init(host: String, port: UInt16, health: Health, registry: MetricsRegistry, version: String) {
    self.host = host
    self.port = port
    self.health = health
    self.registry = registry
    self.version = version
  }

  /// What is counted through swift-metrics, and where.
  public static let help = [
    "sallyport_aws_calls_total": "Calls to AWS, retries included in the one, by outcome: ok or the error code.",
    "sallyport_aws_call_seconds": "How long calls to AWS took, retries included.",
    "sallyport_credential_cache_total":
      "Database credentials asked for: hit, miss (a call to AWS), joined (another's call), failure.",
    "sallyport_audit_events_total": "Audit events, by outcome: written or dropped.",
  ]

  /// Serves until cancelled.
  ///
  /// - Throws: `DiagnosticsError` if the address cannot be listened on.
  public func run() async throws {
    var logger = Logger(label: "diag")
    // Requests log nothing; that the server was cancelled is no error.
    logger.logLevel = .critical
    let application = Application(
      router: router(), configuration: .init(address: .hostname(host, port: Int(port)), serverName: nil),
      logger: logger)
    do {
      try await application.run()
    } catch let error as IOError {
      throw DiagnosticsError(description: "diag_addr \(host):\(port): \(String(cString: strerror(error.errnoCode)))")
    }
  }

  private func router() -> Router<BasicRequestContext> {
    let router = Router()
    router.get("/healthz") { _, _ in
      let isAlive = await health.isAlive()
      return Self.status(isAlive ? .ok : .serviceUnavailable, isAlive ? "ok" : "a reactor does not answer")
    }
    router.get("/readyz") { _, _ in
      let stage = health.stage
      return Self.status(stage == .ready ? .ok : .serviceUnavailable, stage == .ready ? "ok" : stage.rawValue)
    }
    router.get("/metrics") { _, _ in
      Self.answer(.ok, "text/plain; version=0.0.4; charset=utf-8", await metrics())
    }
    return router
  }

  private func metrics() async -> String {
    let build = MetricFamily(
      "sallyport_build_info", .gauge, help: "1, labelled with the version that runs.",
      [.init([("version", version)], 1)])
    let families = [build] + GatewayMetrics(await health.samples()).families() + registry.families()
    return (families + ProcessMetrics.families()).prometheusText
  }

  private static func status(_ status: HTTPResponse.Status, _ text: String) -> Response {
    answer(status, "application/json", "{\"status\":\"\(text)\"}\n")
  }

  private static func answer(_ status: HTTPResponse.Status, _ type: String, _ text: String) -> Response {
    Response(
      status: status, headers: [.contentType: type, .cacheControl: "no-store"],
      body: .init(byteBuffer: ByteBuffer(string: text)))
  }
}

/// Diagnostics cannot be served.
public struct DiagnosticsError: Error, CustomStringConvertible, Sendable { public let description: String }
