import ControlAPI
import Foundation
import PKI
import Testing

@testable import AuthService

@Suite(.serialized) struct RotationTests {
  private func step(_ phase: RotationPhase, isManual: Bool = true, kinds: [String] = ["host"]) -> RotationRequest {
    RotationRequest(kinds: kinds, phase: phase, isManual: isManual, graceSeconds: 300)
  }

  @Test func onlyTheStepsOfTheTableAreTaken() async throws {
    let allowed: [RotationPhase: Set<RotationPhase>] = [
      .standby: [.begun], .begun: [.updateClients, .rollback], .updateClients: [.updateServers, .rollback],
      .updateServers: [.standby, .rollback], .rollback: [.standby],
    ]
    for phase in RotationPhase.allCases {
      #expect(Set(RotationPhase.allCases.filter(phase.leads)) == allowed[phase])
    }
  }

  @Test func whoIssuesAndWhoIsTrustedAtEachPhase() async throws {
    try await withServer { server, directory in
      let old = try server.authorityCertificates.hostPEMs
      let revision = try server.revision
      _ = try server.rotate(step(.begun), by: "test")
      #expect(try server.revision > revision)
      let begun = try server.authorityCertificates
      #expect(begun.hostPEMs.count == 2 && begun.hostPEMs.first == old.first && begun.hostBridgePEMs.count == 2)
      #expect(begun.userPEMs.count == 1)
      _ = try server.rotate(step(.updateClients), by: "test")
      #expect(try server.authorityCertificates.hostPEMs == begun.hostPEMs.reversed())
      #expect(try server.pins().count == 2)
      _ = try server.rotate(step(.rollback), by: "test")
      #expect(try server.authorityCertificates.hostPEMs == begun.hostPEMs)
      _ = try server.rotate(step(.standby), by: "test")
      #expect(try server.authorityCertificates.hostPEMs == old)
      #expect(try server.authorityStatus().allSatisfy { $0.lastRotated == nil })
      #expect(throws: AuthError.self) { try server.rotate(step(.updateServers), by: "test") }
    }
  }

  /// All of the kinds or none: one is ahead here.
  @Test func severalKindsGoTogether() async throws {
    try await withServer { server, _ in
      _ = try server.rotate(step(.begun, kinds: ["user"]), by: "test")
      #expect(throws: AuthError.self) { try server.rotate(step(.begun, kinds: ["host", "user"]), by: "test") }
      #expect(try server.authorityCertificates.hostPEMs.count == 1)
      #expect(throws: AuthError.self) { try server.rotate(step(.begun, kinds: ["host", "host"]), by: "test") }
      #expect(throws: AuthError.self) { try server.rotate(step(.begun, kinds: []), by: "test") }
    }
  }

  /// After an outage of a week each phase still lasts as long as it was to.
  @Test func phasesThatComeByThemselvesAreNotRushed() async throws {
    try await withServer { server, _ in
      _ = try server.rotate(step(.begun, isManual: false), by: "test")
      let start = Date()
      let first = try #require(try server.advanceDueRotations())
      #expect(abs(first.timeIntervalSince(start) - 100) < 5)
      let next = try #require(try server.advanceDueRotations(at: start + 7 * 86_400))
      #expect(try server.authorityCertificates.hostPhase == .updateClients)
      #expect(next > Date() + 90)
      #expect(throws: AuthError.self) { try server.rotate(step(.updateServers), by: "test") }
      _ = try server.advanceDueRotations(at: start + 7 * 86_400)
      #expect(try server.advanceDueRotations(at: start + 7 * 86_400) == nil)
      #expect(try server.authorityCertificates.hostPhase == .standby)
      #expect(try server.authorityStatus().first { $0.kind == "host" }?.lastRotated != nil)
    }
  }

  @Test func aRotationIsStillThereAfterARestart() async throws {
    try await withServer { server, _ in
      _ = try server.rotate(step(.begun, isManual: false, kinds: ["host", "user", "db", "db_client"]), by: "test")
      let other = try AuthorityStore(server.state, server.sealed, clusterName: server.clusterName).now
      #expect(try other.certificates == server.authorityCertificates)
      for kind in CertificateAuthority.Kind.allCases { #expect(try other[kind].rotation.due != nil) }
    }
  }
}
