import Foundation
import Secrets

/// One of the AWS tools' shared files; both may hold static keys by profile.
struct SharedFiles {
  enum Outcome {
    case found(AWSCredentials)
    case missing(String)
  }

  let path: String
  /// In the config file, sections other than the default are called `[profile NAME]`.
  let isConfig: Bool

  static func all(_ environment: AWSEnvironment) -> [SharedFiles] {
    let home = environment.variable("HOME") ?? NSHomeDirectory()
    return [
      SharedFiles(
        path: environment.variable("AWS_SHARED_CREDENTIALS_FILE") ?? home + "/.aws/credentials", isConfig: false),
      SharedFiles(path: environment.variable("AWS_CONFIG_FILE") ?? home + "/.aws/config", isConfig: true),
    ]
  }

  func credentials(profile: String) throws -> Outcome {
    guard let data = FileManager.default.contents(atPath: path) else { return .missing("\(path): not there") }
    guard data.count <= 1 << 20, let text = String(data: data, encoding: .utf8) else {
      return .missing("\(path): not a text file of at most 1 MiB")
    }
    let wanted = isConfig && profile != "default" ? "profile \(profile)" : profile
    guard let settings = Self.section(wanted, in: text) else { return .missing("\(path): no profile '\(profile)'") }
    if let key = settings["aws_access_key_id"], let secret = settings["aws_secret_access_key"] {
      let token = settings["aws_session_token"].map { Secret(utf8: $0) }
      return .found(
        AWSCredentials(accessKeyID: key, secretAccessKey: Secret(utf8: secret), sessionToken: token, expiration: nil))
    }
    for unsupported in ["role_arn", "credential_process", "sso_session", "web_identity_token_file"]
    where settings[unsupported] != nil {
      throw AWSError(
        "InvalidParameter", "\(path): profile '\(profile)' uses \(unsupported), which is not supported yet",
        mend: "Use static keys in the profile, the environment or an instance profile.")
    }
    return .missing("\(path): profile '\(profile)' has no keys")
  }

  private static func section(_ name: String, in text: String) -> [String: String]? {
    var settings: [String: String]?
    var isInside = false
    for line in text.split(whereSeparator: \.isNewline) {
      let line = line.trimmingCharacters(in: .whitespaces)
      if line.hasPrefix("#") || line.hasPrefix(";") { continue }
      if line.hasPrefix("["), line.hasSuffix("]") {
        isInside = line.dropFirst().dropLast().trimmingCharacters(in: .whitespaces) == name
        if isInside, settings == nil { settings = [:] }
      } else if isInside, let equals = line.firstIndex(of: "=") {
        let key = line[..<equals].trimmingCharacters(in: .whitespaces).lowercased()
        settings?[key] = line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
      }
    }
    return settings
  }
}
