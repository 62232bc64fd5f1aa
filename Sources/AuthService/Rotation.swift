import Audit
import ControlAPI
import Foundation
import Logging
import PKI
import StateStore

/// How far the rotation of one CA is.
struct Rotation: Sendable, Equatable {
  let kind: CertificateAuthority.Kind
  var phase = RotationPhase.standby
  var isManual = true
  /// When the phase began.
  var since = Date.distantPast
  /// How long each phase lasts, in seconds, where phases come by themselves.
  var phaseSeconds = 0.0
  /// End of the last rotation that was not rolled back.
  var lastRotated: Date?

  /// As stored, next to its authority; a CA that was never rotated has no fields of a rotation.
  init(kind: CertificateAuthority.Kind, _ row: Row) throws {
    self.kind = kind
    guard let name = try row["phase"] as String? else { return }
    guard let phase = RotationPhase(rawValue: name) else {
      throw AuthError.internal("the rotation of the \(kind.rawValue) CA is in the unknown phase '\(name)'")
    }
    self.phase = phase
    isManual = try row["is_manual"] as Int != 0
    since = Date(timeIntervalSince1970: try row["since"])
    phaseSeconds = try row["phase_seconds"]
    lastRotated = try (row["last_rotated"] as Double?).map { Date(timeIntervalSince1970: $0) }
  }

  /// When the next phase comes by itself. Counted from the beginning of this one, not of the rotation: after an outage
  /// of the Auth Service hosts still get their time for each.
  var due: Date? { isManual || phase.following == nil ? nil : since + phaseSeconds }

  var status: AuthorityStatus {
    AuthorityStatus(
      kind: kind.rawValue, phase: phase, isManual: isManual, since: since == .distantPast ? nil : since,
      nextPhase: due, lastRotated: lastRotated)
  }
}

/// Rotating the authorities: docs/decisions/028 tells what each phase is for.
extension AuthServer {
  private static let longestGrace = 365 * 86_400
  private static let automaticPhases = 3.0

  /// The CA certificates in force.
  public var authorityCertificates: AuthorityCertificates { get throws { try authorities.now.certificates } }

  func authorityStatus() throws -> [AuthorityStatus] {
    let authorities = try self.authorities.now
    return try CertificateAuthority.Kind.allCases.map { try authorities[$0].rotation.status }
  }

  /// Takes a step that somebody asked for, with all of the kinds or with none.
  func rotate(_ request: RotationRequest, by actor: String) throws -> [AuthorityStatus] {
    let kinds = try request.kinds.map { name in
      guard let kind = CertificateAuthority.Kind(rawValue: name) else {
        throw AuthError.invalid("'\(name)' is no kind of CA", hint: "use host, user, db, db_client or all")
      }
      return kind
    }
    guard !kinds.isEmpty, Set(kinds).count == kinds.count else { throw AuthError.invalid("name each kind of CA once") }
    guard request.isManual || (1...Self.longestGrace).contains(request.graceSeconds) else {
      throw AuthError.invalid("the grace period must be from 1 s to a year")
    }
    try state.database.write { database in
      for kind in kinds {
        let member = try self.authorities.member(kind, in: database)
        try Self.check(request, member.rotation)
        var next = member.rotation
        next.isManual = request.isManual || request.phase == .rollback
        if request.phase == .begun {
          next.phaseSeconds = next.isManual ? 0 : Double(request.graceSeconds) / Self.automaticPhases
        }
        try move(member, to: request.phase, next, in: database)
      }
    }
    for kind in kinds { emitRotation(kind, request.phase, isManual: request.isManual, by: actor) }
    return try authorityStatus()
  }

  private static func check(_ request: RotationRequest, _ rotation: Rotation) throws {
    let name = "the \(rotation.kind.rawValue) CA"
    guard rotation.phase.leads(to: request.phase) else {
      let possible = RotationPhase.allCases.filter(rotation.phase.leads).map(\.rawValue)
      throw AuthError.invalid(
        "\(name) is in phase '\(rotation.phase.rawValue)', which does not lead to '\(request.phase.rawValue)'",
        hint: "possible now: \(possible.joined(separator: ", "))")
    }
    guard rotation.due == nil || request.phase == .rollback else {
      throw AuthError.invalid(
        "\(name) is being rotated automatically", hint: "wait for it, see 'tctl status', or use --phase=rollback")
    }
    guard request.isManual || request.phase == .begun || request.phase == .rollback else {
      throw AuthError.invalid("phases are set by hand only", hint: "use --manual --phase=\(request.phase.rawValue)")
    }
  }

  private func move(
    _ member: Authorities.Member, to phase: RotationPhase, _ rotation: Rotation, in database: Database
  ) throws {
    var (active, other, next) = (member.active, member.other, rotation)
    let before = member.rotation.phase
    switch phase {
    case .begun: other = try CertificateAuthority.make(rotation.kind, clusterName: clusterName)
    case .updateServers: break
    case .updateClients, .rollback:
      // The new one takes over, or gives back what it has taken over.
      guard let waiting = other else { throw AuthError.internal("the rotation's second CA is missing") }
      if phase == .updateClients || before != .begun { (active, other) = (waiting, active) }
    case .standby:
      other = nil
      if before == .updateServers { next.lastRotated = Date() }
    }
    next.phase = phase
    next.since = Date()
    try authorities.store(next, active: active, other: other, in: database)
  }

  private func emitRotation(
    _ kind: CertificateAuthority.Kind, _ phase: RotationPhase, isManual: Bool, by actor: String
  ) {
    var event = AuditEvent("cert_authority.rotate", code: "TCA00I")
    event.clusterName = clusterName
    event.user = actor
    event.name = kind.rawValue
    event.success = true
    event.extra = [("phase", .text(phase.rawValue)), ("mode", .text(isManual ? "manual" : "auto"))]
    audit.emit(event)
  }

  // MARK: By itself

  private static let longestSleep = 30.0

  /// Takes the steps of automatic rotations when they are due, until cancelled.
  public func runRotations() async throws {
    let logger = Logger(label: "auth")
    while true {
      var pause = Self.longestSleep
      do {
        let next = try advanceDueRotations()
        if let next { pause = min(pause, max(0.05, next.timeIntervalSinceNow)) }
      } catch {
        logger.error("an automatic rotation cannot go on: \(error)")
      }
      try await changes.wait(seconds: pause)
    }
  }

  /// - Returns: when the next step is due.
  func advanceDueRotations(at now: Date = Date()) throws -> Date? {
    let authorities = try self.authorities.now
    let isDue = try CertificateAuthority.Kind.allCases.contains { kind in
      try authorities[kind].rotation.due.map { $0 <= now } ?? false
    }
    if isDue {
      let moved = try state.database.write { database in
        try CertificateAuthority.Kind.allCases.compactMap { kind -> Rotation? in
          // Read again: another Auth Service of the cluster may have been faster.
          let member = try self.authorities.member(kind, in: database)
          guard let due = member.rotation.due, due <= now, let next = member.rotation.phase.following else {
            return nil
          }
          try move(member, to: next, member.rotation, in: database)
          return try self.authorities.member(kind, in: database).rotation
        }
      }
      for rotation in moved { emitRotation(rotation.kind, rotation.phase, isManual: false, by: Self.timer) }
    }
    let latest = try self.authorities.now
    return try CertificateAuthority.Kind.allCases.compactMap { try latest[$0].rotation.due }.min()
  }

  /// Who acts in the records of steps that come by themselves; not a name that a user can have.
  private static let timer = "@rotation"
}
