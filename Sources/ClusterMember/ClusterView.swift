import AccessControl
import ControlAPI
import PKI
import Synchronization

extension ClusterSnapshot {
  /// What the holder of a verified certificate may do now: its roles that the user still has, as they are in here.
  public func checker(for identity: UserIdentity) throws -> AccessChecker {
    guard identity.clusterName == clusterName else {
      throw IdentityRefusal("the certificate is of another cluster; run 'tsh login'")
    }
    guard let user = users.first(where: { $0.name == identity.username }) else {
      throw IdentityRefusal("the user no longer exists")
    }
    let held = Set(identity.roles).intersection(user.roles)
    return AccessChecker(roles: roles.filter { held.contains($0.metadata.name) }, traits: user.traits)
  }
}

/// Reads the CA certificates once, not for every certificate that is checked. Thread-safe.
public final class AuthorityCache: Sendable {
  private let known = Mutex<(certificates: AuthorityCertificates, trusted: TrustedAuthorities)?>(nil)

  public init() {}

  /// `certificates`, as one who checks certificates wants them.
  public func trusted(_ certificates: AuthorityCertificates) throws -> TrustedAuthorities {
    if let known = known.withLock({ $0 }), known.certificates == certificates { return known.trusted }
    let trusted = try TrustedAuthorities(userPEMs: certificates.userPEMs, hostPEMs: certificates.hostPEMs)
    known.withLock { $0 = (certificates, trusted) }
    return trusted
  }
}
