import ChildProcess
import Foundation

/// A program that prints credentials: `credential_process` of a profile.
struct ProcessSource: CredentialSource {
  let environment: AWSEnvironment
  let name: String
  let command: String

  private static let timeout: TimeInterval = 10
  private static let maximumOutput = 64 << 10

  func find() async throws -> FoundCredentials {
    let words = try CommandWords.split(command, of: name)
    let output: [UInt8]
    do {
      output = try await ChildProcess.run(
        words, environment: environment.variables, maximumOutput: Self.maximumOutput, timeout: Self.timeout)
    } catch let error as ChildProcess.Failure {
      // Its words may hold a secret: only the program is named.
      throw AWSError(
        "InvalidParameter", "\(name): the credential_process '\(words[0])' \(error.reason)",
        mend: "Run it by hand as this process's user.")
    }
    let document = try CredentialDocument.read(output, from: "\(name): the credential_process '\(words[0])'")
    guard document.version == 1 else {
      throw AWSError(
        "InvalidResponse", "\(name): the credential_process '\(words[0])' answers in another version than 1")
    }
    return FoundCredentials(credentials: document.credentials, source: "\(name) (credential_process)")
  }
}

/// Cuts a command into words as a POSIX shell would, with quotes and backslashes, and does nothing else that a shell does.
enum CommandWords {
  /// - Throws: `AWSError` for a command without words, or with a quote that does not end.
  static func split(_ command: String, of source: String) throws -> [String] {
    var words: [String] = []
    var word: String?
    var quote: Character?
    var isEscaped = false
    for character in command {
      if isEscaped {
        // Within double quotes a backslash is special before these only.
        if quote == "\"", character != "\"", character != "\\" { word = (word ?? "") + "\\" }
        word = (word ?? "") + String(character)
        isEscaped = false
      } else if character == "\\", quote != "'" {
        isEscaped = true
      } else if let open = quote {
        if character == open { quote = nil } else { word = (word ?? "") + String(character) }
      } else if character == "'" || character == "\"" {
        quote = character
        word = word ?? ""
      } else if character.isWhitespace {
        if let word { words.append(word) }
        word = nil
      } else {
        word = (word ?? "") + String(character)
      }
    }
    if let word { words.append(word) }
    guard quote == nil, !isEscaped, let first = words.first, !first.isEmpty else {
      throw AWSError(
        "InvalidParameter", "\(source): credential_process is not a command, or a quote in it does not end")
    }
    return words
  }
}
