import Foundation
import PKI

extension FuzzTarget {
  /// Certificates of users and hosts, as DER. None is of the cluster's authorities: their keys are made anew each time.
  static let certificate = FuzzTarget(name: "certificate", maximumLength: 1024) { bytes in
    let der = Array(bytes)
    if let identity = try? UserIdentity(certificateDER: der) {
      let again = try JSONDecoder().decode(UserIdentity.self, from: try JSONEncoder().encode(identity))
      try require(again.roles == identity.roles && again.route == identity.route, "an identity is written as another")
    }
    try require(!accepts { _ = try Cluster.trusted.user(certificateDER: der) }, "a stranger is taken for a user")
    try require(!accepts { _ = try Cluster.trusted.host(certificateDER: der) }, "a stranger is taken for a host")
  }
}

private enum Cluster {
  static let trusted: TrustedAuthorities = {
    do {
      let user = try CertificateAuthority.make(.user, clusterName: "fuzz")
      let host = try CertificateAuthority.make(.host, clusterName: "fuzz")
      return try TrustedAuthorities(userPEMs: [user.certificatePEM], hostPEMs: [host.certificatePEM])
    } catch {
      fatalError("no authorities to fuzz with: \(error)")
    }
  }()
}
