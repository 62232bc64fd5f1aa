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

struct ProcessTests {
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

  private func run(_ words: [String], timeout: TimeInterval = 5) async throws -> String {
    String(
      decoding: try await ChildProcess.run(
        words, environment: ["PATH": "/usr/bin:/bin", "X": "y z"], maximumOutput: 1000, timeout: timeout), as: UTF8.self
    )
  }

  @Test func outputEnvironmentAndInput() async throws {
    #expect(try await run(["sh", "-c", "echo \"$X\" $#; cat; echo no >&2"]) == "y z 0\n")
    // Of this process's descriptors none reaches the child.
    #expect(
      try await run(["sh", "-c", "ls /proc/self/fd | wc -l"]).trimmingCharacters(in: .whitespacesAndNewlines) == "4")
  }

  @Test(arguments: [
    (["/nonexistent"], "cannot be run"), (["false"], "exit code 1"), (["sh", "-c", "kill -9 $$"], "signal 9"),
    (["sh", "-c", "head -c 2000 /dev/zero"], "more than 1000 bytes"), (["sleep", "30"], "too long"),
    (["sh", "-c", "exec >&-; sleep 30"], "too long"), (["yes"], "more than 1000 bytes"),
  ])
  func failures(words: [String], reason: String) async throws {
    let began = ContinuousClock.now
    await #expect { try await run(words, timeout: 0.5) } throws: {
      ($0 as? ChildProcess.Failure)?.reason.contains(reason) == true
    }
    // The programs would run for 30 s or for ever.
    #expect(ContinuousClock.now - began < .seconds(28))
  }

  @Test func whatTheProgramHasStartedIsKilledToo() async throws {
    let mark = "31.\(UInt32.random(in: 0...UInt32.max))"
    await #expect(throws: ChildProcess.Failure.self) {
      try await run(["sh", "-c", "sleep \(mark) & sleep \(mark)"], timeout: 0.3)
    }
    func isRunning() -> Bool {
      let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
      return processes.contains { process in
        let words = FileManager.default.contents(atPath: "/proc/\(process)/cmdline").map {
          String(decoding: $0, as: UTF8.self)
        }
        return words?.hasPrefix("sleep\0\(mark)") == true
      }
    }
    for _ in 0..<100 where isRunning() { try await Task.sleep(for: .milliseconds(20)) }
    #expect(!isRunning())
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
