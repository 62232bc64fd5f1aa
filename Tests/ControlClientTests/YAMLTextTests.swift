import Foundation
import Testing
import Yams

@testable import ControlClient

/// What the tools print as YAML is read back as it was, whoever reads it: words have no quotes, all else has.
struct YAMLTextTests {
  private struct Texts: Codable, Equatable { var texts: [String] }

  @Test func stringsComeBackAsStrings() throws {
    let texts = [
      "dev", "teleport-redshift-access", "a.b_c/d@e", "yes", "No", "TRUE", "off", "null", "~", "", "1.20", "007",
      "0x1f",
      "1e3", "2024-01-01", "-", "- a", "a: b", "a #b", "*", "{{internal.db_users}}", "^a|b$", "'", "\"", "line\nbreak",
      "tab\t", " lead", "trail ", "é", "\u{2028}", "y", "N", "nan", ".inf", "e3", "!tag", "&a", "arn:aws:iam::1:role/x",
    ]
    let yaml = try Terminal.formatted(Texts(texts: texts), .yaml)
    #expect(try YAMLDecoder().decode(Texts.self, from: yaml).texts == texts)
    // A reader that is told no types takes each for a string, too.
    let untyped = try #require(try Yams.load(yaml: yaml) as? [String: [Any]])
    #expect(untyped["texts"]?.compactMap { $0 as? String } == texts)
    #expect(yaml.hasPrefix("texts:\n- dev\n- teleport-redshift-access\n"))
  }
}
