import Foundation

@testable import AWS

extension FuzzTarget {
  /// Answers of STS, IAM and Redshift.
  static let awsXML = FuzzTarget(name: "aws-xml", maximumLength: 512) { bytes in
    let body = Array(bytes)
    let answer = HTTPAnswer(status: 403, headers: [:], body: body)
    try require(!ErrorAnswer.read(answer, .sts, "AssumeRole").code.isEmpty, "an error without a code")
    guard let root = try? XMLTree.read(body) else { return }
    try require(depth(root) <= 40, "a tree that is \(depth(root)) levels deep")
    let size = count(root)
    try require(size <= bytes.count, "\(bytes.count) bytes have become a text of \(size)")
    _ = try? STSClient.credentials(root["AssumeRoleResult"] ?? root)
    _ = (root["DescribeClustersResult"] ?? root).list("Clusters").compactMap(RedshiftClient.cluster)
  }

  /// Answers of Redshift Serverless.
  static let awsJSON = FuzzTarget(name: "aws-json", maximumLength: 512) { bytes in
    let body = Array(bytes)
    let answer = HTTPAnswer(status: 400, headers: [:], body: body)
    try require(
      !ErrorAnswer.read(answer, .redshiftServerless, "GetCredentials").code.isEmpty, "an error without a code")
    let data = Data(body)
    _ = try? JSONDecoder().decode(RedshiftServerlessClient.Workgroup.self, from: data)
    _ = try? JSONDecoder().decode(RedshiftServerlessClient.EndpointAccess.self, from: data)
  }

  /// Credentials as metadata services, agents and processes give them.
  static let credentials = FuzzTarget(name: "credentials", maximumLength: 512) { bytes in
    guard let document = try? CredentialDocument.read(bytes, from: "s") else { return }
    guard let end = document.credentials.expiration else { return }
    // What caches and logs do with it.
    _ = Validity(until: end, from: Date(timeIntervalSince1970: 1_700_000_000))
    _ = end.formatted(.iso8601)
  }

  /// The files in `~/.aws`.
  static let sharedConfiguration = FuzzTarget(name: "shared-configuration", maximumLength: 512) { bytes in
    guard let text = FuzzInput(bytes).restText else { return }
    let size = Section.read(text).reduce(0) { sum, section in
      sum + section.settings.reduce(0) { $0 + $1.value.utf8.count }
    }
    try require(size <= bytes.count, "\(bytes.count) bytes have become settings of \(size)")
  }
}

private func depth(_ tree: XMLTree) -> Int { 1 + (tree.children.map(depth).max() ?? 0) }
private func count(_ tree: XMLTree) -> Int { tree.text.utf8.count + tree.children.reduce(0) { $0 + count($1) } }
