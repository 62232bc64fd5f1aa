import ControlAPI
import Foundation

/// The certificates a host goes by: the newest when it dials, maybe an older one when it is dialled. A value.
///
/// While a rotation of the host CA updates clients, hosts dial with certificates of the new CA and are still dialled under
/// the old one. After a restart in between, the new one serves: the bridges sent along make it good for all.
public struct HostIdentities: Sendable {
  /// For dialling others.
  public private(set) var current: HostCredentials
  /// For being dialled.
  public var serving: HostCredentials { previous ?? current }
  private var previous: HostCredentials?

  public init(_ current: HostCredentials) { self.current = current }

  /// Whether another CA issues now than the one that issued the certificate.
  public func isOutdated(by authorities: AuthorityCertificates) -> Bool {
    authorities.hostPEMs.first != current.issuerPEM
  }

  /// Seconds that clocks of hosts may differ.
  private static let clockTolerance = 60.0

  /// Half of the certificate's life, give or take a tenth, so that hosts of one age do not come together.
  public var renewalTime: Date {
    // Issued by a clock that has been set back since: nobody takes it before its time comes.
    guard current.issued <= Date() + Self.clockTolerance else { return .distantPast }
    return current.issued + current.notValidAfter.timeIntervalSince(current.issued) * Double.random(in: 0.45...0.55)
  }

  /// Takes up a new certificate.
  public mutating func replace(with fresh: HostCredentials, _ authorities: AuthorityCertificates) {
    previous = authorities.hostPhase == .updateClients && fresh.issuerPEM != current.issuerPEM ? current : nil
    current = fresh
  }

  /// Takes up a phase.
  public mutating func settle(_ authorities: AuthorityCertificates) {
    if authorities.hostPhase != .updateClients { previous = nil }
  }
}
