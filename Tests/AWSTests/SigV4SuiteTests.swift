import Foundation
import Secrets
import Testing

@testable import AWS

/// AWS's own cases, from botocore's source distribution; SIGV4_SUITE_DIR says where they are (`make unit` fetches them).
private let suite = ProcessInfo.processInfo.environment["SIGV4_SUITE_DIR"]

struct SigV4SuiteTests {
  private let credentials = AWSCredentials(
    accessKeyID: "AKIDEXAMPLE", secretAccessKey: Secret(utf8: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    sessionToken: nil,
    expiration: nil)

  /// Cases that sign something other than what is sent.
  private static let notApplicable: Set<String> = ["post-sts-header-after"]

  @Test(.enabled(if: suite != nil)) func allApplicableCases() throws {
    let folder = try #require(suite)
    let names = try #require(FileManager.default.enumerator(atPath: folder)).compactMap { $0 as? String }.filter {
      $0.hasSuffix(".req")
    }
    var count = 0
    for name in names.sorted() {
      let base = folder + "/" + name.dropLast(4)
      guard !Self.notApplicable.contains(URL(fileURLWithPath: base).lastPathComponent) else { continue }
      var request = try Self.read(base + ".req")
      // In this case the token belongs to the credentials: the signer is who adds it.
      let token = try Self.text(base + ".creq").components(separatedBy: "\n").first {
        $0.hasPrefix("x-amz-security-token:")
      }
      if let token, !request.headers.contains(where: { $0.name.lowercased() == "x-amz-security-token" }) {
        request.headers.append(("X-Amz-Security-Token", String(token.dropFirst("x-amz-security-token:".count))))
      }
      let canonical = SigV4Signer.canonicalRequest(
        method: request.method, path: request.path, query: request.query, headers: request.headers, body: request.body)
      #expect(canonical.text == (try Self.text(base + ".creq")), "\(name)")
      let authorization = SigV4Signer(service: "service", region: "us-east-1")
        .authorization(canonical, timestamp: "20150830T123600Z", credentials)
      #expect(authorization == (try Self.text(base + ".authz")), "\(name)")
      count += 1
    }
    print("SigV4 suite: \(count) of \(names.count) cases run")
    #expect(count >= 33)
  }

  /// get-vanilla of that suite, so that something is checked without it.
  @Test func vanilla() {
    let canonical = SigV4Signer.canonicalRequest(
      method: "GET", path: "/", query: "",
      headers: [("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")],
      body: [])
    let authorization = SigV4Signer(service: "service", region: "us-east-1")
      .authorization(canonical, timestamp: "20150830T123600Z", credentials)
    #expect(authorization.hasSuffix("Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"))
  }

  private static func text(_ path: String) throws -> String {
    try String(contentsOfFile: path, encoding: .utf8).replacingOccurrences(of: "\r", with: "").trimmingCharacters(
      in: .newlines)
  }

  private static func read(
    _ path: String
  ) throws -> (method: String, path: String, query: String, headers: [(name: String, value: String)], body: [UInt8]) {
    let whole = try text(path)
    let parts = whole.components(separatedBy: "\n\n")
    var lines = parts[0].components(separatedBy: "\n")
    let first = lines.removeFirst()
    let start = try #require(first.firstIndex(of: " "))
    let end = try #require(first.lastIndex(of: " "))
    let target = first[first.index(after: start)..<end].split(
      separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    var headers: [(name: String, value: String)] = []
    for line in lines {
      if let colon = line.firstIndex(of: ":"), !line.hasPrefix(" ") {
        headers.append((String(line[..<colon]), String(line[line.index(after: colon)...])))
      } else if let last = headers.popLast() {
        // A folded header line goes on the one before.
        headers.append((last.name, last.value + " " + line.trimmingCharacters(in: .whitespaces)))
      }
    }
    let body = parts.count > 1 ? Array(parts[1...].joined(separator: "\n\n").utf8) : []
    return (String(first[..<start]), String(target[0]), target.count > 1 ? String(target[1]) : "", headers, body)
  }
}
