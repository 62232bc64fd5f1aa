import CPlatform
import Foundation
import PKI
import Testing

@testable import TLS
@testable import TLSTransport

/// Servers that offer sessions (no server of ours does), and what is kept of these.
struct ResumptionTests {
  enum Version: CaseIterable { case tls12, tls13 }

  private let authorities: Authorities

  init() throws {
    authorities = try Authorities()
    Self.offerSessions(authorities.server)
  }

  private static func offerSessions(_ server: ServerTLSContext) {
    let noTicket = UInt64(1) << 14
    SSL_CTX_clear_options(server.box.context, noTicket)
    SSL_CTX_set_num_tickets(server.box.context, 2)
  }

  private func client(
    _ version: Version, _ mode: ClientTLSContext.Mode = .verifyFull
  ) throws -> ClientTLSContext {
    let context = try authorities.client(mode)
    if version == .tls12 {
      SSL_CTX_ctrl(context.box.context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    }
    return context
  }

  /// A connection that has brought a byte each way, and what the server offered.
  private func connect(
    _ context: ClientTLSContext, to server: ServerTLSContext? = nil, resuming session: ResumableSession? = nil
  ) throws -> (client: End, server: End, offered: [ResumableSession]) {
    let client = End(client: context, name: "localhost", resuming: session)
    let server = End(server: server ?? authorities.server)
    let failure = shake(client, server)
    if let failure = failure.client ?? failure.server { throw failure }
    #expect(server.write([1]) == nil && client.readAll(from: server).bytes == [1])
    let offered = client.session.takeSessions()
    #expect(client.session.takeRecordsOver(blocks: BlockPool()))
    #expect(client.write([2]) == nil && server.readAll(from: client).bytes == [2])
    #expect(server.write([3]) == nil && client.readAll(from: server).bytes == [3])
    return (client, server, offered)
  }

  @Test(arguments: Version.allCases) func aResumedSessionKnowsWhatTheFirstOneVerified(version: Version) throws {
    let context = try client(version)
    let first = try connect(context)
    #expect(!first.client.session.isResumed)
    #expect(first.offered.count == (version == .tls13 ? 2 : 1))
    #expect(first.offered.allSatisfy { $0.isForOneUse == (version == .tls13) && $0.isInDate })
    for session in first.offered {
      let second = try connect(context, resuming: session)
      #expect(second.client.session.isResumed && second.server.session.isResumed)
      #expect(second.client.session.isPeerVerified)
      #expect(second.client.session.peerCertificateDER == first.client.session.peerCertificateDER)
      #expect(second.client.session.serverEndPointHash == first.client.session.serverEndPointHash)
      #expect(second.client.session.serverEndPointHash != nil)
      // TLS 1.3 offers the next one.
      #expect(second.offered.isEmpty == (version == .tls12))
    }
  }

  @Test(arguments: Version.allCases) func whatWasNotVerifiedIsNotVerifiedLater(version: Version) throws {
    let context = try client(version, .insecure)
    let session = try #require(try connect(context).offered.last)
    let second = try connect(context, resuming: session)
    #expect(second.client.session.isResumed && !second.client.session.isPeerVerified)
  }

  @Test(arguments: Version.allCases) func aServerThatDoesNotKnowTheSessionIsVerifiedAnew(version: Version) throws {
    let context = try client(version)
    let session = try #require(try connect(context).offered.last)
    // Of the same CA, with other ticket keys.
    let certificate = try authorities.host.issueHost(hostIdentity, names: ["localhost"], notAfter: Date() + 3600)
    let restarted = try ServerTLSContext(
      certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.key.pem, clientCAPEMs: [],
      applicationProtocols: ["postgresql"])
    let again = try connect(context, to: restarted, resuming: session)
    #expect(!again.client.session.isResumed && again.client.session.isPeerVerified)
    // Somebody else's.
    let stranger = try Authorities()
    #expect(throws: TLSFailure.self) { try connect(context, to: stranger.server, resuming: session) }
  }

  @Test(arguments: Version.allCases) func ourServersOfferNothing(version: Version) throws {
    let certificate = try authorities.host.issueHost(hostIdentity, names: ["localhost"], notAfter: Date() + 3600)
    let server = try ServerTLSContext(
      certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.key.pem,
      clientCAPEMs: [try authorities.user.certificatePEM], applicationProtocols: ["postgresql"])
    #expect(try connect(try client(version), to: server).offered.isEmpty)
  }

  // MARK: Cache

  private func target(_ context: ClientTLSContext, name: String = "a", address: String = "1.2.3.4:5")
    -> ResumptionCache.Target
  {
    .init(context: context.id, serverName: name, address: address)
  }

  @Test func sessionsAreForTheSameTargetOnly() throws {
    let (context, cache) = (try client(.tls13), ResumptionCache())
    cache.keep(try connect(context).offered, for: target(context), now: 0)
    #expect(cache.take(for: target(context, name: "b"), now: 0) == nil)
    #expect(cache.take(for: target(context, address: "1.2.3.4:6"), now: 0) == nil)
    // The same CA and strictness read again, as after a reload.
    #expect(cache.take(for: target(try client(.tls13)), now: 0) == nil)
    #expect(cache.take(for: target(context), now: 0) != nil)
  }

  @Test func ticketsAreUsedOnceAndSessionsOfTLS12Again() throws {
    let cache = ResumptionCache()
    for version in Version.allCases {
      let context = try client(version)
      cache.keep(try connect(context).offered, for: target(context), now: 0)
      let taken = (0..<3).map { _ in cache.take(for: target(context), now: 1) }
      #expect(taken.map { $0 == nil } == (version == .tls13 ? [false, false, true] : [false, false, false]))
    }
  }

  @Test func sessionsAgeAndAreBounded() throws {
    let (context, cache) = (try client(.tls13), ResumptionCache())
    for _ in 0..<5 { cache.keep(try connect(context).offered, for: target(context), now: 1_000) }
    var taken = 0
    while cache.take(for: target(context), now: 2_000) != nil { taken += 1 }
    #expect(taken == 4)
    cache.keep(try connect(context).offered, for: target(context), now: 1_000)
    #expect(cache.take(for: target(context), now: 3_601_000) == nil)
    // The targets that have not been used for longest make room.
    let sessions = try connect(try client(.tls12)).offered
    let full = ResumptionCache()
    for number in 0..<100 { full.keep(sessions, for: target(context, name: "\(number)"), now: UInt64(number)) }
    let kept = (0..<100).filter { full.take(for: target(context, name: "\($0)"), now: 100) != nil }
    #expect(kept == Array(36..<100))
  }

  @Test func expiredCertificatesEndTheirSessions() throws {
    let certificate = try authorities.host.issueHost(hostIdentity, names: ["localhost"], notAfter: Date() + 2)
    let server = try ServerTLSContext(
      certificateChainPEM: certificate.certificatePEM, privateKeyPEM: certificate.key.pem, clientCAPEMs: [],
      applicationProtocols: ["postgresql"])
    Self.offerSessions(server)
    let session = try #require(try connect(try client(.tls13), to: server).offered.last)
    #expect(session.isInDate)
    Thread.sleep(forTimeInterval: 3)
    #expect(!session.isInDate)
  }

  @Test func afterARefusalNoneIsOfferedForAWhile() throws {
    let (context, cache) = (try client(.tls12), ResumptionCache())
    let sessions = try connect(context).offered
    cache.keep(sessions, for: target(context), now: 0)
    cache.refused(target(context), now: 10)
    #expect(cache.take(for: target(context), now: 11) == nil)
    cache.keep(sessions, for: target(context), now: 12)
    #expect(cache.take(for: target(context), now: 13) == nil)
    cache.keep(sessions, for: target(context), now: 3_600_009)
    #expect(cache.take(for: target(context), now: 3_600_010) != nil)
  }

  // MARK: Pace

  @Test func burstsBeginWithSmallRecords() {
    var pace = RecordPace()
    #expect(pace.largest(8_000, now: 5_000) == 4_096)
    #expect(pace.largest(8_000, now: 5_001) == 4_096)
    #expect(pace.largest(60_000, now: 5_002) == .max)
    #expect(pace.largest(60_000, now: 6_001) == .max)
    #expect(pace.largest(60_000, now: 7_001) == 4_096)
    #expect(pace.largest(10, now: 7_002) == .max)
  }
}
