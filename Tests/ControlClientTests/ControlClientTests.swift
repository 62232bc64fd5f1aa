import Foundation
import PKI
import Secrets
import Testing

@testable import ControlClient

private func withDirectory(_ body: (String) throws -> Void) throws {
  let directory = NSTemporaryDirectory() + "client-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try PrivateFile.makeDirectory(directory)
  try body(directory)
}

@Suite struct ProxyAddressTests {
  @Test(arguments: [
    ("proxy", "proxy:3080", "proxy"), ("proxy:443", "proxy:443", "proxy"), ("proxy:9", "proxy:9", "proxy_9"),
    ("https://proxy.example.com/", "proxy.example.com:3080", "proxy.example.com"), ("[::1]:443", "[::1]:443", "::1"),
    ("[::1]", "[::1]:3080", "::1"), ("10.0.0.1:1", "10.0.0.1:1", "10.0.0.1_1"),
  ])
  func addresses(_ text: String, _ whole: String, _ name: String) throws {
    let address = try ProxyAddress(text)
    #expect("\(address)" == whole)
    #expect(address.profileName == name)
    #expect(try ProxyAddress(whole) == address)
  }

  @Test(arguments: [
    "", ":443", "proxy:", "proxy:0", "proxy:65536", "proxy:x", "[::1]x", "a b", "a/b", "https://", "a:b:c@", "::1",
  ])
  func nonsense(_ text: String) { #expect(throws: ToolError.self) { try ProxyAddress(text) } }
}

@Suite struct ProfileStoreTests {
  private func profile(_ proxy: String, hours: Double = 1) -> Profile {
    Profile(
      proxy: proxy, user: "alice", cluster: "test", roles: ["access"], traits: [:], validUntil: Date() + hours * 3600)
  }

  @Test func severalLoginsOneInUse() throws {
    try withDirectory { directory in
      let store = ProfileStore(environment: ["TELEPORT_HOME": directory])
      #expect(throws: ToolError.self) { try store.valid() }
      try store.save(profile("a:3080"))
      try store.save(profile("b:9"))
      #expect(try store.valid().proxy == "b:9")
      #expect(try store.valid(proxy: "a").proxy == "a:3080")
      #expect(try store.all().map(\.proxy) == ["a:3080", "b:9"])
      try store.use(profile("a:3080"))
      #expect(try store.valid().proxy == "a:3080")
      #expect(throws: ToolError.self) { try store.valid(proxy: "c") }
      #expect(throws: ToolError.self) { try store.valid(proxy: "a", user: "bob") }
      try store.remove(profile("a:3080"))
      #expect(try store.current() == nil)
      #expect(try store.all().map(\.proxy) == ["b:9"])
      try store.removeAll()
      #expect(try store.all().isEmpty)
    }
  }

  @Test func anExpiredLoginNamesTheCommandThatRenewsIt() throws {
    try withDirectory { directory in
      let store = ProfileStore(environment: ["TELEPORT_HOME": directory])
      try store.save(profile("a:3080", hours: -1))
      #expect(try store.current()?.proxy == "a:3080")
      #expect { try store.valid() } throws: { "\($0)".contains("run: tsh login --proxy=a:3080 --user=alice") }
    }
  }
}

@Suite struct PostgresServiceFileTests {
  @Test func otherSectionsStayByteByByte() throws {
    try withDirectory { directory in
      let path = directory + "/services"
      let own = "# mine\n[mine]\nhost = x\n\n[test-a-b]\nhost=y\n# note\n"
      try PrivateFile.write(own, to: path)
      let file = PostgresServiceFile(environment: ["PGSERVICEFILE": path])
      func text() throws -> String { try PrivateFile.read(path).revealText() ?? "" }
      try file.set("test-a", [("host", "h"), ("port", "1")])
      #expect(try text() == own + "\n[test-a]\nhost=h\nport=1\n")
      try file.set("test-a", [("host", "i")])
      #expect(try text() == own + "\n[test-a]\nhost=i\n")
      try file.remove(["test-a", "none"])
      #expect(try text() == own)
      #expect(throws: ToolError.self) { try file.set("x", [("host", "a\n[mine]")]) }
      #expect(throws: ToolError.self) { try file.set("x]", []) }
      #expect(try text() == own)
    }
  }

  @Test func aLinkStaysALinkAndAMissingFileIsMade() throws {
    try withDirectory { directory in
      try FileManager.default.createSymbolicLink(atPath: directory + "/link", withDestinationPath: directory + "/real")
      try PrivateFile.write("", to: directory + "/real")
      let file = PostgresServiceFile(environment: ["PGSERVICEFILE": directory + "/link"])
      try file.set("a", [("host", "h")])
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: directory + "/link") == directory + "/real")
      #expect(try PrivateFile.read(directory + "/real").revealText() == "[a]\nhost=h\n")
      let other = PostgresServiceFile(environment: ["PGSERVICEFILE": directory + "/new"])
      try other.remove(["a"])
      #expect(!FileManager.default.fileExists(atPath: directory + "/new"))
      try other.set("a", [("host", "h")])
      #expect(try PrivateFile.read(directory + "/new").revealText() == "[a]\nhost=h\n")
    }
  }
}

@Suite struct IdentityFileTests {
  private func certificate() throws -> (pem: String, key: Secret) {
    let authority = try CertificateAuthority.make(.user, clusterName: "test")
    let key = KeyPair.generate()
    let identity = UserIdentity(username: "alice", roles: ["access"], clusterName: "test")
    let request = try key.signingRequestPEM(commonName: "alice")
    return (try authority.issue(identity, signingRequestPEM: request, notAfter: Date() + 60), key.pem)
  }

  @Test func roundTripAndRefusals() throws {
    try withDirectory { directory in
      let (pem, key) = try certificate()
      let ca = try CertificateAuthority.make(.host, clusterName: "test").certificatePEM
      let path = directory + "/identity"
      let file = IdentityFile(identity: ClientIdentity(certificatePEM: pem, keyPEM: key), hostCAPEM: ca)
      try file.write(to: path, overwrite: false)
      #expect(throws: ToolError.self) { try file.write(to: path, overwrite: false) }
      try file.write(to: path, overwrite: true)
      let read = try Credentials(identityFile: path, proxy: "localhost")
      #expect(read.profile.user == "alice")
      #expect(read.identity.keyPEM.revealText() == key.revealText().map { $0.hasSuffix("\n") ? $0 : $0 + "\n" })
      #expect(throws: ToolError.self) { try Credentials(identityFile: path, proxy: nil) }
      chmod(path, 0o644)
      #expect(throws: ToolError.self) { try IdentityFile(path: path) }
      try PrivateFile.write("-----BEGIN X-----\n", to: path)
      #expect(throws: ToolError.self) { try IdentityFile(path: path) }
      #expect(throws: ToolError.self) { try IdentityFile(path: directory + "/none") }
    }
  }
}
