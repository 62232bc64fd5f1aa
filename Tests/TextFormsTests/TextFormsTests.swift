import Foundation
import Testing
import TextForms

struct HexTests {
  @Test func everyByte() {
    let text = Hex.encode(0...255)
    #expect(text.count == 512)
    #expect(text.hasPrefix("000102") && text.hasSuffix("fdfeff") && text.contains("090a0b0f10") == false)
    #expect(Hex.encode([0x09, 0x0a, 0x7f, 0xa0]) == "090a7fa0")
    #expect(Hex.encode([]) == "")
  }
}

struct HostPortTests {
  @Test(arguments: [
    ("localhost:3080", "localhost", 3080), ("127.0.0.1:1", "127.0.0.1", 1), ("[::1]:3080", "::1", 3080),
    ("[2001:db8::1]:65535", "2001:db8::1", 65535), ("a_b-c.example.com:443", "a_b-c.example.com", 443),
  ])
  func writtenAndReadBack(text: String, host: String, port: UInt16) {
    let read = HostPort(text)
    #expect(read?.host == host)
    #expect(read?.port == port)
    #expect(read?.description == text)
  }

  @Test(arguments: [
    "", ":", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "a:-1", "a: 1", "::1:3080", "[::1]", "[::1", "::1]:1", "[]:1",
    "[a]:1", "[a:1", "a b:1", "a/b:1", "a?x=y:1", "a@b:1", "a%2f:1", "\u{e9}:1", "a\n:1", "[[::1]]:1",
    String(repeating: "a", count: 254) + ":1",
  ])
  func refused(text: String) { #expect(HostPort(text) == nil) }

  @Test func defaultPorts() {
    #expect(HostPort("example.com", defaultPort: 3080)?.description == "example.com:3080")
    #expect(HostPort("[::1]", defaultPort: 3080)?.description == "[::1]:3080")
    #expect(HostPort("example.com:1", defaultPort: 3080)?.port == 1)
    #expect(HostPort("::1", defaultPort: 3080) == nil)
    #expect(HostPort("example.com:", defaultPort: 3080) == nil)
  }
}

struct ShellWordTests {
  @Test(arguments: [
    "a", "arn:aws:iam::1:role/a+b=c,d.e@f_g-h", "50%", "", "a b", "it's", "''", "$(x)", "a\nb", "é", "*", "~",
  ])
  func theShellReadsItBack(text: String) throws {
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/sh")
    shell.arguments = ["-c", "printf %s \(ShellWord.quoted(text))"]
    let output = Pipe()
    shell.standardOutput = output
    try shell.run()
    let read = output.fileHandleForReading.readDataToEndOfFile()
    shell.waitUntilExit()
    #expect(String(decoding: read, as: UTF8.self) == text)
  }

  @Test func whatNeedsNoQuotesHasNone() { #expect(ShellWord.quoted("us-east-1") == "us-east-1") }
}
