import Crypto
import Foundation
import TextForms

/// AWS Signature Version 4 (AWS General Reference, "Create a signed AWS API request").
public struct SigV4Signer: Sendable {
  public let service: String
  public let region: String

  public init(service: String, region: String) {
    self.service = service
    self.region = region
  }

  /// Adds `X-Amz-Date`, `X-Amz-Security-Token` and `Authorization`.
  ///
  /// - Parameter date: the time at AWS, which may differ from this host's.
  public func sign(_ request: AWSRequest, with credentials: AWSCredentials, at date: Date) -> AWSRequest {
    var request = request
    let timestamp = Self.timestamp(date)
    request.headers.append(("X-Amz-Date", timestamp))
    if let token = credentials.sessionToken?.revealText() { request.headers.append(("X-Amz-Security-Token", token)) }
    if !request.headers.contains(where: { $0.name.lowercased() == "host" }) {
      request.headers.append(("Host", Self.host(request.url)))
    }
    let components = URLComponents(url: request.url, resolvingAgainstBaseURL: false)
    let canonical = Self.canonicalRequest(
      method: request.method, path: components?.percentEncodedPath ?? "/", query: components?.percentEncodedQuery ?? "",
      headers: request.headers, body: request.body)
    request.headers.append(("Authorization", authorization(canonical, timestamp: timestamp, credentials)))
    return request
  }

  /// The value of the `Authorization` header.
  func authorization(
    _ canonical: (text: String, signedHeaders: String), timestamp: String, _ credentials: AWSCredentials
  ) -> String {
    let scope = "\(timestamp.prefix(8))/\(region)/\(service)/aws4_request"
    let toSign = "AWS4-HMAC-SHA256\n\(timestamp)\n\(scope)\n\(Hex.encode(SHA256.hash(data: Data(canonical.text.utf8))))"
    let key = signingKey(credentials, String(timestamp.prefix(8)))
    let signature = Hex.encode(HMAC<SHA256>.authenticationCode(for: Data(toSign.utf8), using: key))
    return "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope), SignedHeaders=\(canonical.signedHeaders), "
      + "Signature=\(signature)"
  }

  /// The canonical request and its list of signed headers; `path` and `query` as they stand in the request line.
  static func canonicalRequest(
    method: String, path: String, query: String, headers: [(name: String, value: String)], body: [UInt8]
  ) -> (text: String, signedHeaders: String) {
    let pairs = query.split(separator: "&").map { pair in
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        .map { String($0).removingPercentEncoding ?? String($0) }
      return (encode(parts[0]), encode(parts.count > 1 ? parts[1] : ""))
    }
    let canonicalQuery = pairs.sorted { $0 < $1 }.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
    var grouped: [String: [String]] = [:]
    for (name, value) in headers { grouped[name.lowercased(), default: []].append(trimmed(value)) }
    let names = grouped.keys.sorted()
    let lines = names.map { "\($0):\((grouped[$0] ?? []).joined(separator: ","))\n" }.joined()
    let signed = names.joined(separator: ";")
    let canonicalPath = encode(normalized(path), keeping: "/")
    return (
      [method, canonicalPath, canonicalQuery, lines, signed, Hex.encode(SHA256.hash(data: Data(body)))].joined(
        separator: "\n"), signed
    )
  }

  /// Without empty and dot segments (RFC 3986 section 5.2.4).
  private static func normalized(_ path: String) -> String {
    var segments: [Substring] = []
    for segment in path.split(separator: "/") where segment != "." {
      if segment == ".." { _ = segments.popLast() } else { segments.append(segment) }
    }
    let isFolder = path.hasSuffix("/") || path.hasSuffix("/.") || path.hasSuffix("/..")
    return "/" + segments.joined(separator: "/") + (isFolder && !segments.isEmpty ? "/" : "")
  }

  private func signingKey(_ credentials: AWSCredentials, _ day: String) -> SymmetricKey {
    let start = credentials.secretAccessKey.withBytes { SymmetricKey(data: Data("AWS4".utf8) + Data($0)) }
    return [day, region, service, "aws4_request"].reduce(start) { key, part in
      SymmetricKey(data: HMAC<SHA256>.authenticationCode(for: Data(part.utf8), using: key))
    }
  }

  private static func host(_ url: URL) -> String {
    let host = url.host ?? ""
    let defaultPort = url.scheme == "http" ? 80 : 443
    guard let port = url.port, port != defaultPort else { return host }
    return "\(host):\(port)"
  }

  private static func timestamp(_ date: Date) -> String {
    var time = time_t(date.timeIntervalSince1970)
    var parts = tm()
    gmtime_r(&time, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)\(two(parts.tm_mon + 1))\(two(parts.tm_mday))T"
      + "\(two(parts.tm_hour))\(two(parts.tm_min))\(two(parts.tm_sec))Z"
  }

  /// RFC 3986 unreserved characters stay, the rest is percent-encoded in upper case.
  static func encode(_ text: String, keeping kept: String = "") -> String {
    var encoded = ""
    for byte in text.utf8 {
      let scalar = Unicode.Scalar(byte)
      let isUnreserved =
        byte < 0x80 && (scalar.properties.isAlphabetic || (0x30...0x39).contains(byte) || "-._~".utf8.contains(byte))
      if isUnreserved || kept.utf8.contains(byte) {
        encoded.unicodeScalars.append(scalar)
      } else {
        encoded += "%" + Hex.encode(CollectionOfOne(byte)).uppercased()
      }
    }
    return encoded
  }

  private static func trimmed(_ value: String) -> String {
    value.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\n" }).joined(separator: " ")
  }
}
