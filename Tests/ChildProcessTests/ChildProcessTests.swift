import ChildProcess
import Foundation
import Testing

struct ChildProcessTests {
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
