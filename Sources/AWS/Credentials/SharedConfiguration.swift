import Foundation

/// The files that the AWS tools share: `~/.aws/config` and `~/.aws/credentials`
/// (AWS SDKs and Tools Reference Guide, "Shared config and credentials files").
struct SharedConfiguration: Sendable {
  /// Where the files are looked for.
  let configPath: String
  let credentialsPath: String
  private var profiles: [String: [String: String]] = [:]
  /// Sections `[sso-session NAME]`.
  private(set) var ssoSessions: [String: [String: String]] = [:]
  /// Sections `[services NAME]`; nested settings are called `SERVICE.KEY`.
  private(set) var services: [String: [String: String]] = [:]
  /// Why a file that exists could not be read.
  private(set) var problems: [String] = []

  private static let maximumSize = 1 << 20

  /// Settings of a profile, those of the credentials file before those of the config file; `nil`: neither has it.
  func settings(ofProfile name: String) -> [String: String]? { profiles[name] }

  static func load(_ variables: [String: String]) -> SharedConfiguration {
    let home = variables["HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory()
    func path(_ variable: String, _ standard: String) -> String {
      guard let path = variables[variable], !path.isEmpty else { return "\(home)/.aws/\(standard)" }
      return path.hasPrefix("~/") ? home + path.dropFirst() : path
    }
    var files = SharedConfiguration(
      configPath: path("AWS_CONFIG_FILE", "config"),
      credentialsPath: path("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    for section in files.sections(files.configPath) {
      let words = section.name.split(maxSplits: 1, whereSeparator: \.isWhitespace).map(String.init)
      let name = unquoted(words.count > 1 ? words[1] : "")
      switch (words.first, words.count) {
      case ("profile", 2): files.profiles[name, default: [:]].merge(section.settings) { _, new in new }
      case ("sso-session", 2): files.ssoSessions[name, default: [:]].merge(section.settings) { _, new in new }
      case ("services", 2): files.services[name, default: [:]].merge(section.settings) { _, new in new }
      case ("default", 1): files.profiles["default", default: [:]].merge(section.settings) { _, new in new }
      // Others belong to tools that are not known here.
      default: break
      }
    }
    for section in files.sections(files.credentialsPath) {
      files.profiles[unquoted(section.name), default: [:]].merge(section.settings) { _, new in new }
    }
    return files
  }

  private init(configPath: String, credentialsPath: String) {
    self.configPath = configPath
    self.credentialsPath = credentialsPath
  }

  private mutating func sections(_ path: String) -> [Section] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    guard let handle = FileHandle(forReadingAtPath: path),
      let data = try? handle.read(upToCount: Self.maximumSize + 1)
    else {
      problems.append("\(path) cannot be read")
      return []
    }
    guard data.count <= Self.maximumSize, let text = String(data: data, encoding: .utf8) else {
      problems.append("\(path) is not a text file of at most 1 MiB")
      return []
    }
    return Section.read(text)
  }

  private static func unquoted(_ text: String) -> String {
    let text = text.trimmingCharacters(in: .whitespaces)
    guard text.count >= 2, let first = text.first, first == text.last, first == "\"" || first == "'" else {
      return text
    }
    return String(text.dropFirst().dropLast())
  }
}

/// `[name]` and the settings below it.
struct Section {
  let name: String
  var settings: [String: String] = [:]

  static func read(_ text: String) -> [Section] {
    var sections: [Section] = []
    /// The setting with nothing behind it that the indented lines below belong to.
    var parent: String?
    for line in text.split(whereSeparator: \.isNewline) {
      let isIndented = line.first?.isWhitespace == true
      let line = line.trimmingCharacters(in: .whitespaces)
      if line.isEmpty || line.hasPrefix("#") || line.hasPrefix(";") { continue }
      if line.hasPrefix("["), let end = line.firstIndex(of: "]") {
        sections.append(
          Section(name: line[line.index(after: line.startIndex)..<end].trimmingCharacters(in: .whitespaces)))
        parent = nil
      } else if let equals = line.firstIndex(of: "="), !sections.isEmpty {
        let key = line[..<equals].trimmingCharacters(in: .whitespaces).lowercased()
        let value = line[line.index(after: equals)...].trimmingCharacters(in: .whitespaces)
        if isIndented, let parent {
          sections[sections.count - 1].settings["\(parent).\(key)"] = value
        } else {
          // A setting without a value is none.
          sections[sections.count - 1].settings[key] = value.isEmpty ? nil : value
          parent = value.isEmpty ? key : nil
        }
      }
    }
    return sections
  }
}
