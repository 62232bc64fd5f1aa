import Foundation
import PKI
import PostgresWire
import Reactor
import TLS
import Testing

@testable import Diagnostics
@testable import Gateway

/// Nobody logs in here.
private struct NoAuthorizer: SessionAuthorizer {
  func authorize(_ request: SessionRequest) async -> Result<SessionRoute, WireError> {
    .failure(WireError(.internalError, "not for this test"))
  }
  func userName(certificate: [UInt8]) -> String? { nil }
  func cancelRefused(_ sessionID: String?, certificate: [UInt8], clientAddress: String) {}
  func sessionStarting(_ sessionID: String, _ answer: @escaping @Sendable (WireError?) -> Void) { answer(nil) }
  func sessionStarted(_ sessionID: String, failure: WireError?) {}
  func sessionEnded(_ summary: SessionSummary) {}
}

struct HealthTests {
  @Test func aReactorThatHangsIsNoticed() async throws {
    let authority = try CertificateAuthority.make(.host, clusterName: "test")
    let (pem, key) = try authority.issueHost(
      HostIdentity(hostID: "host-1", name: "one", services: [.proxy], clusterName: "test"), names: ["localhost"],
      notAfter: Date() + 3600)
    let context = try ServerTLSContext(
      certificateChainPEM: pem, privateKeyPEM: key.pem, clientCAPEMs: [], applicationProtocols: ["postgresql"])
    let gateway = Gateway(
      settings: GatewaySettings(postgresTLS: context, directTLS: context, http: nil), authorizer: NoAuthorizer())
    let running = try gateway.start(on: [], reactorCount: 2)
    let health = Health()
    #expect(await health.isAlive())
    health.becomeReady(running)
    #expect(await health.isAlive())
    #expect(await running.samples().compactMap { $0 }.count == 2)

    let (hang, goOn) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    running.threads[1].mailbox.post { _ in
      hang.signal()
      goOn.wait()
    }
    await withCheckedContinuation { continuation in
      DispatchQueue.global().async {
        hang.wait()
        continuation.resume()
      }
    }
    let samples = await running.samples(within: .milliseconds(200))
    #expect(samples[0] != nil && samples[1] == nil)
    #expect(await !health.isAlive())
    let text = GatewayMetrics(samples).families().prometheusText
    #expect(text.contains("sallyport_reactor_up{reactor=\"0\"} 1\nsallyport_reactor_up{reactor=\"1\"} 0\n"))
    goOn.signal()
    #expect(await health.isAlive())
    running.stop()
    #expect(await !health.isAlive())
  }
}
