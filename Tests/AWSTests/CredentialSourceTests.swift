import Foundation
import Testing

@testable import AWS

struct SharedFilesTests {
  @Test func formsOfTheFiles() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let config = """
      # a comment
      region = of-no-section
      [default]
      region=us-east-1
      [ profile  spaced name ]
      Role_ARN =  arn:x  
      ; another
      s3 =
        max_concurrent_requests = 20
      empty =
      after = 1
      [profile "quoted one"]
      credential_process = "/a b" --x="1 # 2"
      [profile both]
      region = config
      aws_access_key_id = config
      [sso-session corp]
      sso_region = eu-west-1
      [plugins]
      x = y
      [unended
      """
    let credentials = "[both]\naws_access_key_id = credentials\n[default]\naws_access_key_id=AKIA\n[profile odd]\na = b"
    try config.write(to: folder.appendingPathComponent("config"), atomically: true, encoding: .utf8)
    try credentials.write(to: folder.appendingPathComponent("credentials"), atomically: true, encoding: .utf8)
    let files = SharedConfiguration.load([
      "HOME": folder.path, "AWS_CONFIG_FILE": "~/config", "AWS_SHARED_CREDENTIALS_FILE": folder.path + "/credentials",
    ])
    #expect(files.settings(ofProfile: "default") == ["region": "us-east-1", "aws_access_key_id": "AKIA"])
    #expect(
      files.settings(ofProfile: "spaced name") == [
        "role_arn": "arn:x", "s3.max_concurrent_requests": "20", "after": "1",
      ])
    #expect(files.settings(ofProfile: "quoted one") == ["credential_process": #""/a b" --x="1 # 2""#])
    #expect(files.settings(ofProfile: "both") == ["region": "config", "aws_access_key_id": "credentials"])
    #expect(files.ssoSessions == ["corp": ["sso_region": "eu-west-1"]])
    #expect(files.settings(ofProfile: "odd") == nil)
    #expect(files.settings(ofProfile: "plugins") == nil)
    #expect(files.problems.isEmpty)
  }

  @Test func whatCannotBeReadIsSaid() throws {
    let folder = FileManager.default.temporaryDirectory.path
    let files = SharedConfiguration.load(["HOME": "/nonexistent", "AWS_CONFIG_FILE": folder])
    #expect(files.problems.count == 1)
  }
}

struct CommandWordsTests {
  @Test(arguments: [
    ("a b  c", ["a", "b", "c"]), (#""/with space/x" --y='z "q"'"#, ["/with space/x", #"--y=z "q""#]),
    (#"a\ b c\"d"#, ["a b", #"c"d"#]), (#"x "a\b\"c\\" '' """#, ["x", #"a\b"c\"#, "", ""]),
    ("x $HOME `id` ; rm | y > z", ["x", "$HOME", "`id`", ";", "rm", "|", "y", ">", "z"]),
  ])
  func words(command: String, words: [String]) throws {
    #expect(try CommandWords.split(command, of: "t") == words)
  }

  @Test(arguments: ["", "   ", "'open", #"a ""#.appending("b"), #"a\"#, "'' b"])
  func whatIsNoCommandIsRefused(command: String) {
    #expect(throws: AWSError.self) { try CommandWords.split(command, of: "t") }
  }
}

struct SessionNameTests {
  @Test func namesAreUniqueAndFit() {
    #expect(SessionName.make("alice@example.com") == "alice@example.com")
    let odd = [
      "a b", "a_b", "ä", "a", "", String(repeating: "x", count: 65), String(repeating: "x", count: 66), "a/b", "a:b",
    ]
    let names = odd.map(SessionName.make)
    #expect(Set(names).count == odd.count)
    for name in names {
      #expect((2...64).contains(name.utf8.count))
      #expect(name.wholeMatch(of: /[\w+=,.@-]+/.asciiOnlyWordCharacters()) != nil)
    }
  }
}
