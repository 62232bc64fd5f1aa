import Foundation
import FoundationXML
import Secrets

/// The Security Token Service, as far as role chains need it (STS API Reference, AssumeRole).
struct STSClient: Sendable {
  let caller: AWSCaller
  let region: String

  /// Assumes `role` and gives its credentials.
  func assumeRole(
    _ role: RoleARN, sessionName: String, externalID: String?, with credentials: AWSCredentials
  ) async throws -> AWSCredentials {
    var form = [
      ("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role.description),
      ("RoleSessionName", sessionName),
      // One hour: the most a chained session may have.
      ("DurationSeconds", "3600"),
    ]
    if let externalID { form.append(("ExternalId", externalID)) }
    let body = form.map { "\(SigV4Signer.encode($0.0))=\(SigV4Signer.encode($0.1))" }.joined(separator: "&")
    let answer = try await caller.call(
      "AssumeRole", service: "sts", region: region, credentials: credentials,
      headers: [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")], body: Array(body.utf8)
    ) { readError($0, role: role) }
    let fields = try XMLFields.read(answer.body)
    guard let key = fields["AccessKeyId"], let secret = fields["SecretAccessKey"], let token = fields["SessionToken"],
      let end = fields["Expiration"].flatMap(Self.date)
    else { throw AWSError("InvalidResponse", "STS answered AssumeRole without credentials") }
    return AWSCredentials(
      accessKeyID: key, secretAccessKey: Secret(utf8: secret), sessionToken: Secret(utf8: token), expiration: end)
  }

  private func readError(_ answer: HTTPAnswer, role: RoleARN) -> AWSError {
    // An error body that cannot be read is still an error of this status.
    let fields = (try? XMLFields.read(answer.body)) ?? [:]
    let code = fields["Code"] ?? "HTTP \(answer.status)"
    let message = fields["Message"] ?? "STS refused to assume \(role)"
    let mend: String? =
      code == "AccessDenied"
      ? "The trust policy of \(role) must name the caller as Principal for sts:AssumeRole, and the caller's permissions "
        + "(and its boundary) must allow sts:AssumeRole on it." : nil
    return AWSError(code, message, mend: mend, status: answer.status)
  }

  private static func date(_ text: String) -> Date? {
    let formatter = ISO8601DateFormatter()
    if let date = formatter.date(from: text) { return date }
    formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
    return formatter.date(from: text)
  }
}

/// The text of each leaf element of a small XML document, by local name; the first of a name counts.
final class XMLFields: NSObject, XMLParserDelegate {
  private var fields: [String: String] = [:]
  private var text = ""

  static func read(_ body: [UInt8]) throws -> [String: String] {
    // AWS sends no document type; one could define entities that grow without bound.
    guard !String(decoding: body, as: UTF8.self).uppercased().contains("<!DOCTYPE") else {
      throw AWSError("InvalidResponse", "the XML answer has a document type, which is refused")
    }
    let reader = XMLFields()
    let parser = XMLParser(data: Data(body))
    parser.shouldResolveExternalEntities = false
    parser.delegate = reader
    guard parser.parse() else { throw AWSError("InvalidResponse", "the answer is not well-formed XML") }
    return reader.fields
  }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) { text = "" }

  func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }

  func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
    let value = text.trimmingCharacters(in: .whitespacesAndNewlines)
    if fields[name] == nil, !value.isEmpty { fields[name] = value }
    text = ""
  }
}
